"""Our own core before simulated replicas: it is the gateway's, it ends, and it is worth it."""

from functools import cache
from pathlib import Path

import pytest

from headrace.engines.sim.presets import PRESETS
from headrace.simulate.oracle import Oracle
from headrace.simulate.ours import Ours, named, names
from headrace.simulate.report import Figures, measure
from headrace.simulate.rivals import RIVALS
from headrace.simulate.synthetic import GENERATORS
from headrace.simulate.trace import read, replay
from headrace.simulate.world import Change, Fleet, World
from tests.simulate.fleets import H100, families

STREAM = families(300, 12, 0.02)
FOUR = Fleet((H100,) * 4)


@pytest.mark.parametrize("name", names())
def test_every_request_is_answered(name: str) -> None:
    """With each policy and order, and equal seeds give equal runs."""
    one, other = (World(STREAM, FOUR, named(name), 1).run() for _ in range(2))

    assert all(job.request.arrival_s <= job.dispatched_s < job.end_s for job in one.jobs)
    assert [job.end_s for job in one.jobs] == [job.end_s for job in other.jobs]


@pytest.mark.parametrize("name", names())
def test_replicas_come_and_go(name: str) -> None:
    """Nothing is lost but answers that had begun; nobody is sent to the dead."""
    changes = (Change(1.0, H100), Change(2.0, None), Change(3.0, None))
    outcome = World(STREAM, Fleet((H100,) * 4, changes), named(name), 1).run()

    assert all(job.replica in {0, 1} for job in outcome.failed)
    later = [job for job in outcome.jobs if job.dispatched_s > 3.0]
    assert 4 in {job.replica for job in later}
    assert {job.replica for job in later} <= {2, 3, 4}


def test_nothing_stays_in_the_books() -> None:
    """When all are answered no lane and no queue has anything left."""
    policy = Ours()
    World(STREAM, FOUR, policy, 1).run()

    assert 0 == policy._pool.waiting
    assert {} == policy._leases
    assert [(0, 0.0, 0.0)] * 4 == [
        (lane.inflight, lane.unprefilled, lane.kv_used) for lane in policy._lanes.values()
    ]


@pytest.mark.parametrize("name", ["fastest", "lowest_cost:slow", "least_requests:fair", ""])
def test_names_are_checked(name: str) -> None:
    """Only policies and orders that there are."""
    with pytest.raises(KeyError):
        named(name)


@cache
def busy(name: str) -> Figures:
    """Agents before a fleet near its limit: whoever finds less in the caches is over it."""
    policy = Oracle() if name == "oracle" else RIVALS[name]() if name in RIVALS else named(name)
    return measure(World(GENERATORS["agents"](15, 1200, 1), FOUR, policy, 1).run())


@pytest.mark.parametrize("name", ["lowest_cost", "lowest_cost:fast", "lowest_cost:fair"])
def test_caches_are_found(name: str) -> None:
    """By guessing it finds nine tenths of the cached tokens that an oracle finds by knowing."""
    assert (busy(name)["cached"] or 0) > 0.9 * (busy("oracle")["cached"] or 1)


@pytest.mark.parametrize("rival", ["round_robin", "power_of_two", "cache_aware", "kv_aware"])
def test_first_tokens_come_sooner(rival: str) -> None:
    """Before a busy fleet the mean and the median wait is shorter than with these."""
    for figure in ("ttft_mean_ms", "ttft_p50_ms"):
        assert (busy("lowest_cost")[figure] or 0) < (busy(rival)[figure] or 0)


def test_knowing_all_is_not_much_better() -> None:
    """The median wait is within 15 % of the oracle's."""
    oracle, ours = busy("oracle")["ttft_p50_ms"] or 0, busy("lowest_cost")["ttft_p50_ms"] or 0

    assert ours < 1.15 * oracle


def test_equal_replicas_are_learned_as_equal() -> None:
    """Their rates stay one, and near the truth, whatever chance gave each of them to do."""
    policy = Ours()
    World(GENERATORS["agents"](15, 1200, 1), FOUR, policy, 1).run()
    rates = {lane.rates for lane in policy._lanes.values()}

    assert 1 == len(rates)
    assert 1.0 == pytest.approx(rates.pop().b / H100.cost.per_token, rel=0.25)


def test_unequal_replicas_are_learned_apart() -> None:
    """From the same start values it finds that some replicas are slower than others."""
    policy = Ours()
    fleet = Fleet((H100, H100, PRESETS["l40s-8b"], PRESETS["l40s-8b"]))
    World(families(400, 40, 0.15, 8000), fleet, policy, 1).run()
    fast, _, slow, _ = (lane.rates.b for lane in policy._lanes.values())

    assert slow > 1.8 * fast


def test_slow_replicas_are_used() -> None:
    """Before a busy fleet of two kinds of GPUs requests wait hardly longer than with a rival."""
    path = Path(__file__).parents[2] / "benchmarks/routing/traces/conversation_trace.jsonl.gz"
    stream = replay("conversation", read(path, 1200), 2.4, 1)
    fleet = Fleet((H100,) * 4 + (PRESETS["a100-8b"],) * 4)
    ours, sticky = (
        measure(World(stream, fleet, policy, 1).run())["ttft_mean_ms"] or 0
        for policy in (Ours(), RIVALS["sticky"]())
    )

    assert ours < 1.1 * sticky
