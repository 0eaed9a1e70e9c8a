"""The comparison of policies on real engines: its conversations, its client, and its figures."""

import asyncio
import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.affinity import figures, rig
from benchmarks.affinity.__main__ import _POLICIES, _turned
from benchmarks.affinity.chats import ASK_WORDS, CONVERSATIONS, TURNS, Chats, chats
from benchmarks.affinity.figures import Row
from benchmarks.sim.engines import CONTEXT, MODEL, free_port
from headrace.config.load import load
from headrace.engines.sim import text
from tests.engines.sim.rig import simulator


def row(turn: int, replica: str = "a", **changed: Any) -> Row:
    """A request of conversation 0 whose prompt grows by 128 tokens each turn, nothing cached."""
    values: dict[str, Any] = {
        "seed": 1, "policy": "lowest_cost", "conversation": 0, "turn": turn, "sent_s": float(turn),
        "replica": replica, "prompt": 300 + 128 * turn, "cached": 0, "answer": 16,
        "ttft_ms": 100.0, "seen_ms": 100.0, "predicted_cached": 0, "predicted_ms": 100.0,
    }  # fmt: skip
    return Row(**{**values, **changed})


def test_conversations_are_those_of_their_seed() -> None:
    """Equal seeds give equal conversations; of another seed not even the system prompt is equal."""
    one, other = chats(1), chats(2)

    assert chats(1) == one
    assert one.system[:40] != other.system[:40]
    assert one.order != other.order


def test_each_turn_comes_after_the_one_before_and_rounds_differ() -> None:
    """All turns are there once, in rounds; no two rounds have the same order."""
    order = chats(1).order
    rounds = [order[start : start + CONVERSATIONS] for start in range(0, len(order), CONVERSATIONS)]

    assert {(c, t) for c in range(CONVERSATIONS) for t in range(TURNS)} == set(order)
    assert [{turn} for turn in range(TURNS)] == [{turn for _, turn in one} for one in rounds]
    assert TURNS == len({tuple(conversation for conversation, _ in one) for one in rounds})


def test_prompts_grow_and_fit() -> None:
    """Each turn's prompt begins with all of the one before; the longest fits into the context."""
    made = chats(3)
    answers: list[str] = []
    before: list[dict[str, str]] = []
    for _ in range(TURNS):
        now = made.messages(0, answers)
        assert before == now[: len(before)]
        before = now
        answers.append("an answer")
    words = sum(len(text.tokens(message["content"])) for message in before)

    assert ["system", "user", "assistant"] == [message["role"] for message in before[:3]]
    assert 300 + TURNS * ASK_WORDS[0] < words < CONTEXT // 2


def test_no_policy_is_always_first() -> None:
    """Over seeds every policy takes every place, so that drift hits all alike."""
    orders = [_turned(seed) for seed in (1, 2, 3)]

    assert [set(_POLICIES)] * len(_POLICIES) == [set(place) for place in zip(*orders, strict=True)]


def test_the_gateways_configuration_is_valid(tmp_path: Path) -> None:
    """The gateway reads it, and it says both replicas and the policy."""
    file = tmp_path / "headrace.yaml"
    urls = ["http://127.0.0.1:1", "http://127.0.0.1:2"]
    file.write_text(rig.configuration(urls, "random", 8000, tmp_path / "log"), "utf-8")
    config = load(file)

    assert "random" == config.routing.policy
    assert urls == [backend.url for backend in config.backends]
    assert yaml.safe_load(file.read_text("utf-8"))["models"] == [{"name": MODEL}]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("policy", ["round_robin", "lowest_cost"])
async def test_a_pass_is_heard_and_logged(tmp_path: Path, policy: str) -> None:
    """Each request has its answer, its usage, and what the gateway predicted, if it did."""
    made = chats(1)
    short = Chats(made.system, made.asks, made.order[: 2 * CONVERSATIONS])
    async with (
        simulator(speed=50, preset="l4-8b", model=MODEL) as one,
        simulator(speed=50, preset="l4-8b", model=MODEL) as other,
    ):
        found = await _pass(tmp_path, [one.urls[0], other.urls[0]], policy, short)

    assert len(short.order) == len(found)
    assert {"replica-0", "replica-1"} >= {each.replica for each in found}
    assert all(each.ttft_ms > 0 for each in found)
    assert {policy == "lowest_cost"} == {bool(each.predicted_ms) for each in found}
    assert 0 == min(found, key=lambda each: each.sent_s).cached
    assert figures.cached_share(found) > 0


