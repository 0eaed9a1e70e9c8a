"""
How fast a line moves: the tokens per second that leave it, as they were seen, and how long who
comes now would wait by that. Pure: ``now`` (s) is told.
"""

from math import exp

from headrace.routing.lane import Ask
from headrace.routing.line import Line

# What happened so long ago (s) counts a third of what happens now.
MEMORY_S = 10.0
# Somebody must have waited for so long before a rate means anything.
LEAST_S = 2.0


class _Tap:
    """What left the line while somebody of one class waited: all of it, and that of no higher."""

    __slots__ = ("all", "at", "low", "over_s")

    def __init__(self, now: float) -> None:
        self.at = now
        self.all = self.low = self.over_s = 0.0

    def age(self, now: float, *, busy: bool) -> None:
        """Time has passed, in which somebody waited (``busy``) or not."""
        elapsed = max(0.0, now - self.at)
        self.at = now
        left = exp(-elapsed / MEMORY_S)
        self.all *= left
        self.low *= left
        self.over_s = self.over_s * left + (MEMORY_S * (1 - left) if busy else 0.0)


class Drain:
    """Hears who begins to wait and who leaves, class by class."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._taps: dict[int, _Tap] = {}

    def come(self, ask: Ask, now: float) -> None:
        """A request begins to wait; told before it is in the line."""
        tap = self._taps.get(ask.rank)
        if tap is None:
            self._taps[ask.rank] = _Tap(now)
        elif not self._line.of(ask.rank).requests:
            tap.age(now, busy=False)

    def left(self, ask: Ask, now: float) -> None:
        """A request was given a place; told while it is in the line still."""
        for rank, tap in self._taps.items():
            if not self._line.of(rank).requests:
                continue
            tap.age(now, busy=True)
            tap.all += ask.charge
            if ask.rank <= rank:
                tap.low += ask.charge

    def rate(self, rank: int, now: float) -> float | None:
        """Tokens per second that leave while this class waits; None: not known yet."""
        tap = self._tap(rank, now)
        return tap.all / tap.over_s if tap is not None else None

    def wait_s(self, ask: Ask, now: float) -> float | None:
        """
        Until a request would get its place: 0 while nobody is before it, None where not known.

        What higher classes wait for goes at the rate of all; what is in its own at the rate that
        they have left to it and to lower ones.
        """
        higher, same = self._line.ahead(ask)
        return self._time_s(higher, same, ask.rank, now)

    def longest_s(self, rank: int, now: float) -> float | None:
        """The same for a request behind all of its class, as of a tenant that waits for most."""
        line = self._line
        higher = sum(line.of(each).tokens for each in line.ranks() if each > rank)
        return self._time_s(higher, line.of(rank).tokens, rank, now)

    def _time_s(self, higher: float, same: float, rank: int, now: float) -> float | None:
        if not higher and not same:
            return 0.0
        tap = self._tap(rank, now)
        if tap is None or not tap.all:
            return None
        return (higher / tap.all + same / max(tap.low, tap.all / 20)) * tap.over_s

    def _tap(self, rank: int, now: float) -> _Tap | None:
        """What is known of a class; of one in which nobody has waited, of the highest below it."""
        tap = self._taps.get(rank)
        if tap is None or not self._line.of(rank).requests:
            waiting = [each for each in self._line.ranks() if each in self._taps]
            if not waiting:
                return None
            tap = self._taps[min(waiting, key=lambda each: abs(each - rank))]
        tap.age(now, busy=True)
        return tap if tap.over_s >= LEAST_S else None
