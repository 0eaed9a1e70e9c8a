"""steer.py and fallback.py: what a rule says is what happens, and without one nothing does."""

import asyncio
from typing import Any

import pytest

from headrace.config.schema import Config
from headrace.conformance import answers
from headrace.conformance.fake import FakeEngine
from headrace.conformance.wire import Answer
from headrace.errors import ConfigError
from headrace.gateway.app import Gateway
from tests.edge.rig import Rig, anthropic_error, ask, eventually, openai_error, streamed

POOLS = ("small", "big")


async def gateway(rig: Rig, rules: list[dict[str, Any]], **more: Any) -> dict[str, FakeEngine]:
    """A gateway with one engine for each of two pools, and these rules."""
    engines = {pool: await rig.engine() for pool in POOLS}
    backends = [
        {"url": engine.url, "name": pool, "serves": {pool: f"up/{pool}"}}
        for pool, engine in engines.items()
    ]
    models = [{"name": "small", "aliases": ["tiny"]}, {"name": "big"}]
    await rig.gateway(models=models, backends=backends, rules=rules, **more)
    return engines


def passed_over(rig: Rig) -> list[str]:
    """What the latest request's decision record says of targets that did not answer."""
    ring = rig.gateway_now.diary.ring
    assert ring is not None
    return [each.detail for each in ring.latest[0].tell().told if each.outcome == "passed over"]


def heads(answer: Answer) -> tuple[str | None, str | None, str | None]:
    """The rule, the model and the replica that an answer's head names."""
    names = ("x-headrace-rule", "x-headrace-model", "x-headrace-replica")
    rule, model, replica = (answer.header(name) for name in names)
    return rule, model, replica


async def test_a_rule_chooses_the_model(rig: Rig) -> None:
    """The target answers under the name that the client used; the head says rule and model."""
    engines = await gateway(rig, [{"name": "up", "match": {"models": "small"}, "target": "big"}])

    moved = await rig.post(ask(model="small"))
    stays = await rig.post(ask(model="big"))

    assert (200, ("up", "big", "big")) == (moved.status, heads(moved))
    assert "small" == moved.json()["model"]
    assert "up/big" == engines["big"].exchanges[0].json()["model"]
    assert (200, (None, None, "big")) == (stays.status, heads(stays))
    assert [] == engines["small"].exchanges


async def test_a_stream_that_was_moved(rig: Rig) -> None:
    """Streams are moved and renamed just so."""
    await gateway(rig, [{"name": "up", "match": {"stream": True}, "target": "big"}])

    answer = await rig.post(streamed(model="small"))

    assert ("up", "big", "big") == heads(answer)
    assert b"".join(answers.stream_for("chat/completions", "small", usage=True)) == answer.body


async def test_unknown_models_are_unknown(rig: Rig) -> None:
    """A name that nothing goes by is answered 404, with rules too, unless a rule has a target."""
    await gateway(rig, [{"name": "gpt", "match": {"models": "gpt-*"}, "target": "tiny"}])

    mapped = await rig.post(ask(model="gpt-4o"))

    assert (200, ("gpt", "small", "small")) == (mapped.status, heads(mapped))
    openai_error(await rig.post(ask(model="claude")), 404, "model_not_found")


async def test_a_rule_without_target_leaves_the_model(rig: Rig) -> None:
    """The head then names the rule only; an unknown model stays unknown."""
    await gateway(rig, [{"name": "all", "priority": "high"}])

    answer = await rig.post(ask(model="tiny"))
    unknown = await rig.post(ask(model="x"))

    assert ("all", None, "small") == heads(answer)
    openai_error(unknown, 404, "model_not_found")
    assert "all" == unknown.header("x-headrace-rule")


async def test_the_record_names_the_rule(rig: Rig) -> None:
    """Each request's record says which rule decided, and counts say how often each did."""
    await gateway(rig, [{"name": "up", "match": {"models": "small"}, "target": "big"}])
    for model in ("small", "small", "big"):
        await rig.post(ask(model=model))
    await rig.idle()

    started = rig.gateway_now
    assert ["up", "up", ""] == [record.rule for record in started.records]
    assert ["big"] * 3 == [record.served for record in started.records]
    text = (await rig.get("/metrics")).body.decode()
    assert 'headrace_rule_requests_total{rule="up"} 2.0' in text
    assert f'headrace_rules_info{{version="{started.steer.book.version}"}} 1.0' in text  # type: ignore[union-attr]


