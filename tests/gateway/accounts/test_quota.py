"""quota.py: real requests with limits, through a real gateway to fake engines."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from headrace.admission.limits import Level
from headrace.conformance import answers
from headrace.conformance.fake import Exchange
from headrace.conformance.wire import Answer, request
from headrace.errors import ConfigError
from headrace.gateway.app import Gateway
from tests.admission.rig import Place
from tests.edge.rig import (
    CHAT_PATH,
    STREAMS,
    Rig,
    anthropic_error,
    ask,
    eventually,
    form,
    openai_error,
    retry_after,
    streamed,
)

# Of every answer of the fake engine.
ASKED, ANSWERED = 33, 8
SPENT = ASKED + ANSWERED


async def start(rig: Rig, limits: dict[str, Any], **more: Any) -> Gateway:
    await rig.engine(more.pop("script", answers.like_vllm))
    return await rig.gateway(limits=limits, **more)


async def used(gateway: Gateway) -> dict[tuple[str, str], Level]:
    """Of each limit what is used, of rates the tokens that have not come back, and held."""
    return {
        (each.bound.scope, each.bound.name): Level(each.used, each.held)
        for each in await gateway.quota.shown()
        if each.bound.whom in {"", "acme", "app", "m", "acme m"}
    }


def sent(rig: Rig) -> Any:
    """The body of the latest request that reached the engine."""
    return rig.engines[0].exchanges[-1].json()


async def test_without_limits_nothing_stands_in_the_way(rig: Rig) -> None:
    """There is no gate, nobody listens, and no line is added."""
    gateway = await start(rig, {})
    answer = await rig.post(ask())

    assert ((), (), False) == (gateway.quota.gates(), gateway.quota.hears(), gateway.quota.on)
    assert 200 == answer.status
    assert not [name for name, _ in answer.headers if "ratelimit" in name]


class TestRates:
    async def test_requests(self, rig: Rig) -> None:
        """As many as allowed pass; the next is 429 with whole seconds, and does not get further."""
        gateway = await start(rig, {"tenant": {"requests_per_minute": 2}})
        passed = [await rig.post(ask()) for _ in range(2)]
        refused = await rig.post(ask())

        assert [("2", "1"), ("2", "0")] == [
            (answer.header("x-ratelimit-limit-requests"),
             answer.header("x-ratelimit-remaining-requests"))
            for answer in passed
        ]  # fmt: skip
        openai_error(refused, 429, "rate_limit_exceeded")
        assert 29 <= retry_after(refused) <= 30
        assert refused.header("x-should-retry") is None
        assert "0" == refused.header("x-ratelimit-remaining-requests")
        assert 2 == len(rig.engines[0].exchanges)
        assert ["completed", "completed", "rejected_rate"] == [
            record.outcome for record in gateway.records
        ]

    async def test_anthropic(self, rig: Rig) -> None:
        """On its endpoint the error and the lines are Anthropic's."""
        await start(rig, {"tenant": {"requests_per_minute": 1}})
        path = "/v1/messages"
        passed, refused = await rig.post(ask(path), path), await rig.post(ask(path), path)

        assert "0" == passed.header("anthropic-ratelimit-requests-remaining")
        assert "rate_limit_error" == anthropic_error(refused, 429)["type"]
        assert 59 <= retry_after(refused) <= 60

    async def test_tokens_are_held_and_settled(self, rig: Rig) -> None:
        """What a request may use is held while it runs; at its end only what it used is gone."""
        gate = asyncio.Event()
        script = answers.after(gate, answers.like_vllm)
        gateway = await start(rig, {"tenant": {"tokens_per_day": 5000}}, script=script)
        task = asyncio.create_task(rig.post(ask(max_tokens=1000)))
        await rig.engines[0].exchange()
        held = (await used(gateway))["tenant", "tokens_per_day"]
        gate.set()
        answer = await task

        prompt = held.held - 1000
        assert 0 < prompt < 40
        assert str(5000 - held.held) == answer.header("x-ratelimit-remaining-tokens")
        assert Level(SPENT, 0) == (await used(gateway))["tenant", "tokens_per_day"]
        seen = gateway.quota.seen()
        assert (held.held, SPENT, 0) == (seen.reserved, seen.used, seen.held)

    async def test_input_and_output_apart(self, rig: Rig) -> None:
        """Each has a limit of its own; of tokens of answers a prompt takes none."""
        limits = {"input_tokens_per_minute": 10_000, "output_tokens_per_minute": 20_000}
        gateway = await start(rig, {"tenant": limits})
        await rig.post(ask())
        found = await used(gateway)

        assert [ASKED, ANSWERED] == [
            round(found["tenant", name].used) for name in limits
        ]  # fmt: skip

    async def test_what_never_fits(self, rig: Rig) -> None:
        """A request larger than a limit is told so, and that trying again does not help."""
        await start(rig, {"tenant": {"tokens_per_minute": 100}})
        refused = await rig.post(ask(max_tokens=101))

        message = openai_error(refused, 429, "insufficient_quota")["message"]
        assert "ask for less" in message
        assert ("false", None) == (refused.header("x-should-retry"), refused.header("retry-after"))

    async def test_choices_count(self, rig: Rig) -> None:
        """Five answers of 300 tokens may be 1500 tokens."""
        await start(rig, {"tenant": {"tokens_per_minute": 1000}})

        openai_error(await rig.post(ask(max_tokens=300, n=5)), 429, "insufficient_quota")
        assert 200 == (await rig.post(ask(max_tokens=300, n=2))).status

    async def test_limits_of_others_are_not_passed_on(self, rig: Rig) -> None:
        """What a hosted API says of limits of its own is not mixed with the caller's."""

        async def hosted(exchange: Exchange) -> None:
            theirs = ("x-ratelimit-remaining-requests", "7777"), ("x-ratelimit-model", "kept")
            await exchange.answer(200, answers.chat_body("m"), *theirs)

        await start(rig, {"tenant": {"requests_per_minute": 60}}, script=hosted)
        answer = await rig.post(ask())

        assert ("59", "kept") == (
            answer.header("x-ratelimit-remaining-requests"),
            answer.header("x-ratelimit-model"),
        )

    async def test_a_refusal_is_in_the_record(self, rig: Rig) -> None:
        """The decision record says which limit of whom refused, or bounded, a request."""
        gateway = await start(rig, {"tenant": {"requests_per_minute": 1, "max_tokens": 9}})
        found = []
        gateway.hears = (*gateway.hears, lambda exchange, _: found.append(exchange.notes or []))
        for body in (ask(max_tokens=10), ask(), ask(max_tokens=9)):
            await rig.post(body)

        assert [
            [("refused", "max_tokens of callers without a key")],
            [("bounded", "an answer of at most 9 tokens")],
            [("refused", "requests_per_minute of callers without a key")],
        ] == [[(note.outcome, note.detail) for note in notes] for notes in found]


