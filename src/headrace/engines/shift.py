"""
Which replicas of one engine start and which rest: rules over what is seen now, without a clock.

Who looks and who acts is rota.py's. There is no forecast here and no price: that is autoscaling's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

ADD_AFTER_S = 2.0  # replicas must be full for so long before another one starts


class Place(StrEnum):
    """Where a replica is, as far as starting and stopping go."""

    OFF = "off"
    UP = "up"  # its process runs, or was told to
    ASLEEP = "asleep"
    LEAVING = "leaving"  # stops, or falls asleep
    FAILED = "failed"  # in a crash loop


@dataclass(frozen=True, slots=True)
class Rules:
    """``least`` replicas run always; one without a request for ``idle_s`` may go."""

    least: int
    idle_s: float
    full_at: int


@dataclass(frozen=True, slots=True)
class Seat:
    """
    A replica now.

    ``arriving``: up, but users do not reach it yet. ``routable``: they do. ``barred``: an operator
    has drained it, and it is left alone. ``again``: it failed, long enough ago to be tried anew.
    """

    name: str
    place: Place
    arriving: bool = False
    routable: bool = False
    barred: bool = False
    again: bool = False
    inflight: int = 0
    idle_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Orders:
    """Names of replicas to start (or wake), and of those to stop (or put to sleep)."""

    start: tuple[str, ...] = ()
    rest: tuple[str, ...] = ()


def full(rules: Rules, seats: Sequence[Seat], queued: int) -> bool:
    """
    Whether the replicas that get requests have as many as they should at most, with the ``queued``
    that wait for room at one of them.
    """
    serving = [seat for seat in seats if seat.routable]
    calls = queued + sum(seat.inflight for seat in serving)
    return bool(serving) and calls >= rules.full_at * len(serving)


def decide(rules: Rules, seats: Sequence[Seat], waiting: int, full_s: float) -> Orders:
    """
    What to do now, with ``waiting`` requests that no replica can take, and all replicas full since
    ``full_s``.

    One replica at a time is started for requests: the first that is ready takes them all, and
    whether it needs company is seen then.
    """
    free = [seat for seat in seats if not seat.barred]
    up = [seat for seat in free if seat.place is Place.UP]
    missing = rules.least - len(up)
    if missing > 0:
        chosen = [seat.name for seat in _startable(free)][:missing]
        if chosen:
            return Orders(start=tuple(chosen))
    if any(seat.arriving for seat in up):
        return Orders()
    if waiting and not any(seat.routable for seat in up):
        failed = [seat for seat in free if seat.place is Place.FAILED and seat.again]
        return Orders(start=tuple(seat.name for seat in [*_startable(free), *failed][:1]))
    if full_s >= ADD_AFTER_S:
        return Orders(start=tuple(seat.name for seat in _startable(free)[:1]))
    idle = [s for s in up if s.routable and not s.inflight and s.idle_s >= rules.idle_s]
    spare = 0 if waiting else max(0, len(up) - rules.least)
    return Orders(rest=tuple(seat.name for seat in idle[::-1][:spare]))


def _startable(seats: Sequence[Seat]) -> list[Seat]:
    """Those that can be had at once, sleepers first: they are there sooner."""
    asleep = [seat for seat in seats if seat.place is Place.ASLEEP]
    return asleep + [seat for seat in seats if seat.place is Place.OFF]
