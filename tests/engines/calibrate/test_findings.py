"""From a survey to a preset: engines whose numbers are known are found again."""

from dataclasses import replace

import pytest

from headrace.engines.calibrate.findings import _parts, findings
from headrace.engines.calibrate.fit import TERMS
from headrace.engines.calibrate.session import Mix
from headrace.engines.sim.cost import Cost
from headrace.engines.sim.presets import PRESETS
from tests.engines.calibrate.rig import Habits, run, surveyed

L4 = PRESETS["l4-8b"]


def numbers(cost: Cost) -> dict[str, float]:
    return {
        "weights": cost.weights + cost.host,
        "base": cost.base + cost.host,
        "per_token": cost.per_token,
        "per_pair": cost.per_pair,
        "per_kv_token": cost.per_kv_token,
    }


@pytest.mark.parametrize("name", ["h100-8b", "a100-8b", "l4-8b"])
def test_known_engines_are_found_again(name: str) -> None:
    """Each coefficient within 3 %; a time of request within 3 %; the limits exactly."""
    preset = replace(PRESETS[name], request_ms=12.0)
    survey = run(surveyed(preset, max_num_seqs=48, max_num_batched_tokens=1024))
    found = findings(survey, "found", "a test").preset

    assert numbers(preset.cost) == pytest.approx(numbers(found.cost), rel=0.03)
    assert preset.cost.per_sequence == pytest.approx(found.cost.per_sequence, rel=0.1, abs=0.005)
    assert 12.0 == pytest.approx(found.request_ms, rel=0.03)
    assert preset.step_ms == pytest.approx(found.step_ms, rel=0.01)
    assert (48, 1024) == (found.max_num_seqs, found.max_num_batched_tokens)
    assert (preset.kv_tokens // 16 * 16, 16) == (found.kv_tokens, found.block_size)


def test_the_fit_is_right_where_it_was_not_fitted() -> None:
    """A prompt beside a sequence, which no coefficient saw, is told within 3 %."""
    found = findings(run(surveyed(L4, max_num_batched_tokens=512)), "x", "y")
    (check,) = found.checks

    assert abs(found.fit.residual(check)) < 0.03
    assert found.fit.r_squared > 0.999
    assert () == found.doubts


@pytest.mark.parametrize("limit", [256, 700, 2048])
def test_chunks_are_found(limit: int) -> None:
    """How many tokens an iteration takes; a number that is no power of two within 10 %."""
    found = findings(run(surveyed(L4, max_num_batched_tokens=limit)), "x", "y").preset

    assert limit == pytest.approx(found.max_num_batched_tokens, rel=0.1 if limit == 700 else 0)


@pytest.mark.parametrize(
    ("gaps", "parts"),
    [
        ((35, 880, 950, 34), 2),  # as seen with vLLM on a CPU
        ((35, 36, 1900), 1),
        ((50, 400, 440, 140, 51), 3),
        ((20, 20, 21, 20), 3),
        ((20,), 1),
    ],
)
def test_parts_are_counted(gaps: tuple[float, ...], parts: int) -> None:
    """Gaps that grew; where none does to speak of, all but the step before the prompt."""
    assert parts == _parts(Mix(1020, 80.0, gaps))


def test_what_is_not_seen_is_assumed_and_told() -> None:
    """An engine with one long chunk, many sequences and no metrics: vLLM's defaults, said so."""
    habits = Habits(metrics=False, tells_length=False, longest=3000)
    found = findings(run(surveyed(L4, habits=habits, max_num_batched_tokens=8192)), "x", "y")
    told = " ".join(found.assumed)

    assert (256, 65_536) == (found.preset.max_num_seqs, found.preset.kv_tokens)
    assert found.preset.max_num_batched_tokens >= 2048
    for name in ("max_num_batched_tokens", "max_num_seqs", "kv_tokens", "block_size"):
        assert f"{name} is " in told
    assert "no vLLM metrics" in " ".join(found.doubts)


def test_terms_that_do_not_show_are_named() -> None:
    """An engine that takes the same time for everything tells nothing of tokens and pairs."""
    flat = replace(L4, cost=Cost(20.0, 0.0, 0.0, 0.0, 0.0, 0.0))
    found = findings(run(surveyed(flat)), "x", "y")

    assert {"per_token", "per_pair", "per_kv_token"} <= {*found.fit.unknown()}
    assert 20.5 == pytest.approx(found.preset.step_ms, rel=0.01)
    assert {*found.fit.unknown()} <= {*TERMS}


def test_others_are_doubted() -> None:
    """Requests of others that ended meanwhile are told, and so is a time that was too short."""
    found = findings(run(surveyed(L4, time_s=1, habits=Habits(strangers=3))), "x", "y")
    told = " ".join(found.doubts)

    assert "3 requests of others" in told
    assert "only 1 round(s)" in told