class TestBudgets:
    async def test_a_day(self, rig: Rig) -> None:
        """A budget that is used up is a quota: no SDK tries again by itself until it is renewed."""
        await start(rig, {"tenant": {"tokens_per_day": 100}})
        first = await rig.post(ask(max_tokens=50))
        refused = await rig.post(ask(max_tokens=50))

        assert 200 == first.status
        message = openai_error(refused, 429, "insufficient_quota")["message"]
        assert "It is renewed at " in message
        assert "false" == refused.header("x-should-retry")
        assert 1 <= retry_after(refused) <= 86_400

    async def test_money(self, rig: Rig) -> None:
        """What was used is charged by the price book, cached tokens at their own price."""
        price = {"model": "m", "input": 3, "cached": 1, "output": 10}
        gateway = await start(
            rig, {"tenant": {"cost_per_month": 0.01}}, metering={"prices": {"tokens": [price]}}
        )
        await rig.post(ask(max_tokens=10))
        refused = await rig.post(ask(max_tokens=1000))
        micro_cents = (17 * 3 + 16 * 1 + 8 * 10) * 100

        assert Level(micro_cents, 0) == (await used(gateway))["tenant", "cost_per_month"]
        message = openai_error(refused, 429, "insufficient_quota")["message"]
        assert "is 0.0100 USD per month, and this request may need 0.0101; ask for less" in message

    async def test_money_needs_prices(self, rig: Rig) -> None:
        """A budget that nothing could use up is a mistake in the configuration."""
        with pytest.raises(ConfigError, match="needs prices of tokens"):
            await start(rig, {"tenant": {"cost_per_month": 1}})


