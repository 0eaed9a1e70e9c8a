"""
Who may wait: bounds of classes by count and bytes, and deadlines by the rate at which the line
moves. Pure: ``now`` (s) is told. What a refused client is told is gateway/place/usher.py's.

Where a class is full, the newcomer of a tenant that waits for little takes the place of the last
request of the tenant that waits for the most (the "longest queue drop" of fair queueing with shared
buffers, https://doi.org/10.1109/90.731184): a flood fills its own queue, not that of others.
Where the whole line is full, the last request of the lowest class makes way for a higher one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from headrace.routing.drain import Drain
from headrace.routing.lane import Ask
from headrace.routing.line import Line, Waiting

FULL, DEADLINE = "queue_full", "deadline"
# A class that is full has room for who comes back when so much of it has left.
PART = 0.1
# One newcomer takes the places of so many others at most, where bytes are short.
MOST_OUT = 16


class Bound(NamedTuple):
    """A class: its rank, how many requests and bytes of theirs may wait, and for how long (s)."""

    name: str
    rank: int
    requests: int
    body: int
    deadline_s: float | None = None


class Refusal(NamedTuple):
    """
    Why a request may not wait: ``queue_full`` or ``deadline``; the wait that it would have had, and
    when to come back (s, None: not known). ``own`` says that its tenant waits for the most.
    """

    reason: str
    wait_s: float | None
    retry_s: float | None
    own: bool = False


class Waits(Protocol):
    """What is asked of a pool (``queue.Pool``)."""

    line: Line
    drain: Drain

    def withdraw(self, ask: Ask) -> bool: ...


@dataclass(slots=True)
class Verdict:
    """What becomes of a newcomer, and who has to leave the line for it."""

    refusal: Refusal | None
    out: list[Ask]


class Bounds:
    """The bounds of all classes. ``most`` requests may wait for one model, whatever their class."""

    def __init__(self, bounds: Sequence[Bound], most: int, *, early: bool) -> None:
        self.classes = tuple(sorted(bounds, key=lambda each: -each.rank))
        self._most = most
        self._early = early

    def of(self, rank: int) -> Bound:
        """The class of a rank: the highest that is not above it, or the lowest."""
        return next((each for each in self.classes if each.rank <= rank), self.classes[-1])

    def waiting(self, line: Line, bound: Bound) -> Waiting:
        """What waits in a class, over all of its ranks."""
        total = Waiting()
        for rank in line.ranks():
            if self.of(rank) is bound:
                found = line.of(rank)
                total.requests += found.requests
                total.body += found.body
                total.tokens += found.tokens
        return total

    def admit(self, pool: Waits, ask: Ask, patience_s: float, now: float) -> Verdict:
        """
        Whether a request that waits since now may go on waiting, for ``patience_s`` at most. Who
        has to make way for it, or itself, is out of the line when this returns.
        """
        wait_s = pool.drain.wait_s(ask, now)
        if self._early and wait_s is not None and wait_s > patience_s:
            pool.withdraw(ask)
            return Verdict(Refusal(DEADLINE, wait_s, wait_s - patience_s), [])
        out: list[Ask] = []
        bound = self.of(ask.rank)
        while len(out) < MOST_OUT:
            victim = self._victim(pool.line, ask, bound)
            if victim is None:
                return Verdict(None, out)
            if victim is ask:
                break
            pool.withdraw(victim)
            out.append(victim)
        own = self._own(pool.line, ask)
        retry_s = self._retry_s(pool, ask, bound, now)
        pool.withdraw(ask)
        return Verdict(Refusal(FULL, wait_s, retry_s, own), out)

    # --- below -----------------------------------------------------------------------------

    def _victim(self, line: Line, ask: Ask, bound: Bound) -> Ask | None:
        """Who has to leave; None when there is room for all."""
        waits = self.waiting(line, bound)
        if waits.requests > bound.requests or waits.body > bound.body:
            return self._longest(line, ask, bound)
        if len(line) <= self._most:
            return None
        lowest = line.ranks()[-1]
        found = line.longest(lowest)
        if lowest < ask.rank and found is not None:
            return found[2]
        return self._longest(line, ask, bound)

    def _longest(self, line: Line, ask: Ask, bound: Bound) -> Ask:
        """The last of the tenant that waits for the most; the newcomer where that is its own."""
        for rank in reversed(line.ranks()):
            found = line.longest(rank) if self.of(rank) is bound and rank <= ask.rank else None
            if found is not None:
                tenant, _, last = found
                return ask if rank == ask.rank and tenant == ask.tenant else last
        return ask

    def _own(self, line: Line, ask: Ask) -> bool:
        """Whether others of its class wait, and its own tenant for the most."""
        found = line.longest(ask.rank)
        return found is not None and found[0] == ask.tenant and line.tenants(ask.rank) > 1

    def _retry_s(self, pool: Waits, ask: Ask, bound: Bound, now: float) -> float | None:
        """Until a tenth of what waits in the class will have left."""
        rate = pool.drain.rate(ask.rank, now)
        return PART * self.waiting(pool.line, bound).tokens / rate if rate else None
