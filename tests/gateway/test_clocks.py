"""clocks.py: one tick looks at every deadline. The loop of these tests has hands that we move."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import cast

import pytest

from headrace.gateway import clocks
from headrace.gateway.clocks import NEVER, TICK_S, Watchdog, Watched, now

Timer = tuple[float, Callable[[], None]]


class Hands:
    """What a watchdog needs of a loop; its timers are in a list until the test lets them ring."""

    def __init__(self) -> None:
        self.timers: list[Timer] = []

    def call_later(self, delay: float, callback: Callable[[], None]) -> "Cancel":
        self.timers.append(entry := (delay, callback))
        return Cancel(self.timers, entry)

    def tick(self) -> None:
        [(delay, callback)] = self.timers
        self.timers.clear()
        assert TICK_S == delay
        callback()


class Cancel:
    """What ``call_later`` gives back."""

    def __init__(self, timers: list[Timer], entry: Timer) -> None:
        self._timers = timers
        self._entry = entry

    def cancel(self) -> None:
        self._timers.remove(self._entry)


class Task:
    """Something with a deadline; remembers how often it was too late."""

    def __init__(self, deadline: float, later: float = NEVER) -> None:
        self.deadline = deadline
        self._later = later
        self.expired = 0

    def expire(self, now: float) -> None:
        self.expired += 1
        self.deadline = self._later


def watching(
    loop: Hands,
    watched: Sequence[Collection[Watched]] = (),
    sweeps: Sequence[Callable[[float], None]] = (),
) -> Watchdog:
    return Watchdog(cast("asyncio.AbstractEventLoop", loop), watched, sweeps)


def test_only_what_is_late_expires() -> None:
    """In every collection, what is past its deadline is told, once; all else is left alone."""
    loop = Hands()
    late, due_never, soon = Task(now() - 1), Task(NEVER), Task(now() + 60)
    watchdog = watching(loop, ({late, due_never}, [soon]))
    watchdog.start()

    loop.tick()
    loop.tick()

    assert (1, 0, 0) == (late.expired, due_never.expired, soon.expired)


def test_a_deadline_may_move() -> None:
    """What sets itself another deadline that has passed as well is told again at the next tick."""
    loop = Hands()
    task = Task(now() - 2, later=now() - 1)
    watchdog = watching(loop, ([task],))
    watchdog.start()

    loop.tick()
    loop.tick()

    assert 2 == task.expired


def test_expiring_may_change_the_collection() -> None:
    """What ends may leave the collection that is being looked at, and others with it."""
    watched: set[Task] = set()

    class Leaver(Task):
        def expire(self, now: float) -> None:
            super().expire(now)
            watched.clear()

    watched |= {Leaver(now() - 1), Leaver(now() - 1)}
    loop = Hands()
    watching(loop, (watched,)).start()

    loop.tick()

    assert not watched


def test_a_stall_is_nobodys_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tick that is late itself ends nothing: what came meanwhile is read first. One, not two."""
    loop, moment = Hands(), [100.0]
    monkeypatch.setattr(clocks, "now", lambda: moment[0])
    task, swept = Task(101.0), list[float]()
    watching(loop, ([task],), (swept.append,)).start()

    told = []
    for step in (3.0, TICK_S):
        moment[0] += step
        loop.tick()
        told.append(task.expired)
    task.deadline = 0.0
    for _ in range(2):
        moment[0] += 3.0
        loop.tick()
        told.append(task.expired)

    assert [0, 1, 1, 2] == told
    assert 4 == len(swept)


def test_sweeps_see_the_same_moment() -> None:
    """Each sweep is called on each tick with the clock's time."""
    loop = Hands()
    moments: list[float] = []
    before = now()
    watching(loop, sweeps=(moments.append, moments.append)).start()

    loop.tick()

    assert 2 == len(moments)
    assert before <= moments[0] == moments[1] <= now()


def test_a_stopped_watchdog_is_still() -> None:
    """After stop there is no timer; a second stop is nothing, and start starts again."""
    loop = Hands()
    watchdog = watching(loop)
    watchdog.stop()
    watchdog.start()
    watchdog.stop()
    watchdog.stop()
    stopped = len(loop.timers)
    watchdog.start()

    assert (0, 1) == (stopped, len(loop.timers))