class TestSlots:
    async def test_concurrent_requests(self, rig: Rig) -> None:
        """As many at one time as allowed; when one ends there is room for the next."""
        gate = asyncio.Event()
        script = answers.after(gate, answers.like_vllm)
        await start(rig, {"tenant": {"concurrent_requests": 2}}, script=script)
        running = [asyncio.create_task(rig.post(ask())) for _ in range(2)]
        await rig.engines[0].exchange(1)
        refused = await rig.post(ask())
        gate.set()
        ended = await asyncio.gather(*running)

        openai_error(refused, 429, "rate_limit_exceeded")
        assert 1 == retry_after(refused)
        assert [200, 200] == [answer.status for answer in ended]
        assert 200 == (await rig.post(ask())).status


class TestLengths:
    async def test_a_longer_one_is_refused(self, rig: Rig) -> None:
        """It is 400, names the limit and whose it is, and does not reach an engine."""
        gateway = await start(rig, {"tenant": {"max_tokens": 100}})
        refused = await rig.post(ask(max_tokens=101))

        error = openai_error(refused, 400, "max_tokens_exceeded")
        assert (
            "`max_tokens` is 101; at most 100 is allowed. That is the limit of" in error["message"]
        )
        assert ("max_tokens", "false") == (error["param"], refused.header("x-should-retry"))
        assert [] == rig.engines[0].exchanges
        assert {("tenant", "max_tokens"): 1} == gateway.quota.seen().rejected

    async def test_or_clamped(self, rig: Rig) -> None:
        """Where it is configured so, the engine hears the limit instead."""
        await start(rig, {"tenant": {"max_tokens": 100}, "too_long": "clamp"})
        await rig.post(ask(max_tokens=101))

        assert 100 == sent(rig)["max_tokens"]

    @pytest.mark.parametrize("path", STREAMS)
    async def test_none_is_given(self, rig: Rig, path: str) -> None:
        """A request that does not say is told how long, by the name that the endpoint has."""
        await start(rig, {"tenant": {"max_tokens": 7}})
        body = ask(path)
        body.pop("max_tokens", None)
        await rig.post(body, path)

        name = "max_output_tokens" if path == "/v1/responses" else "max_tokens"
        assert 7 == sent(rig)[name]

    async def test_nothing_else_is_touched(self, rig: Rig) -> None:
        """Without a limit of lengths the body goes on as it came."""
        await start(rig, {"tenant": {"tokens_per_minute": 10_000}})
        body = json.dumps(ask(max_completion_tokens=9, seed=1), indent=1).encode()
        await rig.post(body)

        assert body == bytes(rig.engines[0].exchanges[-1].body)


