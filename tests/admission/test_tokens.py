"""tokens.py: good tokens of real issuers, and every way of a bad one."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from headrace.admission import tokens as module
from headrace.admission.door import Door
from headrace.admission.tokens import claim
from headrace.admission.types import Caller
from headrace.errors import Unauthorized
from tests.admission.rig import AUDIENCE, ISSUER, JwksServer, Place, Signer, bearer

ONE, TWO = Signer("one"), Signer("two")


@pytest.fixture
async def server() -> AsyncIterator[JwksServer]:
    server = await JwksServer(ONE).start()
    yield server
    await server.stop()


@pytest.fixture
async def opened(server: JwksServer, tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Opens a door that believes the server's issuer, with these settings of it."""
    doors: list[Door] = []

    async def open_door(clock: Callable[[], float] = time.time, **issuer: Any) -> Door:
        place = Place(tmp_path, "acme", "umbrella", jwt=[server.issuer(**issuer)])
        doors.append(door := place.door(clock=clock))
        await door.open("0.0.0.0")
        door.start()
        return door

    yield open_door
    for door in doors:
        await door.stop()


async def enter(door: Door, token: str) -> Caller:
    """As a request does: with one wait where a public key must be read first."""
    found = door.enter(bearer(token))
    if isinstance(found, asyncio.Task):
        await found
        found = door.enter(bearer(token), last=True)
    assert isinstance(found, Caller)
    return found


async def test_a_good_token(opened: Callable[..., Any]) -> None:
    """Its caller has the issuer's tenant, no key, and is found again without a check."""
    door = await opened(tenant="acme")
    token = ONE.token()
    first = await enter(door, token)

    assert ("acme", "", False) == (first.tenant, first.key, first.admin)
    assert first is door.enter(bearer(token))


async def test_claims_name_tenant_and_priority(opened: Callable[..., Any]) -> None:
    """A claim says the tenant, by a table or as it is; another the priority, where it is known."""
    door = await opened(
        tenant_claim="org.id",
        tenants={"4711": "umbrella"},
        priority_claim="https://example.com/plan",
        priorities={"free": "background"},
    )
    seen = [
        await enter(door, ONE.token(**claims))
        for claims in (
            {"org": {"id": "4711"}, "https://example.com/plan": "free"},
            {"org": {"id": 4711}, "https://example.com/plan": "gold"},
            {"org": {"id": "acme"}},
        )
    ]

    assert [
        ("umbrella", "background"), ("umbrella", "interactive"), ("acme", "interactive"),
    ] == [(caller.tenant, caller.priority) for caller in seen]  # fmt: skip


@pytest.mark.parametrize("org", [None, {}, {"id": "nobody"}, {"id": ["acme"]}, "acme"])
async def test_a_token_without_a_tenant(opened: Callable[..., Any], org: object) -> None:
    """A token that names no tenant there is, is refused."""
    door = await opened(tenant_claim="org.id")
    with pytest.raises(Unauthorized, match="names no tenant"):
        await enter(door, ONE.token(org=org))