async def _pass(folder: Path, urls: list[str], policy: str, made: Chats) -> list[Row]:
    port = free_port()
    with contextlib.ExitStack() as stack:
        gateway = rig.gateway(folder, urls, policy, port)
        # It waits for replicas, which answer from this loop.
        await asyncio.to_thread(stack.enter_context, gateway)
        heard = await rig.converse(f"http://127.0.0.1:{port}", made, "x")
    return rig.rows(heard, (folder / "requests.jsonl").read_text("utf-8"), "x", 1, policy)


def test_a_request_that_is_not_in_the_log_is_an_error() -> None:
    """What the log does not hold, or holds differently, is not counted: the run ends."""
    usage = {"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 4}}
    heard = [rig.Heard(0, 0, 0.0, 5.0, "text", usage)]
    line = {
        "event": "request", "request_id": "x-0-0", "tokens_in": 10, "tokens_cached": 5,
        "decision": {"ttft": 5.0},
    }  # fmt: skip

    with pytest.raises(SystemExit, match="no decision about request x-0-0"):
        rig.rows(heard, "", "x", 1, "random")
    with pytest.raises(SystemExit, match="the client was told"):
        rig.rows(heard, json.dumps(line), "x", 1, "random")


def test_replicas_that_are_ready_are_counted() -> None:
    """Other states, other metrics and zeros do not count."""
    text = (
        'headrace_replica_state{replica="a",state="ready"} 1.0\n'
        'headrace_replica_state{replica="b",state="ready"} 0.0\n'
        'headrace_replica_state{replica="b",state="warming"} 1.0\n'
    )

    assert 1 == rig.ready(text)


def test_shares_of_what_could_be_cached() -> None:
    """What was cached over all tokens; at best whole blocks of the turn before, less one token."""
    rows = [row(0), row(1, "b", cached=256), row(2, "b", cached=256)]

    assert 512 / (300 + 428 + 556) == figures.cached_share(rows)
    # (300 + 15) // 128 = 2 blocks, (428 + 15) // 128 = 3; nothing of the first turn was cached.
    assert (256 + 384) / (300 + 428 + 556) == figures.best_share(rows)
    assert 0.5 == figures.stayed(rows)


def test_predictions_are_compared_over_the_thirds_of_each_pass() -> None:
    """The first third and the last of what was sent; how far times and tokens were off."""
    wrong = [row(turn, predicted_ms=10.0, predicted_cached=512, cached=256) for turn in (0, 1)]
    right = [row(turn, predicted_ms=125.0, predicted_cached=300, cached=256) for turn in (4, 5)]
    rows = [*right, row(2), row(3), *wrong]
    first, middle, last = figures.thirds(rows)

    assert [2, 3] == [one.turn for one in middle]
    assert [0, 1] == [one.turn for one in first]
    assert [4, 5] == [one.turn for one in last]
    assert figures.Foresight(2.0, 0.0, 0.1, 10.0) == figures.foresight(first)
    assert figures.Foresight(300 / 256, 1.0, 1.25, 1.25) == figures.foresight(last)


def test_who_predicts_nothing_is_not_compared() -> None:
    """Requests without a prediction have no part in how right predictions were."""
    blind = row(0, predicted_cached=None, predicted_ms=None)

    assert figures.foresight([blind]) is None
    assert figures.Foresight(0.0, 1.0, 1.0, 1.0) == figures.foresight([blind, row(1)])


def test_tables_tell_every_policy() -> None:
    """Each policy is in each table, with three lines of predictions; then what it ran on."""
    rows = [
        dataclasses.asdict(row(turn, policy=policy)) for policy in _POLICIES for turn in range(6)
    ]
    told = figures.render(
        {
            "rows": rows, "policies": _POLICIES, "seeds": [1], "turns": 6, "conversations": 1,
            "date": "2026-11-21", "passes": [{"foreign_cores": 0.5, "engine_hits": 0}],
        }
    )  # fmt: skip
    lines = told.splitlines()

    assert [6] * len(_POLICIES) == [
        sum(line.startswith(f"| `{policy}` |") for line in lines) for policy in _POLICIES
    ]
    assert "18 requests" in told
    assert "0.50 to 0.50 cores" in " ".join(lines)
    assert all(len(line) <= 120 for line in lines if not line.startswith("|"))


def test_results_stand_between_their_marks() -> None:
    """What was there is replaced, what is around it stays; a page without marks is refused."""
    page = f"before\n{figures.BEGIN}\nold\n{figures.END}\nafter\n"
    expected = f"before\n{figures.BEGIN}\n\nnew\n\n{figures.END}\nafter\n"

    assert expected == figures.replaced(page, "new")
    with pytest.raises(ValueError, match="no lines"):
        figures.replaced("nothing", "new")
