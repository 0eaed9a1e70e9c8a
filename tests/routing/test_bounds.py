"""bounds.py: who may wait, who has to make way, and when to come back."""

from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.routing.bounds import DEADLINE, FULL, Bound, Bounds
from headrace.routing.drain import Drain
from headrace.routing.lane import Ask
from headrace.routing.line import Line

CLASSES = (Bound("usual", 0, 4, 1000), Bound("low", -50, 4, 1000, 60.0))


class Stage:
    """A line with bounds; requests of 100 tokens and 100 bytes."""

    def __init__(self, most: int = 100, *, early: bool = True) -> None:
        self.line = Line()
        self.drain = Drain(self.line)
        self.bounds = Bounds(CLASSES, most, early=early)
        self.now = 0.0
        self._turns = count(1)

    def withdraw(self, ask: Ask) -> bool:
        if ask.place is None:
            return False
        self.line.remove(ask)
        ask.place = None
        return True

    def come(
        self, tenant: str = "a", rank: int = 0, *, patience_s: float = 1e6, **more: Any
    ) -> Any:
        """A request, and what becomes of it."""
        more = {"charge": 100.0, "body": 100} | more
        ask = Ask(100.0, [], 1.0, tenant=tenant, rank=rank, arrived_at=self.now, **more)
        self.drain.come(ask, self.now)
        ask.place = 0.0, next(self._turns)
        self.line.add(ask)
        return ask, self.bounds.admit(self, ask, patience_s, self.now)

    def go(self, count: int, each_s: float) -> None:
        for _ in range(count):
            self.now += each_s
            ask = self.line.first(self.now)
            assert ask is not None
            self.drain.left(ask, self.now)
            self.line.charge(ask, ask.charge)
            self.withdraw(ask)


def test_the_class_of_a_rank() -> None:
    """A rank is of the class with the highest rank that is not above it, else of the lowest."""
    bounds = Stage().bounds

    assert ["usual", "usual", "low", "low", "low"] == [
        bounds.of(rank).name for rank in (100, 0, -1, -50, -100)
    ]


def test_a_full_class_refuses() -> None:
    """One tenant's newcomer is turned away where its class is full; it is out of the line."""
    stage = Stage()
    for _ in range(4):
        assert stage.come()[1].refusal is None
    ask, verdict = stage.come()

    assert (FULL, False, []) == (verdict.refusal.reason, verdict.refusal.own, verdict.out)
    assert (4, None) == (len(stage.line), ask.place)
    assert stage.come(rank=-50)[1].refusal is None


def test_bytes_count_too() -> None:
    """A class is full when the bodies that wait are too large together."""
    stage = Stage()
    stage.come(body=900)

    assert FULL == stage.come(body=200)[1].refusal.reason


def test_a_flood_fills_its_own_queue() -> None:
    """Another tenant's newcomer takes the place of the flood's last; the flood is told it is it."""
    stage = Stage()
    flood = [stage.come("many")[0] for _ in range(4)]
    _, verdict = stage.come("one")
    assert (None, [flood[-1]]) == (verdict.refusal, verdict.out)
    _, again = stage.come("many")

    assert (FULL, True) == (again.refusal.reason, again.refusal.own)
    assert 4 == len(stage.line)


def test_a_full_line_drops_the_lowest() -> None:
    """Where the whole line is full the last of the lowest class makes way for a higher one."""
    stage = Stage(most=3)
    low = [stage.come(rank=-50)[0] for _ in range(2)]
    stage.come()
    _, verdict = stage.come()
    assert (None, [low[-1]]) == (verdict.refusal, verdict.out)

    assert FULL == stage.come(rank=-50)[1].refusal.reason


@pytest.mark.parametrize("early", [True, False])
def test_who_cannot_make_it_is_told_at_once(early: bool) -> None:
    """By the rate at which the line moves; the time to come back is when it could be made."""
    stage = Stage(early=early)
    stage.bounds = Bounds((Bound("usual", 0, 1000, 10**9),), 1000, early=early)
    for _ in range(100):
        stage.come()
    stage.go(40, 0.2)  # 5 a second, 60 are left: 12 s
    _, verdict = stage.come(patience_s=10.0)
    if not early:
        assert verdict.refusal is None
        return

    assert DEADLINE == verdict.refusal.reason
    assert pytest.approx(12.0, rel=0.1) == verdict.refusal.wait_s
    assert pytest.approx(2.0, abs=1.0) == verdict.refusal.retry_s
    assert stage.come(patience_s=14.0)[1].refusal is None


def test_when_to_come_back() -> None:
    """A full class has room again when a tenth of what waits has left; unknown without a rate."""
    stage = Stage()
    stage.bounds = Bounds((Bound("usual", 0, 100, 10**9),), 1000, early=True)
    for _ in range(100):
        stage.come()
    assert stage.come()[1].refusal.retry_s is None
    stage.go(50, 0.2)
    for _ in range(50):
        stage.come()

    assert pytest.approx(2.0, rel=0.1) == stage.come()[1].refusal.retry_s


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from([10, 0, -50]), st.integers(1, 600)),
        max_size=40,
    )
)
def test_bounds_hold(requests: list[tuple[str, int, int]]) -> None:
    """Whoever comes, no class and no line has more than it may; who is out does not wait."""
    stage = Stage(most=6)
    for tenant, rank, body in requests:
        _, verdict = stage.come(tenant, rank, body=body)
        assert len(stage.line) <= 6
        for bound in CLASSES:
            waits = stage.bounds.waiting(stage.line, bound)
            assert waits.requests <= bound.requests
            assert waits.body <= bound.body
        assert all(each.place is None for each in verdict.out)
