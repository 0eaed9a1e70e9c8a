"""The oracle: it knows the queues, waits for the better replica, and beats those who guess."""

from headrace.simulate.oracle import Oracle
from headrace.simulate.report import measure
from headrace.simulate.rivals import RIVALS
from headrace.simulate.world import Fleet, World
from tests.simulate.fleets import H100, families, request, trace

FLEET = Fleet((H100,) * 4)


def test_nothing_waits_without_need() -> None:
    """An idle fleet gets its requests at once."""
    outcome = World(families(40, 8, 0.5), FLEET, Oracle(), 1).run()

    assert all(job.dispatched_s == job.request.arrival_s for job in outcome.jobs)


def test_a_full_fleet_keeps_them() -> None:
    """No replica gets more than it can take in two iterations and one request."""
    burst = trace(*(request(number, number * 1e-4, 4000, 5) for number in range(40)))
    outcome = World(burst, Fleet((H100,) * 2), Oracle(), 1).run()

    assert max(job.dispatched_s - job.request.arrival_s for job in outcome.jobs) > 0.1


def test_it_knows_better() -> None:
    """Before a busy fleet its first tokens come sooner than those of routers that guess."""
    stream = families(600, 24, 0.018, 8000, 60)
    means = {
        name: measure(World(stream, FLEET, RIVALS[name](), 1).run())["ttft_mean_ms"] or 0.0
        for name in ("oracle", "round_robin", "cache_aware", "power_of_two")
    }

    assert "oracle" == min(means, key=means.__getitem__)
