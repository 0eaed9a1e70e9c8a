"""policies.py: each policy, the least loaded replica, and equals in turn."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.config.routing import Routing
from headrace.routing.policies import BOUND, POLICIES, View, least
from headrace.routing.score import Outlook
from tests.routing.fleet import Stage

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


def view(stage: Stage, turn: int = 0, family: int = 0, session: str = "") -> View:
    """What a policy sees of a request of 1,000 tokens."""
    ask = stage.ask(1000, family)
    ask.session = session
    return View(ask, stage.lanes, stage.index.match(ask.blocks), turn, 7, Outlook(), stage.now)


def test_every_policy_can_be_configured() -> None:
    """The table and the setting name the same policies."""
    allowed = Routing.model_json_schema()["properties"]["policy"]["enum"]

    assert set(POLICIES) == set(allowed)


@pytest.mark.parametrize("name", sorted(POLICIES))
@given(st.integers(1, 9), st.integers(0, 10**6), st.lists(st.integers(0, 8), max_size=20))
def test_each_chooses_one_and_always_the_same(
    name: str, count: int, turn: int, busy: list[int]
) -> None:
    """Whatever the fleet looks like: a replica that there is, and the same one again."""
    stage = Stage(count)
    for number in busy:
        lane = stage.lanes[number % count]
        stage.pool.bind(stage.ask(500, family=number), lane, stage.now)
    seen = view(stage, turn, family=turn % 9, session="s" if turn % 2 else "")

    assert POLICIES[name](seen) == POLICIES[name](seen) in range(count)


def test_round_robin() -> None:
    """Each in turn."""
    stage = Stage(3)

    assert [0, 1, 2, 0, 1] == [POLICIES["round_robin"](view(stage, turn)) for turn in range(5)]


def test_random() -> None:
    """All are drawn about as often."""
    stage = Stage(4)
    drawn = Counter(POLICIES["random"](view(stage, turn)) for turn in range(2000))

    assert all(400 < drawn[index] < 600 for index in range(4))


@pytest.mark.parametrize("name", ["least_requests", "least_tokens", "power_of_two", "lowest_cost"])
def test_busy_replicas_are_spared(name: str) -> None:
    """Of two replicas the one that has something to do does not get the next request."""
    stage = Stage(2)
    stage.pool.bind(stage.ask(3000), stage.lanes[0], stage.now)

    assert {1} == {POLICIES[name](view(stage, turn)) for turn in range(20)}


def test_least_tokens_sees_slow_starters() -> None:
    """A penalty counts as tokens in flight."""
    stage = Stage(2)
    stage.lanes[0].penalty = 100

    assert {1} == {POLICIES["least_tokens"](view(stage, turn)) for turn in range(4)}


@pytest.mark.parametrize("name", ["prefix", "lowest_cost"])
def test_prefixes_are_followed(name: str) -> None:
    """What is cached somewhere goes there, as soon as that is free."""
    stage = Stage(4)
    for family, lane in enumerate(stage.lanes, start=1):
        lease = stage.pool.bind(stage.ask(1000, family), lane, stage.now)
        stage.pool.first_token(lease, stage.now)

    assert [0, 1, 2, 3] == [POLICIES[name](view(stage, 0, family)) for family in (1, 2, 3, 4)]


def test_consistent_hash() -> None:
    """A session has one replica, sessions have all, and none has far more than its share."""
    stage = Stage(4)
    chosen = POLICIES["consistent_hash"]

    assert 4 == len({chosen(view(stage, session=f"s{number}")) for number in range(40)})
    for _ in range(40):
        index = chosen(view(stage, session="hot"))
        stage.pool.bind(stage.ask(), stage.lanes[index], stage.now)
    loads = [lane.inflight for lane in stage.lanes]
    assert max(loads) <= BOUND * 41 / 4 + 1
    assert 1 == len({chosen(view(Stage(4), turn, session="hot")) for turn in range(9)})