class TestEnds:
    """However a request ends, what it held is given back and what it used is counted."""

    async def test_a_stream(self, rig: Rig) -> None:
        """The usage of a stream, though the client did not ask for it."""
        gateway = await start(rig, {"tenant": {"tokens_per_day": 5000}})
        answer = await rig.post(ask(stream=True))

        assert 200 == answer.status
        assert answer.header("x-ratelimit-remaining-tokens")
        assert Level(SPENT, 0) == (await used(gateway))["tenant", "tokens_per_day"]

    async def test_an_abort(self, rig: Rig) -> None:
        """Of a stream that was broken off the tokens that were sent, and the estimated prompt."""
        frames = answers.chat_frames("m")[:4]
        script = answers.streams_then(*frames, then=answers.hangs)
        gateway = await start(rig, {"tenant": {"tokens_per_day": 5000}}, script=script)
        client = await rig.client().__aenter__()
        answer = await client.open("POST", CHAT_PATH, streamed())
        for _ in frames:
            await answer.event()
        client.close()
        await rig.idle()
        found = (await used(gateway))["tenant", "tokens_per_day"]
        record = gateway.records[-1]

        assert "client_gone" == record.outcome
        assert Level(record.tokens_in + record.tokens_out, 0) == found
        assert 3 == record.tokens_out

    async def test_gone_before_an_answer(self, rig: Rig) -> None:
        """Of an answer that would have come in one piece the prompt and what is likely."""
        gateway = await start(rig, {"tenant": {"tokens_per_day": 5000}}, script=answers.hangs)
        client = await rig.client().__aenter__()
        await client.send(request("POST", CHAT_PATH, ask(max_tokens=100)))
        await rig.engines[0].exchange()
        client.close()
        await rig.idle()
        record = gateway.records[-1]

        assert Level(record.tokens_in + 100, 0) == (await used(gateway))["tenant", "tokens_per_day"]

    @pytest.mark.parametrize("script", [answers.resets, answers.says(500, answers.error(500))])
    async def test_a_failure(self, rig: Rig, script: Any) -> None:
        """A request that got an error has used nothing, but is a request."""
        limits = {"tokens_per_day": 5000, "requests_per_minute": 60, "concurrent_requests": 9}
        gateway = await start(rig, {"tenant": limits}, script=script)
        await rig.post(ask())
        found = await used(gateway)

        assert Level(0, 0) == found["tenant", "tokens_per_day"]
        assert Level(0, 0) == found["tenant", "concurrent_requests"]
        assert 0.9 < found["tenant", "requests_per_minute"].used <= 1

    async def test_a_storm(self, rig: Rig) -> None:
        """After many of them at once, in all ways, nothing is held."""
        gateway = await start(
            rig,
            {"tenant": {"tokens_per_minute": 1_000_000, "concurrent_requests": 100}},
            script=answers.streams_then(answers.chat_frames("m")[0], then=answers.hangs),
        )
        clients = [await rig.client().__aenter__() for _ in range(20)]
        for number, client in enumerate(clients):
            await client.send(request("POST", CHAT_PATH, streamed() if number % 2 else ask()))
        await rig.engines[0].exchange(19)
        for number, client in enumerate(clients):
            client.reset() if number % 3 else client.close()
        await rig.idle()

        await eventually(lambda: gateway.quota.seen().held == 0)
        assert {0} == {level.held for level in (await used(gateway)).values()}


