"""The comparison of the simulator with real vLLM: its workload, its replay, and its table."""

from typing import Any

import pytest

from benchmarks.sim import table
from benchmarks.sim.replay import PACE_TIMES, Heard, Replay, middle, pace_ms, replay, summary
from benchmarks.sim.workload import PHASES, PREFIX_TOKENS, workload
from headrace.config.backends import Backend
from headrace.engines.calibrate.target import Target
from headrace.engines.sim import text
from tests.engines.sim.rig import simulator


def test_the_workload_is_that_of_its_seed() -> None:
    """Equal seeds give equal requests, in their order, within the time of the phases."""
    asks = workload(1)
    times = [ask.at_s for ask in asks]

    assert workload(1) == asks
    assert workload(2) != asks
    assert sorted(times) == times
    assert times[-1] < sum(length for length, _ in PHASES)
    assert {None} < {ask.prefix for ask in asks}


def test_prompts_have_their_lengths_and_prefixes() -> None:
    """As many tokens as wanted; equal salts share a prefix, other salts share nothing."""
    ask = next(ask for ask in workload(1) if ask.prefix is not None)
    one, other, salted = ask.text(1, "a"), ask.text(2, "a"), ask.text(1, "b")
    begin = len("".join(text.tokens(one)[:PREFIX_TOKENS]))

    assert abs(len(text.tokens(one)) - PREFIX_TOKENS - ask.prompt) <= 1
    assert one[:begin] == other[:begin]
    assert one != other
    assert one[:40] != salted[:40]


async def test_a_replay_hears_everything() -> None:
    """Each request has its answer: its first token, its gaps, what was cached of it."""
    asks = workload(1)[:6]
    quick = [type(ask)(ask.at_s / 100, ask.prompt, ask.prefix, ask.answer) for ask in asks]
    async with (
        simulator(speed=50, preset="l4-8b") as server,
        Target(Backend(url=server.urls[0], name="x", serves={"any": "any"})) as target,
    ):
        await target.facts()
        found = await replay(target, quick, "salt")
        pace = await pace_ms(target, "salt")
        load = await target.load()

    assert load is not None
    assert (len(asks) + PACE_TIMES, len(asks)) == (load.ended, len(found.heard))
    assert pace > 0
    assert 1 <= found.most_at_once <= len(asks)
    assert all(one.ttft_ms > 0 for one in found.heard)
    assert [ask.answer - 1 for ask in quick] >= [len(one.gaps_ms) for one in found.heard]


def test_the_middle_replay_counts() -> None:
    """Percentiles are of a replay's requests; over replays, the median of each."""
    quick = Replay([Heard(1, 0, 10.0, [1.0, 2.0]), Heard(1, 0, 20.0, [3.0])], 2)
    slow = Replay([Heard(1, 0, 30.0, []), Heard(1, 0, 50.0, [400.0])], 1)
    found = middle([summary(quick), summary(slow), summary(quick)])

    assert (15.0, 2.0) == (found.ttft_p50, found.gap_p50)
    assert (19.5, 2.9) == pytest.approx((found.ttft_p95, found.gap_p95))
    assert (40.0, 400.0) == (summary(slow).ttft_p50, summary(slow).gap_p95)


def side(factor: float) -> dict[str, Any]:
    found = dict.fromkeys(table.AIMS, 100.0 * factor)
    heard = {"prompt_tokens": 10, "cached_tokens": 4}
    return {
        "summary": found,
        "each": [found],
        "most_at_once": 3,
        "replays": [[heard, heard]],
        "disturbed": 1,
    }


def written(factor: float) -> dict[str, Any]:
    return {
        "date": "2026-11-21", "machine": {"cores": "2", "processor": "x"}, "requests": 2,
        "pace_ms": 9.0, "foreign_cores": 0.5, "vllm": side(1.0), "sim": side(factor),
    }  # fmt: skip


def test_the_table_says_what_was_missed() -> None:
    """20 % more misses the aim of 15 % at p50 and keeps that of 30 % at p95."""
    rows = [line for line in table.render(written(1.2)).splitlines() if ", p" in line]

    assert 4 == len(rows)
    assert ["(missed)" in row for row in rows] == [True, False, True, False]
    assert all("| +20.0 %" in row for row in rows)
    assert ["ttft_p50", "gap_p50"] == [*table.missed(written(1.2))]
    assert [] == [*table.missed(written(1.1))]


def test_results_stand_between_their_marks() -> None:
    """What was there is replaced, what is around it stays; a page without marks is refused."""
    page = f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n"

    assert f"before\n{table.BEGIN}\n\nnew\n\n{table.END}\nafter\n" == table.replaced(page, "new")
    with pytest.raises(ValueError, match="no lines"):
        table.replaced("nothing", "new")
