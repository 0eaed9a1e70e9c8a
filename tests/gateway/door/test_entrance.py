"""entrance.py: real requests with keys and tokens, through a real gateway to fake engines."""

import asyncio
import json
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from headrace.conformance import answers
from headrace.gateway.app import Gateway
from headrace.gateway.door import routes
from tests.admission.rig import ISSUER, JwksServer, Place, Signer
from tests.edge.rig import (
    ENDPOINTS,
    Rig,
    anthropic_error,
    ask,
    eventually,
    openai_error,
    streamed,
)

MODELS = {"m": "m", "big": "big"}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, "acme", "rival")


def auth(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


async def start(
    rig: Rig, place: Place, tenant: dict[str, Any] | None = None, **more: Any
) -> Gateway:
    """A gateway with the place's keys, before an engine like vLLM."""
    await rig.engine(more.pop("script", answers.like_vllm))
    identity = place.config.model_dump() | more.pop("identity", {})
    tenants = [{"name": "acme", **(tenant or {})}, {"name": "rival"}]
    return await rig.gateway(serves=MODELS, identity=identity, tenants=tenants, **more)


async def test_without_keys_nobody_is_asked(rig: Rig) -> None:
    """On loopback without keys any key will do, as SDKs send one in any case."""
    await rig.engine()
    gateway = await rig.gateway()
    found = [(await rig.post(ask())).status, (await rig.post(ask(), **auth("sk-any"))).status]

    assert ([200, 200], False) == (found, gateway.door.watched)
    assert {("", "")} == {(record.tenant, record.key) for record in gateway.records}


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_every_endpoint_wants_a_key(rig: Rig, place: Place, path: str) -> None:
    """Without one it is 401 in the dialect of the path; with one it goes to the engine."""
    issued = await place.issue()
    await start(rig, place)
    refused = await rig.post(ask(path), path)
    passed = await rig.post(ask(path), path, **auth(issued.secret))

    if path == "/v1/messages":
        assert "authentication_error" == anthropic_error(refused, 401)["type"]
    else:
        openai_error(refused, 401, "invalid_api_key")
    assert 'Bearer realm="headrace"' == refused.header("www-authenticate")
    assert 200 == passed.status
    assert 1 == len(rig.engines[0].exchanges)


async def test_our_own_endpoints(rig: Rig, place: Place) -> None:
    """The catalogue wants a key; probes and the scraper do not."""
    await place.issue()
    await start(rig, place)
    seen = {
        endpoint.path: (await rig.get(endpoint.path)).status
        for endpoint in routes.ENDPOINTS
        if endpoint.kind == "local"
    }

    assert {"/v1/models": 401, "/health": 200, "/ready": 200, "/metrics": 200} == seen


async def test_a_key_does_not_reach_the_engine(rig: Rig, place: Place) -> None:
    """Neither header that may hold it is passed on, nor does the log have it."""
    issued = await place.issue()
    gateway = await start(rig, place)
    await rig.post(ask("/v1/messages"), "/v1/messages", x_api_key=issued.secret)
    await rig.post(ask(), **auth(issued.secret))

    for exchange in rig.engines[0].exchanges:
        assert issued.secret.encode() not in bytes(repr(vars(exchange)), "utf-8", "replace")
    assert issued.secret not in repr(list(gateway.records))
    assert {("default", "app")} == {(x.tenant, x.key) for x in gateway.records}


async def test_the_body_of_a_stranger_is_not_read(rig: Rig, place: Place) -> None:
    """Who waits for 100 Continue hears 401, and nothing is held."""
    await place.issue()
    gateway = await start(rig, place)
    async with rig.client() as client:
        await client.send(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 30000000\r\n"
            b"expect: 100-continue\r\n\r\n"
        )
        answer = await (await client.answer()).finish()

    openai_error(answer, 401, "invalid_api_key")
    assert 0 == gateway.buffered_bytes


class TestScopes:
    async def test_models(self, rig: Rig, place: Place) -> None:
        """A model outside the scope is 403, one that does not exist too; others work."""
        issued = await place.issue(models=("m",))
        await start(rig, place)
        key = auth(issued.secret)
        for model in ("big", "nowhere"):
            answer = await rig.post(ask(model=model), **key)
            assert "model" == openai_error(answer, 403, "permission_denied")["param"]
        told = anthropic_error(
            await rig.post(ask("/v1/messages", "big"), "/v1/messages", **key), 403
        )

        assert "permission_error" == told["type"]
        assert 200 == (await rig.post(ask(), **key)).status
        assert 1 == len(rig.engines[0].exchanges)

    async def test_names_of_others_models_are_not_told(self, rig: Rig, place: Place) -> None:
        """What an alias stands for is not said in a 403, nor what else there is in a 404."""
        issued = await place.issue(models=("m", "mi*"))
        models = [{"name": "m"}, {"name": "m-secret", "aliases": ["other"]}, {"name": "big"}]
        await start(rig, place, models=models)
        key = auth(issued.secret)
        refused = openai_error(await rig.post(ask(model="other"), **key), 403, "permission_denied")
        unknown = openai_error(await rig.post(ask(model="mig"), **key), 404, "model_not_found")

        assert "m-secret" not in refused["message"]
        assert "big" not in unknown["message"]
        assert "`m`" in unknown["message"]

    async def test_a_tenants_models_bind_its_keys(self, rig: Rig, place: Place) -> None:
        """A key cannot have what its tenant has not."""
        issued = await place.issue(tenant="acme", models=("*",))
        await start(rig, place, {"models": ["b*"]})

        assert 403 == (await rig.post(ask(), **auth(issued.secret))).status
        assert 200 == (await rig.post(ask(model="big"), **auth(issued.secret))).status

    async def test_endpoints(self, rig: Rig, place: Place) -> None:
        """A key for embeddings is for nothing else."""
        issued = await place.issue(endpoints=("/v1/embeddings",))
        await start(rig, place)
        key, path = auth(issued.secret), "/v1/embeddings"

        openai_error(await rig.post(ask(), **key), 403, "permission_denied")
        assert 200 == (await rig.post(ask(path), path, **key)).status

    async def test_the_catalogue_is_the_callers(self, rig: Rig, place: Place) -> None:
        """Models outside the scope are not listed, and not shown."""
        issued = await place.issue(models=("m",))
        await start(rig, place)
        headers = [("authorization", f"Bearer {issued.secret}")]
        async with rig.client() as client:
            listed = (await client.get("/v1/models", headers)).json()["data"]
            shown = [(await client.get(f"/v1/models/{name}", headers)).status for name in MODELS]

        assert ["m"] == [each["id"] for each in listed]
        assert [200, 403] == shown

    async def test_where_rules_send_it_is_no_matter_of_scopes(self, rig: Rig, place: Place) -> None:
        """A rule may answer with a model that the caller could not ask for."""
        issued = await place.issue(models=("m", "virtual"))
        rule = {"name": "r", "match": {"models": "virtual"}, "target": "big"}
        await start(rig, place, rules=[rule])

        assert 200 == (await rig.post(ask(model="virtual"), **auth(issued.secret))).status
        assert "big" == json.loads(rig.engines[0].exchanges[0].body)["model"]


async def test_rules_know_the_caller(rig: Rig, place: Place) -> None:
    """Rules match tenants and keys as they are, whatever the client says of itself."""
    one, two = await place.issue("one", tenant="acme"), await place.issue("two", tenant="rival")
    rules = [
        {"name": "of-key", "match": {"keys": "one"}, "target": "big"},
        {"name": "of-tenant", "match": {"tenants": ["acme"]}, "target": "m"},
    ]
    gateway = await start(rig, place, rules=rules)
    lies = {"x_headrace_tenant": "acme", "x_headrace_key": "one", "x_tenant": "acme"}
    await rig.post(ask(), **auth(one.secret))
    await rig.post(ask(user="acme"), **auth(two.secret), **lies)

    assert [("of-key", "acme", "one"), ("", "rival", "two")] == [
        (record.rule, record.tenant, record.key) for record in gateway.records
    ]


class TestSalts:
    async def test_bodies_carry_their_tenants(self, rig: Rig, place: Place) -> None:
        """Two tenants have two salts, one tenant has one; a client's own is never sent as it is."""
        keys = [
            await place.issue(name, tenant=tenant)
            for name, tenant in (("a", "acme"), ("b", "acme"), ("c", "rival"))
        ]
        await start(rig, place, identity={"cache_salt": "tenant"})
        for issued in keys:
            await rig.post(streamed(), **auth(issued.secret))
            await rig.post(ask(cache_salt="mine"), **auth(issued.secret))
        salts = [json.loads(each.body)["cache_salt"] for each in rig.engines[0].exchanges]
        plain, own = salts[::2], salts[1::2]

        assert plain[0] == plain[1] != plain[2]
        assert own[0] == own[1] != own[2]
        assert 4 == len({*plain, *own})
        assert "mine" not in salts

    async def test_off(self, rig: Rig, place: Place) -> None:
        """By default a body is passed on as it came."""
        issued = await place.issue()
        await start(rig, place)
        body = json.dumps(ask(cache_salt="mine")).encode()
        await rig.post(body, **auth(issued.secret))

        assert body == bytes(rig.engines[0].exchanges[0].body)


async def test_stored_responses_are_their_tenants(rig: Rig, place: Place) -> None:
    """Another tenant can neither continue nor read a stored response; its own can do both."""
    ours, theirs = await place.issue("a", tenant="acme"), await place.issue("b", tenant="rival")
    await start(rig, place)
    made = (await rig.post(ask("/v1/responses"), "/v1/responses", **auth(ours.secret))).json()
    follow_up = ask("/v1/responses", previous_response_id=made["id"])
    seen = {}
    for issued in (ours, theirs):
        headers = [("authorization", f"Bearer {issued.secret}")]
        async with rig.client() as client:
            read = await client.get(f"/v1/responses/{made['id']}", headers)
            continued = await client.post("/v1/responses", follow_up, headers)
        seen[issued.key.name] = (read.status, continued.status)

    assert {"a": (200, 200), "b": (404, 404)} == seen


async def test_a_refused_caller_is_in_the_log(rig: Rig, place: Place) -> None:
    """The line of a 403 has tenant and key; that of a 401 has nobody; metrics count both."""
    issued = await place.issue(endpoints=("/v1/embeddings",), tenant="acme")
    gateway = await start(rig, place)
    await rig.post(ask(), **auth(issued.secret))
    await rig.post(ask(), **auth("hr-nobody"))
    text = (await rig.get("/metrics")).body.decode()

    assert [("acme", "app", "rejected_forbidden"), ("", "", "rejected_unauthorized")] == [
        (record.tenant, record.key, record.outcome) for record in gateway.records
    ]
    assert 'headrace_tenant_requests_total{outcome="rejected_forbidden",tenant="acme"} 1.0' in text
    assert "headrace_keys 1.0" in text


class TestTokens:
    async def test_the_first_of_a_new_key_waits(self, rig: Rig, tmp_path: Path) -> None:
        """Keys that rotate under requests lose none: the first waits for the new public key."""
        old, new = Signer("old"), Signer("new")
        issuer = await JwksServer(old).start()
        place = Place(tmp_path, jwt=[issuer.issuer(tenant="acme")])
        gateway = await start(rig, place)
        statuses = [(await rig.post(ask(), **auth(old.token()))).status]
        await asyncio.sleep(0.06)
        issuer.keys = [old.jwk, new.jwk]
        many = [rig.post(ask(), **auth(new.token(n=n))) for n in range(5)]
        statuses += [answer.status for answer in await asyncio.gather(*many)]
        await asyncio.sleep(0.06)
        statuses.append((await rig.post(ask(), **auth(Signer("x").token()))).status)
        await issuer.stop()

        assert [*[200] * 6, 401] == statuses
        assert {"acme"} == {record.tenant for record in gateway.records if record.status == 200}

    async def test_who_hangs_up_meanwhile_is_forgotten(self, rig: Rig, tmp_path: Path) -> None:
        """A client that leaves while its public key is read leaves nothing behind."""
        signer = Signer()
        issuer = await JwksServer(signer).start()
        place = Place(tmp_path, jwt=[issuer.issuer()])
        gateway = await start(rig, place)
        await asyncio.sleep(0.06)
        issuer.delay_s = 0.2
        async with rig.client() as client:
            body = json.dumps(ask()).encode()
            head = f"authorization: Bearer {Signer('other').token()}\r\ncontent-length: {len(body)}"
            await client.send(
                f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{head}\r\n\r\n".encode() + body
            )
            await eventually(lambda: issuer.asked == 2 and gateway.buffered_bytes == len(body))
        await eventually(lambda: gateway.buffered_bytes == 0)
        keys = gateway.door.issuers[ISSUER]
        await eventually(lambda: gateway.door.issuers[ISSUER] != keys)
        await issuer.stop()

        assert [] == rig.engines[0].exchanges
        assert [] == list(gateway.records)


class TestSdks:
    async def test_openai(self, rig: Rig, place: Place) -> None:
        """OpenAI's client sends its key as it is, and raises what it has for 401 and 403."""
        issued = await place.issue(models=("m",))
        gateway = await start(rig, place)
        chat: Any = {"messages": [{"role": "user", "content": "hi"}]}
        url = f"{gateway.url}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key=issued.secret, max_retries=0) as client:
            answer = await client.chat.completions.create(model="m", **chat)
            with pytest.raises(openai.PermissionDeniedError, match="may not use the model `big`"):
                await client.chat.completions.create(model="big", **chat)
        async with openai.AsyncOpenAI(base_url=url, api_key="sk-none", max_retries=0) as client:
            with pytest.raises(openai.AuthenticationError, match="not one of this gateway"):
                await client.chat.completions.create(model="m", **chat)

        assert answer.choices

    async def test_anthropic(self, rig: Rig, place: Place) -> None:
        """Anthropic's client sends it as x-api-key, or as a bearer token; both work."""
        issued = await place.issue()
        gateway = await start(rig, place)
        ways: list[dict[str, Any]] = [{"api_key": issued.secret}, {"auth_token": issued.secret}]
        chat: Any = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
        answers = []
        for way in ways:
            async with anthropic.AsyncAnthropic(base_url=gateway.url, **way) as client:
                answers.append(await client.messages.create(**chat))
        wrong = anthropic.AsyncAnthropic(base_url=gateway.url, api_key="x", max_retries=0)
        async with wrong as client:
            with pytest.raises(anthropic.AuthenticationError):
                await client.messages.create(**chat)

        assert 2 == len(answers)