def forged(header: dict[str, Any], payload: dict[str, Any], signature: bytes = b"") -> str:
    parts = [json.dumps(header).encode(), json.dumps(payload).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def forged_raw(payload: bytes, header: bytes = b'{"alg":"ES256"}') -> str:
    return ".".join(base64.urlsafe_b64encode(part).decode() for part in (header, payload, b""))


def claims(**more: Any) -> dict[str, Any]:
    return {"iss": ISSUER, "aud": AUDIENCE, "exp": int(time.time()) + 600, **more}


def with_public_key_as_secret() -> str:
    """The classic confusion: the public key, which all know, used as a shared secret."""
    public = ONE.private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    head = {"alg": "HS256", "typ": "JWT", "kid": "one"}
    begun = forged(head, claims()).removesuffix(".")
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(
        begun.encode(), public
    )
    return f"{begun}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


BAD: dict[str, tuple[Callable[[], str], str]] = {
    "expired": (lambda: ONE.token(exp=int(time.time()) - 3600), "expired"),
    "not yet": (lambda: ONE.token(nbf=int(time.time()) + 3600), "not good yet"),
    "an end beyond numbers": (lambda: ONE.token(exp=10**400), "not good"),
    "a beginning beyond numbers": (lambda: ONE.token(nbf=float("inf")), "not good"),
    "an end that is no number": (lambda: ONE.token(exp=True), "`exp` is no time"),
    "a beginning that is no number": (lambda: ONE.token(nbf="1e3"), "`nbf` is no time"),
    "no end": (lambda: ONE.token(exp=None), "exp"),
    "another audience": (lambda: ONE.token(aud="others"), "[Aa]udience"),
    "no audience": (lambda: ONE.token(aud=None), "aud"),
    "another issuer": (lambda: ONE.token(iss="https://evil.example/"), "issuer"),
    "no issuer": (lambda: ONE.token(iss=None), "issuer"),
    "another's signature": (lambda: Signer("one").token(), "[Ss]ignature"),
    "an unknown key": (TWO.token, "not one of its issuer's"),
    "none": (lambda: forged({"alg": "none", "kid": "one"}, claims()), "must be of ES256"),
    "None": (lambda: forged({"alg": "None"}, claims()), "must be of ES256"),
    "public key as secret": (with_public_key_as_secret, "must be of ES256"),
    "changed": (lambda: ONE.token().replace(".e", ".f", 1), "not good"),
    "three dots": (lambda: "a.b.c", "not good"),
    "not text": (lambda: "\u00ff.\u00ff.\u00ff", "not good"),
    "too long": (lambda: ONE.token(more="x" * 20_000), "longer than"),
    "no object": (lambda: forged({"alg": "ES256"}, [1]), "not good"),  # type: ignore[arg-type]
    "deep": (lambda: forged_raw(b"[" * 9_000 + b"]" * 2_000), "not good"),
    "deep head": (lambda: forged_raw(b"{}", b'{"a":' * 1_500), "not good"),
    "kid is a list": (lambda: forged({"alg": "ES256", "kid": [1]}, claims()), "not "),
}


@pytest.mark.parametrize("case", BAD)
async def test_bad_tokens(opened: Callable[..., Any], case: str) -> None:
    """Whatever is wrong with it, a bad token is refused, and nothing is remembered of it."""
    door = await opened()
    make, said = BAD[case]
    with pytest.raises(Unauthorized, match=said):
        await enter(door, make())

    assert {} == door._tokens.known


async def test_clocks_may_be_apart(opened: Callable[..., Any]) -> None:
    """Within the leeway an expired token and an early one are good."""
    door = await opened(leeway_s=30)
    now = int(time.time())

    assert "default" == (await enter(door, ONE.token(exp=now - 10))).tenant
    assert "default" == (await enter(door, ONE.token(nbf=now + 10))).tenant


class TestClocks:
    """The time of day is believed at once, whichever way it was set; refusals are not kept."""

    async def test_remembered_until_it_expires(self, opened: Callable[..., Any]) -> None:
        """A remembered token ends with its own time, also while a machine was suspended."""
        clock = [time.time()]
        door = await opened(clock=lambda: clock[0], leeway_s=0)
        token = ONE.token(exp=int(clock[0]) + 600)
        await enter(door, token)
        clock[0] += 601
        with pytest.raises(Unauthorized, match="token has expired"):
            door.enter(bearer(token))

    async def test_set_ahead_and_right_again(self, opened: Callable[..., Any]) -> None:
        """What a clock that was wrong has refused is good when it is right, without a restart."""
        clock = [time.time()]
        door = await opened(clock=lambda: clock[0])
        known, new = ONE.token(), ONE.token(jti="2")
        await enter(door, known)
        clock[0] += 10 * 365 * 86_400
        for token in (known, new):
            with pytest.raises(Unauthorized, match="expired"):
                await enter(door, token)
        clock[0] -= 10 * 365 * 86_400

        assert "default" == (await enter(door, known)).tenant
        assert "default" == (await enter(door, new)).tenant

    async def test_set_back(self, opened: Callable[..., Any]) -> None:
        """
        A clock that is behind refuses what says that it begins later, and nothing else: a fresh
        token without ``nbf`` is good, though it was made in what is its future.
        """
        clock = [time.time() - 3600]
        door = await opened(clock=lambda: clock[0])
        early = ONE.token(nbf=int(clock[0]) + 3600)
        with pytest.raises(Unauthorized, match="not good yet"):
            await enter(door, early)

        assert "default" == (await enter(door, ONE.token())).tenant
        clock[0] += 3600
        assert "default" == (await enter(door, early)).tenant


class TestRotation:
    async def test_a_new_key(self, opened: Callable[..., Any], server: JwksServer) -> None:
        """The first token of a new key is good at once: the keys are read while it waits."""
        door = await opened()
        await enter(door, ONE.token())
        await asyncio.sleep(0.06)
        server.keys = [ONE.jwk, TWO.jwk]

        assert "default" == (await enter(door, TWO.token())).tenant

    async def test_an_old_key(self, opened: Callable[..., Any], server: JwksServer) -> None:
        """When a key disappears, its tokens are refused, remembered ones too."""
        door = await opened()
        token = ONE.token()
        await enter(door, token)
        await asyncio.sleep(0.06)
        server.keys = [TWO.jwk]
        await enter(door, TWO.token())
        await asyncio.sleep(0.06)
        with pytest.raises(Unauthorized):
            await enter(door, token)

    async def test_another_key_of_the_same_name(
        self, opened: Callable[..., Any], server: JwksServer
    ) -> None:
        """A key that changes under its name changes what is believed."""
        door = await opened(refresh_s=0.02)
        old, new = ONE.token(), Signer("one")
        await enter(door, old)
        server.keys = [new.jwk]
        async with asyncio.timeout(20):
            while door._tokens.known:  # noqa: ASYNC110
                await asyncio.sleep(0.005)

        assert "default" == (await enter(door, new.token())).tenant
        with pytest.raises(Unauthorized, match=r"[Ss]ignature"):
            await enter(door, old)

    async def test_unknown_keys_do_not_flood_the_issuer(
        self, opened: Callable[..., Any], server: JwksServer
    ) -> None:
        """Many tokens of unknown keys cause one reading, the others are refused at once."""
        door = await opened(refresh_least_s=60)
        await enter(door, ONE.token())
        asked = server.asked
        for number in range(50):
            with pytest.raises(Unauthorized):
                await enter(door, Signer(f"k{number}").token())

        assert (1, 1) == (asked, server.asked)


async def test_algorithms_are_pinned_to_keys(
    opened: Callable[..., Any], server: JwksServer
) -> None:
    """An RSA key works for the algorithms that are allowed, unless it is for another one."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = {**RSAAlgorithm.to_jwk(private.public_key(), as_dict=True), "kid": "r"}
    server.keys = [public, {**public, "kid": "pinned", "alg": "RS256"}]
    door = await opened(algorithms=["RS256", "RS512"])

    def token(kid: str, algorithm: str) -> str:
        return jwt.encode(claims(), private, algorithm, headers={"kid": kid})

    for algorithm in ("RS256", "RS512"):
        assert "default" == (await enter(door, token("r", algorithm))).tenant
    assert "default" == (await enter(door, token("pinned", "RS256"))).tenant
    with pytest.raises(Unauthorized, match="not of its key's algorithm"):
        await enter(door, token("pinned", "RS512"))
    with pytest.raises(Unauthorized, match="must be of"):
        await enter(door, token("r", "PS256"))


async def test_the_only_key_need_not_be_named(
    opened: Callable[..., Any], server: JwksServer
) -> None:
    """A token without a key's name is checked with the only one there is."""
    door = await opened()
    token = jwt.encode(claims(), ONE.private, "ES256")

    assert "default" == (await enter(door, token)).tenant


async def test_memory_is_bounded(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest tokens are forgotten, and checked again."""
    monkeypatch.setattr(module, "MAX_TOKENS", 3)
    door = await opened()
    given = [ONE.token(n=number) for number in range(5)]
    for token in given:
        await enter(door, token)

    assert 3 == len(door._tokens.known)
    assert "default" == (await enter(door, given[0])).tenant


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("a", "1"), ("b.c", "x"), ("b.d", ""), ("b", ""), ("n", ""), ("t", ""),
        ("https://e.example/x", "y"), ("a.b", ""),
    ],
)  # fmt: skip
def test_claims(path: str, said: str) -> None:
    """A claim is a word or a whole number, on its own or in an object."""
    given = {"a": 1, "b": {"c": "x"}, "n": None, "t": True, "https://e.example/x": "y"}

    assert said == claim(given, path)
