"""clock.py: what a clock says is believed where it cannot do harm."""

import pytest

from headrace.metering.clock import Clock

START = 1_800_000_000.0
HOUR = 3600.0


class Machine:
    """A machine's two clocks."""

    def __init__(self) -> None:
        self.day, self.steady = START, 50.0
        self.clock = Clock(lambda: self.day, lambda: self.steady)

    def passes(self, seconds: float) -> float:
        """Time goes by, looked at each minute; what the clock says then."""
        said = self.clock.now()
        while seconds > 0:
            step = min(60.0, seconds)
            self.day, self.steady, seconds = self.day + step, self.steady + step, seconds - step
            said = self.clock.now()
        return said


def test_a_clock_that_runs() -> None:
    """It is believed, also where it is slewed or set by some seconds."""
    machine = Machine()
    machine.passes(HOUR)
    machine.day += 30

    assert START + HOUR + 30 + 60 == machine.passes(60)


@pytest.mark.parametrize("ahead_s", [HOUR, 400 * 86_400.0])
def test_a_clock_that_is_set_ahead(ahead_s: float) -> None:
    """Nothing is old by it at once; it is when the clock has stayed there for an hour."""
    machine = Machine()
    machine.passes(HOUR)
    machine.day += ahead_s
    at_once, later = machine.passes(60), machine.passes(HOUR - 120)

    assert START + HOUR + 60 == at_once
    assert START + 2 * HOUR - 60 == later
    assert START + 2 * HOUR + 60 + ahead_s == machine.passes(120)


def test_a_clock_that_was_wrong_for_a_while() -> None:
    """It came back before it was believed: as if nothing had been."""
    machine = Machine()
    machine.day += 10 * HOUR
    machine.passes(1800)
    machine.day -= 10 * HOUR
    assert START + 1860 == machine.passes(60)
    machine.day += 10 * HOUR

    assert START + 1860 + 1800 == machine.passes(1800)


def test_a_clock_that_is_set_back() -> None:
    """It is believed at once: less is old."""
    machine = Machine()
    machine.day -= HOUR

    assert START - HOUR + 60 == machine.passes(60)
