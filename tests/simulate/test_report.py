"""Figures: each means what its name says, and tables and JSON have them."""

from collections import Counter
from math import sqrt

import pytest

from headrace.simulate.engine import Engine, Job
from headrace.simulate.report import (
    AFTER_JOIN,
    BY_SIZE,
    MAIN,
    Spread,
    as_json,
    gather,
    measure,
    quantile,
    table,
)
from headrace.simulate.world import Outcome, Sample, step
from tests.simulate.fleets import BLOCK, H100, request


def job(number: int, first_s: float, gap_ms: float = 10.0, tokens: int = 1000) -> Job:
    """A job that came at ``number`` seconds and had 11 tokens of answer, half of it cached."""
    found = Job(request(number, number, tokens, 11))
    found.first_s = number + first_s
    found.end_s = found.first_s + 10 * gap_ms / 1000
    found.cached = tokens // 2
    return found


def outcome(*jobs: Job) -> Outcome:
    engines = [Engine(number, H100, BLOCK) for number in range(2)]
    engines[0].busy_ms, engines[1].busy_ms = 300.0, 100.0
    return Outcome([*jobs], engines)


def test_first_tokens() -> None:
    """Mean, quantiles and maximum of the time from arrival to first token, in ms."""
    found = measure(outcome(*(job(number, number / 10) for number in range(1, 11))))

    assert 550 == pytest.approx(found["ttft_mean_ms"])
    assert 600 == pytest.approx(found["ttft_p50_ms"])
    assert 1000 == pytest.approx(found["ttft_max_ms"])


def test_good_is_quick_and_steady() -> None:
    """First token within 2 s and 100 ms between tokens; both bounds are part of it."""
    found = measure(outcome(job(1, 1.9), job(2, 2.1), job(3, 1.0, 99.0), job(4, 1.0, 101.0)))

    assert 0.5 == found["good"]
    assert 0.5 == found["good_rps"], "two of them in four seconds of arrivals"


def test_sizes_are_apart() -> None:
    """Each class of prompts has its own figures; an empty one has none."""
    found = measure(outcome(job(1, 1.0, tokens=1999), job(2, 3.0, tokens=2000)))

    assert (1.0, 1000.0) == (found["<2k_requests"], found["<2k_mean_ms"])
    assert (1.0, 3000.0) == (found["2k-8k_requests"], found["2k-8k_mean_ms"])
    assert found[">32k_mean_ms"] is None


def test_shares() -> None:
    """Cached tokens of prompt tokens; the busiest replica compared with the mean."""
    found = measure(outcome(job(1, 1.0), job(2, 1.0)))

    assert (0.5, 1.5) == (found["cached"], found["imbalance"])


def test_the_failed_are_counted_apart() -> None:
    """Who had no whole answer is not good, and has no times."""
    run = outcome(job(1, 1.0), job(2, 9.0))
    run.failed.append(run.jobs[1])
    found = measure(run)

    assert (1.0, 0.5, 1000.0) == (found["failed"], found["good"], found["ttft_max_ms"])


def test_gaps_are_weighed_by_tokens() -> None:
    """The 99th percentile over all gaps between tokens, to half a percent."""
    run = outcome(job(1, 1.0))
    run.gaps = Counter({step(20.0): 980, step(300.0): 20})

    assert 300 == pytest.approx(measure(run)["gap_p99_ms"], rel=0.005)
    run.gaps = Counter({step(20.0): 991, step(300.0): 9})
    assert 20 == pytest.approx(measure(run)["gap_p99_ms"], rel=0.005)


def test_a_join_is_judged() -> None:
    """The worst imbalance in the five seconds after it, and the new one's share at their end."""
    run = outcome(job(1, 1.0))
    run.joins.append((10.0, 1))
    run.samples += [
        Sample(10.0, {0: 9, 1: 0}),
        Sample(12.0, {0: 1, 1: 3}),
        Sample(15.0, {0: 2, 1: 2}),
        Sample(15.5, {0: 9, 1: 0}),
    ]
    found = measure(run)

    assert (1.5, 1.0) == (found["join_peak"], found["join_share"])


def test_seeds_become_a_spread() -> None:
    """Mean and the sample's deviation; what no run has stays absent."""
    found = gather([{"a": 1.0, "b": None}, {"a": 3.0, "b": None}])

    assert {"a": Spread(2.0, sqrt(2)), "b": None} == found
    assert {"a": {"mean": 2.0, "sd": 1.4142}, "b": None} == as_json(found)
    assert {"a": Spread(1.0, 0.0)} == gather([{"a": 1.0}])
    assert "2 ± 0.5" == str(Spread(2.0, 0.5))


def test_tables_have_a_row_for_each_policy() -> None:
    """Headings first; deviations on request; a dash for what there is not."""
    found = gather([measure(outcome(job(1, 1.0)))])
    plain = table({"x": found}, MAIN, spread=False)

    assert ["policy", "TTFT mean, ms"] == plain[0][:2]
    assert ["x", "1000"] == plain[1][:2]
    assert "1000 ± 0" == table({"x": found}, MAIN, spread=True)[1][1]
    assert "-" == table({"x": found}, BY_SIZE, spread=False)[1][-1]
    assert "-" == table({"x": found}, AFTER_JOIN, spread=False)[1][-1]


def test_quantiles_of_none() -> None:
    """There is no median of nothing."""
    assert quantile([], 0.5) is None
    assert 3 == quantile([1, 2, 3], 1.0)
