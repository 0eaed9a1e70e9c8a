"""history.py: gauges as they are, counters per second, two resolutions, bounded memory."""

import math

import pytest

from headrace.diagnose import history as rings
from headrace.diagnose.history import COARSE, FINE, History
from headrace.diagnose.series import Key

WAITING: Key = ("waiting", ("m",))
ATTEMPTS: Key = ("attempts", ("m",))
MADE: Key = ("e_made", ("r",))


def filled(steps: int, step_s: float = 5.0) -> History:
    """A gauge that is the step's number, and a counter that grows by ten in each."""
    history = History(step_s)
    for number in range(steps):
        history.add(1000.0 + number * step_s, {WAITING: number, ATTEMPTS: number * 10.0})
    return history


def test_kinds() -> None:
    """A gauge is kept as it is, a counter as its growth per second, unknown before the second."""
    grid = filled(3).snapshot().fine

    assert [0, 1, 2] == list(grid.series[WAITING])
    assert [2, 2] == list(grid.series[ATTEMPTS][1:])
    assert math.isnan(grid.series[ATTEMPTS][0])


def test_a_counter_that_began_anew() -> None:
    """After a restart what it shows is what it has grown by."""
    history = History()
    for at_s, value in ((0.0, 50.0), (5.0, 60.0), (10.0, 20.0)):
        history.add(at_s, {ATTEMPTS: value})

    assert [2, 4] == list(history.snapshot().fine.series[ATTEMPTS][1:])


def test_counters_that_come_later() -> None:
    """Ours begin at 0 when they are first seen, those of engines anywhere."""
    history = History()
    history.add(0.0, {})
    history.add(5.0, {ATTEMPTS: 10.0, MADE: 1e6})
    grid = history.snapshot().fine

    assert 2 == grid.series[ATTEMPTS][-1]
    assert math.isnan(grid.series[MADE][-1])


def test_what_is_missing_is_unknown() -> None:
    """A series that is not read has a gap, and one that is born late no past."""
    history = History()
    for at_s, reading in ((0.0, {WAITING: 1.0}), (5.0, {}), (10.0, {WAITING: 3.0, MADE: 1.0})):
        history.add(at_s, reading)
    grid = history.snapshot().fine

    assert [True, False, True] == [not math.isnan(v) for v in grid.series[WAITING]]
    assert 3 == len(grid.series[MADE])


def test_large_steps_are_means() -> None:
    """Twelve small steps make one large one."""
    coarse = filled(36).snapshot().coarse

    assert [5.5, 17.5, 29.5] == list(coarse.series[WAITING])
    assert [1055.0, 1115.0, 1175.0] == list(coarse.times)


def test_old_steps_fall_out() -> None:
    """No ring grows beyond its length, and all series of a ring are equally long."""
    history = History(5.0, fine=24, coarse=3)
    for number in range(100):
        history.add(number * 5.0, {WAITING: float(number)})
    snapshot = history.snapshot()

    assert [*range(76, 100)] == list(snapshot.fine.series[WAITING])
    assert (24, 3) == (len(snapshot.fine.times), len(snapshot.coarse.times))


def test_a_day_is_kept() -> None:
    """The usual rings hold 15 minutes in small steps, and 24 hours in large ones."""
    assert 15 * 60 == FINE * rings.STEP_S
    assert 24 * 3600 == COARSE * rings.PER_COARSE * rings.STEP_S


def test_the_past_can_be_asked() -> None:
    """A snapshot of an earlier moment knows nothing of what came later."""
    snapshot = filled(36).snapshot(1100.0)

    assert (1100.0, 1100.0) == (snapshot.at_s, snapshot.fine.times[-1])
    assert 1055.0 == snapshot.coarse.times[-1]


def test_series_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the most series new ones are not kept, and counted."""
    monkeypatch.setattr(rings, "MAX_SERIES", 2)
    history = History()
    history.add(0.0, {("waiting", (name,)): 1.0 for name in "abcd"})

    assert (2, 2) == (len(history), history.refused)


def fleet(*names: str) -> dict[Key, float]:
    """Two series of each replica, and one of the gateway."""
    found: dict[Key, float] = {("slow", ()): 0.0}
    for name in names:
        found |= {("r_inflight", (name,)): 1.0, ("r_ready", (name,)): 1.0}
    return found


def test_a_replica_is_kept_whole_or_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway's own series come first; a replica without room for all of its has none."""
    monkeypatch.setattr(rings, "MAX_SERIES", 6)
    history = History()
    history.add(0.0, fleet("a", "b", "c"))

    assert {*fleet("a", "b")} == {*history.snapshot().fine.series}
    assert (("c",), 2) == (history.snapshot().unseen, history.refused)


def test_those_that_have_ended_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica that is gone gives way to one that comes; that one's past is unknown, not its."""
    monkeypatch.setattr(rings, "MAX_SERIES", 5)
    history = History()
    for at_s, names in ((0.0, "ab"), (5.0, "b"), (10.0, "bc")):
        history.add(at_s, fleet(*names))
    snapshot = history.snapshot()

    assert {*fleet("b", "c")} == {*snapshot.fine.series}
    assert (1.0, [True, True]) == (
        snapshot.fine.series["r_ready", ("c",)][-1],
        [math.isnan(value) for value in snapshot.fine.series["r_ready", ("c",)][:-1]],
    )
    assert () == snapshot.unseen


def test_hours_are_packed() -> None:
    """What is packed is what was, to four digits, with its gaps; the oldest falls out whole."""
    history = History(5.0, fine=12, coarse=120)
    for number in range(12 * 260):
        reading = {WAITING: number / 3, MADE: 7.0}
        history.add(5.0 * number, reading if number % 1200 >= 12 else {MADE: 7.0})
    coarse = history.snapshot().coarse
    minutes = [round(at_s / 60) for at_s in coarse.times]
    means = [sum((m * 12 - n) / 3 for n in range(1, 13)) / 12 for m in minutes]
    found = coarse.series[WAITING]

    assert [*range(141, 261)] == minutes
    assert [201] == [m for m, value in zip(minutes, found, strict=True) if math.isnan(value)]
    assert all(
        pytest.approx(mean, rel=1e-4) == value
        for mean, value in zip(means, found, strict=True)
        if not math.isnan(value)
    )


def test_only_what_is_asked_for() -> None:
    """Large steps before the beginning are left out; since when anything is known is told."""
    history = filled(12 * 130)
    snapshot = history.snapshot(begin_s=1000.0 + 6000.0)

    assert 7055.0 == snapshot.coarse.times[0]
    assert 1055.0 == snapshot.known_s
    assert 1055.0 == history.snapshot().coarse.times[0]


def test_series_of_what_has_left_go() -> None:
    """When no ring has a value of a series any more, it makes room."""
    history = History(5.0, fine=12, coarse=2)
    history.add(0.0, {("waiting", ("old",)): 1.0})
    for number in range(1, 80):
        history.add(number * 5.0, {WAITING: 1.0})

    assert [WAITING] == list(history.snapshot().fine.series)


def test_an_empty_history() -> None:
    """It has a snapshot, too."""
    snapshot = History().snapshot()

    assert ([], {}) == (list(snapshot.fine.times), dict(snapshot.fine.series))