class TestFallbacks:
    RULE = ({"name": "both", "target": ["big", "small"]},)

    async def test_a_pool_without_replicas_is_passed_over(self, rig: Rig) -> None:
        """The next target answers at once, without a wait in the queue of the first."""
        await gateway(rig, [*self.RULE])
        rig.gateway_now.fleet.remove("big")

        answer = await rig.post(ask(model="big"))

        assert (200, ("both", "small", "small")) == (answer.status, heads(answer))
        assert ["big has no replica"] == passed_over(rig)

    @pytest.mark.parametrize("status", [429, 503])
    async def test_a_refusal_goes_on_to_the_next(self, rig: Rig, status: int) -> None:
        """A target that refuses before its first byte is not the last word."""
        engines = await gateway(rig, [*self.RULE])
        engines["big"].script = answers.says(status, answers.error(status))

        answer = await rig.post(ask(model="big"))

        assert (200, ("both", "small", "small")) == (answer.status, heads(answer))
        assert {"both": 1} == rig.gateway_now.steer.fallbacks
        assert [f"big answered {status}"] == passed_over(rig)

    async def test_a_broken_pool(self, rig: Rig) -> None:
        """A replica that breaks is as good as none; no lease is left of it."""
        engines = await gateway(rig, [*self.RULE])
        engines["big"].script = answers.resets

        assert ("both", "small", "small") == heads(await rig.post(streamed(model="big")))
        [told] = passed_over(rig)
        assert told.startswith("big: ")

    async def test_the_last_error_is_told(self, rig: Rig) -> None:
        """When every target refuses, the client hears the last one."""
        engines = await gateway(rig, [*self.RULE])
        engines["big"].script = answers.resets
        engines["small"].script = answers.says(503, answers.error(503, "Full."))

        answer = await rig.post(ask(model="big"))

        assert (503, "small") == (answer.status, answer.header("x-headrace-replica"))

    async def test_a_clients_error_is_its_own(self, rig: Rig) -> None:
        """What another target would refuse as well is not tried there."""
        engines = await gateway(rig, [*self.RULE])
        engines["big"].script = answers.says(400, answers.error(400))

        assert 400 == (await rig.post(ask(model="big"))).status
        assert [] == engines["small"].exchanges

    async def test_none_is_ready(self, rig: Rig) -> None:
        """The request then waits for its first target, as long as the rule says."""
        await gateway(rig, [{**self.RULE[0], "timeouts": {"queue_s": 0.05}}])
        for pool in POOLS:
            rig.gateway_now.fleet.remove(pool)

        error = openai_error(await rig.post(ask(model="small")), 503, "no_replica")

        assert "`big`" in error["message"]
        assert "0.05 s" in error["message"]


class TestParameters:
    async def test_the_engine_gets_the_edited_body(self, rig: Rig) -> None:
        """Parameters are clamped and set on the way; what is in flight is counted accordingly."""
        limits = {"max_tokens": {"max": 5}, "temperature": {"set": "0"}, "n": {"drop": True}}
        engines = await gateway(rig, [{"name": "limits", "parameters": limits}])

        await rig.post(ask(model="big", max_tokens=900, n=3, temperature=1.5))

        sent = engines["big"].exchanges[0].json()
        assert (5, 0, False) == (sent["max_tokens"], sent["temperature"], "n" in sent)

    async def test_a_refused_parameter(self, rig: Rig) -> None:
        """A 400 in the client's dialect that names the parameter, and the rule in the head."""
        engines = await gateway(
            rig, [{"name": "strict", "parameters": {"max_tokens": {"max": 5, "refuse": "true"}}}]
        )

        answer = await rig.post(ask(model="big", max_tokens=6))
        other = await rig.post(ask("/v1/messages", "big", max_tokens=6), "/v1/messages")

        error = openai_error(answer, 400)
        assert ("max_tokens", "strict") == (error["param"], answer.header("x-headrace-rule"))
        assert "5" in anthropic_error(other, 400)["message"]
        assert [] == engines["big"].exchanges


class TestClocks:
    async def test_first_byte(self, rig: Rig) -> None:
        """A rule's clock replaces the usual one for its requests."""
        engines = await gateway(rig, [{"name": "fast", "timeouts": {"first_byte_s": 0.05}}])
        engines["big"].script = answers.hangs

        openai_error(await rig.post(streamed(model="big")), 504, "timeout")

    async def test_total(self, rig: Rig) -> None:
        """So does the clock for the whole request."""
        engines = await gateway(rig, [{"name": "fast", "timeouts": {"total_s": 0.05}}])
        engines["big"].script = answers.hangs

        openai_error(await rig.post(ask(model="big")), 504, "timeout")


class TestClass:
    RULES = (
        {"name": "hard", "match": {"models": "small", "classes": "reasoning"}, "target": "big"},
    )

    async def test_it_is_asked_only_when_it_matters(self, rig: Rig) -> None:
        """The classifier is called once, and only for requests whose rule hangs on its word."""
        await gateway(rig, [*self.RULES])
        asked: list[str] = []

        async def classify(exchange: Any, body: bytes) -> str:
            await asyncio.sleep(0)
            asked.append(exchange.facts.model)
            return "reasoning" if b"why" in body else "fast"

        rig.gateway_now.steer.classify = classify
        hard = await rig.post(ask(model="small", messages=[{"role": "user", "content": "why?"}]))
        easy = await rig.post(ask(model="small"))
        await rig.post(ask(model="big"))

        assert ["small", "small"] == asked
        assert ["hard", None] == [heads(answer)[0] for answer in (hard, easy)]

    async def test_nobody_classifies(self, rig: Rig) -> None:
        """Without a classifier no class matches, and requests go where they asked."""
        await gateway(rig, [*self.RULES])

        assert (None, None, "small") == heads(await rig.post(ask(model="small")))


