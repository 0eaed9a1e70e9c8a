"""
One ticking clock for all deadlines, so that a request pays an attribute and not a timer.

A timer per clock per request costs several microseconds; looking at every deadline five times a
second costs less than a tenth of one for each. The price: a deadline is late by up to one tick,
and by one more after the process itself has stood still.
"""

import asyncio
import math
import time
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

TICK_S = 0.1
NEVER = math.inf

# Not the event loop's clock: uvloop's advances in whole milliseconds.
now = time.monotonic


class Watched(Protocol):
    """Something with a deadline on the clock ``now`` (s). ``expire`` may set a later one."""

    deadline: float

    def expire(self, now: float) -> None: ...


class Watchdog:
    """Calls ``expire`` on what is past its deadline, and some sweeps on every tick."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        watched: Sequence[Collection[Watched]],
        sweeps: Sequence[Callable[[float], None]],
        late: Callable[[float], None] = lambda _: None,
    ) -> None:
        """``late`` is told at each tick how late (s) the loop came to it."""
        self._loop = loop
        self._watched = watched
        self._sweeps = sweeps
        self._late = late
        self._due = 0.0
        self._spared = False
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Tick from now on."""
        self._due = now() + TICK_S
        self._timer = self._loop.call_later(TICK_S, self._tick)

    def stop(self) -> None:
        """Tick no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        moment = now()
        late_s = max(0.0, moment - self._due)
        self._late(late_s)
        # Timers ring before sockets are read: what came while the process stood still is not late.
        self._spared = late_s > TICK_S and not self._spared
        if not self._spared:
            self._expire(moment)
        for sweep in self._sweeps:
            sweep(moment)
        self._due = now() + TICK_S
        self._timer = self._loop.call_later(TICK_S, self._tick)

    def _expire(self, moment: float) -> None:
        for watched in self._watched:
            for late in [each for each in watched if each.deadline < moment]:
                late.expire(moment)