class TestWhose:
    async def keyed(self, rig: Rig, place: Place, limits: dict[str, Any]) -> Gateway:
        tenants = [{"name": "acme"}, {"name": "rival"}]
        return await start(
            rig, limits, identity=place.config.model_dump(), tenants=tenants, serves={"m": "m"}
        )

    async def post(self, rig: Rig, secret: str) -> Answer:
        return await rig.post(ask(), CHAT_PATH, authorization=f"Bearer {secret}")

    async def test_a_key_of_its_own(self, rig: Rig, tmp_path: Path) -> None:
        """A key's own limits are in force where nothing else is limited; others are not touched."""
        place = Place(tmp_path, "acme", "rival")
        tight = await place.issue("tight", tenant="acme", limits={"requests_per_minute": 1})
        free = await place.issue("free", tenant="acme")
        await self.keyed(rig, place, {})
        found = [(await self.post(rig, each.secret)) for each in (tight, tight, free, free)]

        assert [200, 429, 200, 200] == [answer.status for answer in found]
        assert "The limit of the key tight is 1 " in found[1].json()["error"]["message"]

    async def test_a_key_is_limited_while_it_runs(self, rig: Rig, tmp_path: Path) -> None:
        """Limits of a key that change are in force at once, without a restart."""
        place = Place(tmp_path, "acme", "rival")
        issued = await place.issue("app", tenant="acme")
        gateway = await self.keyed(rig, place, {})
        before = (await self.post(rig, issued.secret)).status
        await place.office.alter("tester", "app", {"limits": {"requests_per_minute": 0}})
        await gateway.door.look()
        refused = await self.post(rig, issued.secret)

        assert 200 == before
        assert openai_error(refused, 429)["message"].endswith(
            "requests per minute: nothing may pass."
        )

    async def test_a_tenant_with_two_keys(self, rig: Rig, tmp_path: Path) -> None:
        """A tenant's limit is that of all its keys together; another tenant has its own."""
        place = Place(tmp_path, "acme", "rival")
        keys = [await place.issue(name, tenant="acme") for name in ("a", "b")]
        other = await place.issue("c", tenant="rival")
        await self.keyed(rig, place, {"tenant": {"requests_per_minute": 2}})
        found = [await self.post(rig, key.secret) for key in (*keys, keys[0], other)]

        assert [200, 200, 429, 200] == [answer.status for answer in found]
        assert "The limit of the tenant acme" in found[2].json()["error"]["message"]

    async def test_a_model_for_all(self, rig: Rig, tmp_path: Path) -> None:
        """A model's limit is that of all tenants together; its headers tell nobody of others."""
        place = Place(tmp_path, "acme", "rival")
        keys = [await place.issue(name, tenant=name) for name in ("acme", "rival")]
        await self.keyed(rig, place, {"models": {"m": {"requests_per_minute": 2}}})
        found = [await self.post(rig, key.secret) for key in (*keys, keys[0])]

        assert [200, 200, 429] == [answer.status for answer in found]
        assert found[0].header("x-ratelimit-remaining-requests") is None

    async def test_a_strange_limit_is_told(
        self, rig: Rig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A name in the book that is no limit limits nothing, and the log says so once."""
        place = Place(tmp_path, "acme", "rival")
        issued = await place.issue("app", tenant="acme", limits={"tokens_per_day": 9})
        book = json.loads(place.config.file.read_text())
        book["keys"]["app"]["limits"] = {"rpm": 1}
        place.config.file.write_text(json.dumps(book))
        gateway = await self.keyed(rig, place, {})
        found = [(await self.post(rig, issued.secret)).status for _ in range(2)]
        gateway.log.flush()
        told = [line for line in capsys.readouterr().err.splitlines() if "limits_unknown" in line]

        assert [200, 200] == found
        assert [("key", "app", ["rpm"])] == [
            (event["scope"], event["name"], event["limits"]) for event in map(json.loads, told)
        ]


async def test_unknown_models_are_a_mistake(rig: Rig) -> None:
    """A limit of a model that there is not does not start."""
    with pytest.raises(ConfigError, match="there is no model 'ghost'"):
        await start(rig, {"models": {"ghost": {"max_tokens": 1}}})


async def test_work_of_no_engine_is_free(rig: Rig) -> None:
    """Counting tokens is a request, and takes no tokens; neither does a stored answer."""
    gateway = await start(rig, {"tenant": {"tokens_per_day": 50, "requests_per_minute": 9}})
    path = "/v1/messages/count_tokens"
    await rig.post(ask("/v1/messages", prompt="x" * 1000), path)
    found = await used(gateway)

    assert Level(0, 0) == found["tenant", "tokens_per_day"]
    assert found["tenant", "requests_per_minute"].used > 0


async def test_files_are_no_text(rig: Rig) -> None:
    """A recording holds what a sound counts as, not a token for every four bytes."""
    gate = asyncio.Event()
    script = answers.after(gate, answers.like_vllm)
    gateway = await start(rig, {"tenant": {"tokens_per_day": 5000}}, script=script)
    body, kind = form("m", b"\0" * 100_000)
    async with rig.client() as client:
        task = asyncio.create_task(client.post("/v1/audio/transcriptions", body, [kind]))
        await rig.engines[0].exchange()
        held = (await used(gateway))["tenant", "tokens_per_day"].held
        gate.set()
        await task

    assert 1000 == held


async def test_tenants_with_limits_have_a_ratio(rig: Rig) -> None:
    """The metrics show how far tenants with limits of their own are."""
    limits = {"tenants": {"acme": {"tokens_per_day": 100}}}
    gateway = await start(rig, limits, tenants=[{"name": "anonymous"}, {"name": "acme"}])

    assert {("acme", "tokens_per_day"): 0} == gateway.quota.seen().ratios
    assert b'headrace_limit_used_ratio{limit="tokens_per_day",tenant="acme"} 0.0' in (
        (await rig.get("/metrics")).body
    )