async def test_a_stored_response_stays_where_it_is(rig: Rig) -> None:
    """What continues a stored response goes to its holder, whatever a rule says by then."""
    rule = {"name": "new", "match": {"headers": {"x-go": "big"}}, "target": "big"}
    engines = await gateway(rig, [rule])
    first = await rig.post(ask("/v1/responses", "small"), "/v1/responses")
    asked = ask("/v1/responses", "small", previous_response_id=first.json()["id"])

    then = await rig.post(asked, "/v1/responses", x_go="big")

    assert (200, "small") == (then.status, then.header("x-headrace-replica"))
    assert [] == engines["big"].exchanges


def test_rules_must_fit_the_models() -> None:
    """A target that no model goes by ends the start, also where models are not declared."""
    backend = {"url": "http://gpu:1", "serves": ["m"]}
    config = Config.model_validate(
        {"backends": [backend], "rules": [{"name": "r", "target": ["m", "typo"]}]}
    )

    with pytest.raises(ConfigError, match=r"rules\[0\]\.target: 'typo' is no model; there are m"):
        Gateway(config)


async def test_no_rules_no_cost(rig: Rig) -> None:
    """Without rules nothing is looked at, nothing is decided, and no head names a rule."""
    await gateway(rig, [])

    answer = await rig.post(ask(model="small"))

    assert rig.gateway_now.steer.book is None
    assert (None, None, "small") == heads(answer)


async def test_experiments_are_counted(rig: Rig) -> None:
    """Each arm's requests, failures and tokens are kept, and an identity keeps its arm."""
    arms = [{"name": "old", "target": "small"}, {"name": "new", "target": "big"}]
    await gateway(rig, [{"name": "try", "experiment": {"name": "e", "arms": arms}}])

    first = [await rig.post(ask(model="small"), x_session_id=f"s{i}") for i in range(12)]
    again = [await rig.post(ask(model="small"), x_session_id=f"s{i}") for i in range(12)]
    await rig.idle()

    chosen = [answer.header("x-headrace-replica") for answer in first]
    assert chosen == [answer.header("x-headrace-replica") for answer in again]
    assert set(POOLS) == set(chosen)
    tallies = rig.gateway_now.steer.trials.running["e"].trial.tallies
    assert [2 * chosen.count("small"), 2 * chosen.count("big")] == [t.requests for t in tallies]
    assert all(tally.tokens_out for tally in tallies)
    arms_seen = {record.arm for record in rig.gateway_now.records}
    assert {"e/old", "e/new"} == arms_seen


async def test_shadows_are_apart(rig: Rig) -> None:
    """The copy goes to its own pool under its name; the client's answer and record are as ever."""
    rule = {"name": "copy", "match": {"models": "small"}, "shadow": {"target": "big"}}
    engines = await gateway(rig, [rule])

    answer = await rig.post(ask(model="small"))
    await eventually(lambda: bool(engines["big"].exchanges))
    await rig.idle()

    assert (200, ("copy", None, "small")) == (answer.status, heads(answer))
    assert "up/big" == engines["big"].exchanges[0].json()["model"]
    assert 1 == len(rig.gateway_now.records)
    assert 1 == rig.gateway_now.steer.shadows.counts["copy", "completed"]


async def test_an_arm_that_fails_is_taken_out(rig: Rig) -> None:
    """Requests of an arm whose engine fails soon all go to the control, with nobody's help."""
    arms = [{"name": "old", "target": "small"}, {"name": "new", "target": "big"}]
    guard = {"min_requests": 10, "alpha": 0.05}
    experiment = {"name": "e", "by": "request", "arms": arms, "guard": guard}
    engines = await gateway(rig, [{"name": "try", "experiment": experiment}])
    engines["big"].script = answers.says(500, answers.error(500))
    running = rig.gateway_now.steer.trials.running["e"]
    async with rig.client() as client:
        for _ in range(150):
            await client.post("/v1/chat/completions", ask(model="small"))
            if running.alarms:
                break
        after = [await client.post("/v1/chat/completions", ask(model="small")) for _ in range(10)]

    assert "error_rate" == running.alarms[1].metric
    assert (100, 0) == running.weights
    assert ["small"] * 10 == [answer.header("x-headrace-replica") for answer in after]
    await rig.idle()
    text = (await rig.get("/metrics")).body.decode()
    assert 'headrace_experiment_rollbacks_total{arm="new",experiment="e"} 1.0' in text
