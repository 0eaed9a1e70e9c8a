"""Several gateways before one fleet: what they lose, and what they get back by talking."""

from collections.abc import Sequence

import pytest

from headrace.simulate.gateways import Gateways
from headrace.simulate.ours import Ours
from headrace.simulate.policy import Policy
from headrace.simulate.report import measure
from headrace.simulate.rivals import RIVALS
from headrace.simulate.synthetic import GENERATORS
from headrace.simulate.world import Change, Fleet, Outcome, World
from tests.simulate.fleets import H100, families

STREAM = families(300, 12, 0.02)
FOUR = Fleet((H100,) * 4)


def several(share_s: float, number: int = 4) -> Gateways:
    return Gateways([Ours() for _ in range(number)], share_s)


def cached(trace: str, rate: float, seed: int, policy: Policy) -> float:
    """The share of all tokens of prompts that was found in a cache."""
    source = GENERATORS[trace](rate, 1500, seed)
    return measure(World(source, Fleet((H100,) * 8), policy, seed).run())["cached"] or 0.0


def ends(outcome: Outcome) -> Sequence[float]:
    return [job.end_s for job in outcome.jobs]


@pytest.mark.parametrize("share_s", [0.0, 0.25])
def test_every_request_is_answered(share_s: float) -> None:
    """Whether or not they talk; equal seeds give equal runs; nothing stays in anybody's books."""
    one, other = several(share_s), several(share_s)
    outcome = World(STREAM, FOUR, one, 1).run()

    assert all(job.request.arrival_s <= job.dispatched_s < job.end_s for job in outcome.jobs)
    assert ends(outcome) == ends(World(STREAM, FOUR, other, 1).run())
    for policy in one._each:
        assert isinstance(policy, Ours)
        assert {} == policy._leases
        assert {0} == {lane.own for lane in policy.lanes}


def test_replicas_come_and_go() -> None:
    """Reports of a replica that has died meanwhile do no harm."""
    changes = (Change(1.0, H100), Change(2.0, None), Change(3.0, None))
    outcome = World(STREAM, Fleet((H100,) * 4, changes), several(0.25), 1).run()

    later = {job.replica for job in outcome.jobs if job.dispatched_s > 3.0}
    assert 4 in later
    assert later <= {2, 3, 4}


@pytest.mark.parametrize(
    ("trace", "rate", "seeds"), [("chat", 25.0, 4), ("b2b", 16.0, 1), ("agents", 12.0, 1)]
)
def test_four_that_talk_lose_few_hits(trace: str, rate: float, seeds: int) -> None:
    """
    Of the tokens that one gateway finds cached four lose less than 3 % if they tell each other each
    250 ms what they do, and more than 15 % if they do not. How far a popular prompt of ``chat``
    spreads is a matter of luck, for one gateway, too: so it counts over some seeds.
    """
    one, talking, alone = (
        sum(cached(trace, rate, seed, make()) for seed in range(1, seeds + 1))
        for make in (Ours, lambda: several(0.25), lambda: several(0.0))
    )

    assert talking > 0.97 * one
    assert alone < 0.85 * one


def test_other_routers_are_alone() -> None:
    """Copies of a router that has nothing to tell do not talk, and are asked in turn for ticks."""
    outcome = World(STREAM, FOUR, Gateways([RIVALS["cache_aware"]() for _ in range(3)]), 1).run()

    assert all(job.end_s > 0 for job in outcome.jobs)
