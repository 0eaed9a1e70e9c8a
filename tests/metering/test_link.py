"""link.py: the connection to a database that comes and goes."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest

from headrace.errors import StartError
from headrace.metering.link import RETRY_S, Link
from headrace.metering.stores import Statement, Store, StoreLost


class Base:
    """A store that does nothing."""

    closed = 0

    def write(self, statements: Iterable[Statement]) -> None: ...

    def read(self, _sql: str, _values: Any = ()) -> list[tuple[Any, ...]]:
        return []

    def close(self) -> None:
        self.closed += 1


class Desk:
    """A link with a clock of ours to a database that is there when ``error`` is none."""

    def __init__(self) -> None:
        self.now = 100.0
        self.error: Exception | None = StoreLost("nobody answers")
        self.asked: list[float] = []
        self.stores: list[Base] = []
        self.link = Link(self.connect, lambda: self.now)

    def connect(self) -> Store:
        self.asked.append(self.now)
        if self.error is not None:
            raise self.error
        self.stores.append(Base())
        return self.stores[-1]

    def look(self, seconds: float) -> None:
        """A look every 1/8 s for so long."""
        for _ in range(round(8 * seconds)):
            with pytest.raises(StoreLost):
                self.link.reach()
            self.now += 0.125


def test_pauses_grow_to_a_bound() -> None:
    """A database that is away is not asked at every turn; the pauses double, up to the longest."""
    desk = Desk()
    desk.look(60)

    pauses = [later - sooner for sooner, later in pairwise(desk.asked)]
    assert [0.25, 0.5, 1, 2, 4, 8, 10, 10, 10, 10] == pauses


def test_a_success_makes_pauses_short_again() -> None:
    """After it was there the first pause is the short one; one connection serves until it fails."""
    desk = Desk()
    desk.look(30)
    desk.error, desk.now = None, desk.now + RETRY_S[1]
    assert desk.link.reach() is desk.link.reach() is desk.stores[0]
    desk.error, desk.asked = StoreLost("gone again"), []

    desk.link.drop()
    assert (False, 1) == (desk.link.is_open, desk.stores[0].closed)
    begun = desk.now
    desk.look(1)

    assert [0.25, 0.5] == [at - begun for at in desk.asked]


def test_the_last_attempt_does_not_wait() -> None:
    """At the end there is no later: the database is asked at once."""
    desk = Desk()
    desk.look(1)
    desk.error = None
    with pytest.raises(StoreLost):
        desk.link.reach()

    desk.link.hurry()

    assert desk.stores == [desk.link.reach()]
    desk.link.close()
    desk.link.close()
    assert 1 == desk.stores[0].closed


def test_what_no_attempt_helps_against() -> None:
    """A newer schema stops a start; on the way it is like an outage, looked at seldom."""
    desk = Desk()
    desk.error = StartError("It is of a newer Headrace.")
    with pytest.raises(StartError):
        desk.link.open()
    desk.asked.clear()

    with pytest.raises(StoreLost, match="newer Headrace"):
        desk.link.reach()
    desk.now += RETRY_S[1] - 0.125
    desk.look(0.25)

    assert 2 == len(desk.asked)


def test_a_connection_of_somebody_else() -> None:
    """What is open already is used; what is not is asked for at once."""
    desk, given = Desk(), Base()
    desk.link.adopt(given)
    assert given is desk.link.reach()
    assert [] == desk.asked

    desk.link.adopt(None)
    desk.look(0.125)

    assert [100.0] == desk.asked
