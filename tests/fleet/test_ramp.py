"""ramp.py: slow start as a penalty in tokens."""

import pytest

from headrace.fleet.ramp import penalty, weight
from headrace.routing.policies import least


@pytest.mark.parametrize(("age_s", "expected"), [(0, 0.1), (5, 0.55), (10, 1.0), (99, 1.0)])
def test_weight_grows_to_one(age_s: float, expected: float) -> None:
    """A tenth at first, all of it after the slow start."""
    assert pytest.approx(expected) == weight(age_s, 10)


def test_no_slow_start() -> None:
    """Zero seconds give the full share at once."""
    assert 1.0 == weight(0, 0)


@pytest.mark.parametrize("peers", [[], [0, 0]])
def test_no_penalty_without_load(peers: list[int]) -> None:
    """Where nobody is busy there is nothing to protect a newcomer from."""
    assert 0 == penalty(0.1, peers)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_load_settles_at_the_weight(share: float) -> None:
    """Under requests that stay, the newcomer gets its weight times what its peers get."""
    loads = [0, 0, 0, 0]  # the last one is new
    for turn in range(4000):
        seen = [*loads[:3], loads[3] + penalty(share, loads[:3])]
        loads[least(seen, turn)] += 100

    assert loads[3] / (sum(loads[:3]) / 3) == pytest.approx(share, rel=0.05)
