"""policies.py: the least loaded replica, and equals in turn."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.routing.policies import least

loads = st.lists(st.integers(0, 5) | st.integers(0, 10**9), min_size=1, max_size=30)


@given(loads, st.integers(0, 10**9))
def test_the_choice_has_the_least(loads: list[int], turn: int) -> None:
    """Whatever the loads and the turn, no replica has less than the chosen one."""
    assert min(loads) == loads[least(loads, turn)]


@given(loads)
def test_each_equal_has_its_turn(loads: list[int]) -> None:
    """In as many turns as there are replicas, each of the least loaded ones is chosen."""
    lowest = {index for index, load in enumerate(loads) if load == min(loads)}

    assert lowest == {least(loads, turn) for turn in range(len(loads))}


@given(st.integers(1, 30), st.integers(0, 9), st.integers(0, 10**6), st.integers(1, 5))
def test_equals_are_spread_evenly(count: int, load: int, start: int, rounds: int) -> None:
    """When all are equal, each is chosen as often as any other, whatever turn is the first."""
    turns = range(start, start + rounds * count)

    chosen = Counter(least([load] * count, turn) for turn in turns)

    assert dict.fromkeys(range(count), rounds) == chosen


@given(st.lists(st.integers(1, 300), min_size=1, max_size=60), st.integers(1, 8))
def test_a_burst_is_balanced(costs: list[int], replicas: int) -> None:
    """Nothing ends meanwhile: no replica is ahead of another by more than one request."""
    loads = [0] * replicas
    for turn, cost in enumerate(costs):
        loads[least(loads, turn)] += cost

    assert max(loads) - min(loads) <= max(costs)


@pytest.mark.parametrize(
    ("turn", "index"), [(0, 1), (1, 1), (2, 3), (3, 3), (4, 1), (5, 1), (6, 3)]
)
def test_the_next_equal_at_or_after_the_turn(turn: int, index: int) -> None:
    """The turn is a place to start from, modulo the count."""
    assert index == least([5, 2, 5, 2], turn)
