"""Tokens at the edge, against real keys, and the order of the checks."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from headrace.config.schema import Config
from headrace.edge.filters import chain
from tests.edge.envoy.front import GOOD, error, front, send, statuses
from tests.edge.rig import Rig

ISSUER = "https://login.example.com/"
KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def keys(tmp_path: Path) -> str:
    """The issuer's keys as a file."""
    key = json.loads(jwt.get_algorithm_by_name("ES256").to_jwk(KEY.public_key()))
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [{**key, "kid": "k1", "alg": "ES256"}]}))
    return str(path)


def token(signed_with: ec.EllipticCurvePrivateKey = KEY, **claims: Any) -> str:
    now = datetime.now(UTC)
    said = {"iss": ISSUER, "aud": "headrace", "sub": "a", "exp": now + timedelta(minutes=5)}
    return jwt.encode(said | claims, signed_with, algorithm="ES256", headers={"kid": "k1"})


def bearing(text: str) -> bytes:
    return GOOD.replace(b"\r\n", f"\r\nauthorization: Bearer {text}\r\n".encode(), 1)


async def test_tokens(rig: Rig, keys: str) -> None:
    """Only a token of the issuer, for us, and still good, reaches the gateway."""
    engine = await rig.engine()
    checked = {"issuer": ISSUER, "audiences": ["headrace"], "jwks": keys}
    past = datetime.now(UTC) - timedelta(hours=1)
    unsigned = jwt.encode({"iss": ISSUER, "aud": "headrace"}, "", algorithm="none")
    asked = {
        "good": bearing(token()),
        "none": GOOD,
        "another key": bearing(token(OTHER)),
        "another issuer": bearing(token(iss="https://evil.example.com/")),
        "another audience": bearing(token(aud="others")),
        "expired": bearing(token(exp=past)),
        "unsigned": bearing(unsigned),
        "an API key": bearing("sk-headrace-1"),
    }

    async with front(rig, edge={"jwt": checked}) as both:
        sent = [send(both.edge, data, close=True) for data in asked.values()]
        found = dict(zip(asked, await asyncio.gather(*sent), strict=True))
        reached = len(engine.exchanges)

    expected = {name: [401] for name in asked} | {"good": [200], "another audience": [403]}
    assert expected == {name: statuses(answer) for name, answer in found.items()}
    assert 1 == reached
    assert "invalid_token" == error(found["expired"])["code"]


async def test_keys_beside_tokens(rig: Rig, keys: str) -> None:
    """Where tokens are not required, API keys pass, and a token that is wrong still does not."""
    engine = await rig.engine()
    checked = {"issuer": ISSUER, "jwks": keys, "required": False}

    async with front(rig, edge={"jwt": checked}) as both:
        asked = (GOOD, bearing("sk-headrace-1"), bearing(token()), bearing(token(OTHER)))
        found = [statuses(await send(both.edge, data, close=True)) for data in asked]
        reached = len(engine.exchanges)

    assert [[200], [200], [200], [401]] == found
    assert 3 == reached


def names(edge: dict[str, Any]) -> list[str]:
    found = chain(Config.model_validate({"edge": edge}))
    return [step["name"].removeprefix("envoy.filters.http.") for step in found]


def test_order() -> None:
    """Cheap checks come first; the body is waited for last, and the router ends it."""
    checked = {"issuer": ISSUER, "jwks": "keys.json"}
    body = ["body_size_limit", "buffer", "router"]

    assert ["health_check", "rbac", "local_ratelimit", "jwt_authn", *body] == names(
        {"jwt": checked}
    )
    assert ["health_check", "rbac", *body] == names({"per_ip": {"requests_per_s": 0}})


@pytest.mark.parametrize(
    ("per_s", "fill", "every"), [(1, 1, "1s"), (3, 1, "0.333333333s"), (500, 50, "0.1s")]
)
def test_rates(per_s: int, fill: int, every: str) -> None:
    """A bucket is filled evenly over a second, with whole requests."""
    config = Config.model_validate({"edge": {"per_ip": {"requests_per_s": per_s, "burst": 9}}})
    [limit] = [step for step in chain(config) if step["name"].endswith("local_ratelimit")]
    [descriptor] = limit["typed_config"]["descriptors"]

    assert {"max_tokens": 9, "tokens_per_fill": fill, "fill_interval": every} == (
        descriptor["token_bucket"]
    )
