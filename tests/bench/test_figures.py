"""Figures of a step, by their definitions."""

import math

import pytest

from headrace.bench.client import Record
from headrace.bench.drive import Played
from headrace.bench.figures import Slo, as_json, figures, percentile, slo, spread
from headrace.bench.plan import Step
from headrace.errors import ConfigError


def record(number: int = 0, **changes: object) -> Record:
    fields: dict[str, object] = {
        "number": number, "sent_s": float(number), "late_s": 0.0, "latency_s": 1.0, "ttft_s": 0.1,
        "gaps_s": (0.1,) * 9, "prompt_tokens": 100, "output_tokens": 10, "status": 200, "error": "",
    }  # fmt: skip
    return Record(**(fields | changes))  # type: ignore[arg-type]


def played(*records: Record, wall_s: float = 10.0) -> Played:
    return Played(Step(1.0, None, []), records, wall_s)


def test_time_per_output_token_is_without_the_first() -> None:
    """TPOT is (latency - TTFT) / (tokens - 1), as vLLM's bench defines it."""
    assert 0.1 == pytest.approx(record().tpot_s)
    assert record(output_tokens=1).tpot_s is None


def test_rates_are_of_good_requests() -> None:
    """A request that failed adds to no rate and to no time, and its error is told."""
    bad = record(1, error="503: full", ttft_s=None, output_tokens=0, latency_s=0.001)

    found = figures(played(record(), bad), Slo())

    assert (2, 1) == (found.sent, found.good)
    assert {"503: full": 1} == found.failures
    assert (0.1, 1.0, 11.0) == (found.request_rate, found.output_rate, found.total_rate)
    assert 1000.0 == pytest.approx(found.e2e.mean)


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        ("ttft=100ms", 2), ("ttft=99ms", 0), ("tpot=100ms,e2e=1s", 2), ("e2e=999ms", 0),
        ("itl=150ms", 1), ("itl=0.2s", 2),
    ],
)  # fmt: skip
def test_goodput_counts_requests_that_keep_all_limits(limits: str, kept: int) -> None:
    """A request that kept every limit is good; goodput is good ones per second."""
    slow = record(1, gaps_s=(0.2,) + (0.0875,) * 8)
    failed = record(2, error="broken")

    found = figures(played(record(), slow, failed), slo([limits]))

    assert kept == found.kept
    assert kept / 10 == found.goodput


@pytest.mark.parametrize("text", ["ttft", "ttft=5", "ttft=-5ms", "latency=5s", "ttft=5m", ""])
def test_a_limit_that_is_none_is_told(text: str) -> None:
    """A wrong limit says what would be right."""
    with pytest.raises(ConfigError, match=r"--slo: .*; write ttft=500ms"):
        slo([text])


def test_limits_add_up() -> None:
    """Limits may be repeated or listed."""
    found = slo(["ttft=500ms,tpot=50ms", "e2e=10s"])

    assert {"ttft": 0.5, "tpot": 0.05, "e2e": 10.0} == found.written


def test_percentiles_are_linear_between_neighbours() -> None:
    """As NumPy's default, and so as those of other tools."""
    assert 2.5 == percentile([1.0, 2.0, 3.0, 4.0], 50)
    assert 4.0 == percentile([1.0, 2.0, 3.0, 4.0], 100)
    assert 1.3 == pytest.approx(percentile([1.0, 2.0], 30))
    assert 7.0 == percentile([7.0], 99)


def test_nothing_has_no_figures() -> None:
    """Where nothing was answered there is no time: null for machines, never 0."""
    assert math.isnan(spread([]).mean)
    found = figures(played(record(error="refused", ttft_s=None)), Slo())
    assert as_json(found)["ttft_ms"]["p99"] is None


def test_how_many_were_under_way_is_counted() -> None:
    """Requests that overlap count together."""
    found = figures(played(record(latency_s=1.5), record(1, sent_s=1.0), record(3)), Slo())

    assert 2 == found.most_at_once
