"""drain.py: how fast the line moves, and what somebody who comes now would wait."""

import pytest

from headrace.routing.drain import LEAST_S, Drain
from headrace.routing.lane import Ask
from headrace.routing.line import Line


class Stage:
    """A line whose requests have 100 tokens each, and what is measured of it."""

    def __init__(self) -> None:
        self.line = Line()
        self.drain = Drain(self.line)
        self.now = 0.0
        self._turn = 0

    def ask(self, tenant: str = "a", rank: int = 0, weight: float = 1.0) -> Ask:
        return Ask(100.0, [], 1.0, tenant=tenant, rank=rank, weight=weight, charge=100.0)

    def wait(self, tenant: str = "a", rank: int = 0, count: int = 1) -> None:
        for _ in range(count):
            ask = self.ask(tenant, rank)
            self._turn += 1
            self.drain.come(ask, self.now)
            ask.place = float(self._turn), self._turn
            self.line.add(ask)

    def go(self, count: int, each_s: float) -> None:
        """So many leave the line, one after each time."""
        for _ in range(count):
            self.now += each_s
            ask = self.line.first(self.now)
            assert ask is not None
            self.line.granted(ask)
            self.drain.left(ask, self.now)
            self.line.charge(ask, 100.0)
            self.line.remove(ask)

    def wait_s(self, **who: object) -> float | None:
        return self.drain.wait_s(self.ask(**who), self.now)  # type: ignore[arg-type]


def test_nobody_waits() -> None:
    """Who comes to an empty line waits for nobody."""
    stage = Stage()

    assert 0.0 == stage.wait_s()
    assert stage.drain.rate(0, 0.0) is None


def test_nothing_is_claimed_too_early() -> None:
    """Before somebody has waited for a while nothing is known of the rate."""
    stage = Stage()
    stage.wait(count=20)
    stage.go(3, LEAST_S / 4)

    assert stage.wait_s() is None


@pytest.mark.parametrize("rate", [1.0, 5.0, 40.0])
def test_the_rate_is_what_left(rate: float) -> None:
    """Requests that leave steadily tell the rate; who comes waits for those before it."""
    stage = Stage()
    stage.wait(count=500)
    stage.go(200, 1 / rate)

    assert pytest.approx(100 * rate, rel=0.1) == stage.drain.rate(0, stage.now)
    assert pytest.approx(300 / rate, rel=0.1) == stage.wait_s()


def test_idle_times_do_not_count() -> None:
    """While nobody waits nothing leaves the line, and that says nothing of its rate."""
    stage = Stage()
    stage.wait(count=100)
    stage.go(100, 0.1)
    stage.now += 5.0
    stage.wait(count=60)
    stage.go(10, 0.1)

    assert pytest.approx(5.0, rel=0.15) == stage.wait_s()


def test_other_tenants_count_by_their_share() -> None:
    """A tenant with nothing waiting has one request of each other one before it, not all."""
    stage = Stage()
    stage.wait("many", count=600)
    stage.go(100, 0.1)

    assert pytest.approx(0.1, rel=0.1) == stage.wait_s(tenant="one")
    assert pytest.approx(0.5, rel=0.1) == stage.wait_s(tenant="one", weight=0.2)
    assert pytest.approx(50.0, rel=0.1) == stage.wait_s(tenant="many")


def test_lower_classes_have_what_is_left() -> None:
    """A lower class waits for the higher one's requests, and then at the rate that is left."""
    stage = Stage()
    stage.wait("a", count=30)
    stage.wait("b", rank=-50, count=300)
    stage.go(20, 0.2)
    assert pytest.approx(2.0, rel=0.1) == stage.wait_s()
    for _ in range(200):  # from now on one of the higher class comes for each that can go
        stage.wait("a")
        stage.go(1, 0.1)

    found = stage.wait_s(tenant="b", rank=-50)
    assert found is not None
    assert found > 300 / 10 * 3
    assert pytest.approx(1.0, rel=0.1) == stage.wait_s()
