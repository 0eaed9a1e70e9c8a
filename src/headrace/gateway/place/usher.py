"""
Who waits in which class, and who may not: the queue's classes and bounds before requests, and what
those are told that are turned away. The bounds themselves are routing/bounds.py's.
"""

from collections.abc import Callable, Mapping
from math import ceil

from headrace.config.queue import Queue
from headrace.errors import ApiError, BadRequest, Overloaded, RateLimited
from headrace.gateway import clocks
from headrace.gateway.exchange import Exchange
from headrace.gateway.place.placement import Seats
from headrace.routing.bounds import DEADLINE, FULL, Bound, Bounds, Refusal, Waits
from headrace.routing.lane import Ask
from headrace.telemetry.metrics import Metrics
from headrace.telemetry.queue import ClassSeen, QueueMetrics

# What a client should wait at least and at most, and where nothing is known of the rate (s).
LEAST_S, MOST_S, UNKNOWN_S = 1, 3600, 2
# Events of one class are this far apart (s), however many are turned away.
QUIET_S = 10.0
EVICTED = "evicted"
REASONS = (FULL, DEADLINE, EVICTED, "pressure")

Event = Callable[..., None]


class Usher:
    """
    The classes of one gateway. ``shed`` and ``waited`` are who counts (telemetry/queue.py), with
    the name of the class.
    """

    def __init__(self, config: Queue, queue_s: float, most: int, event: Event) -> None:
        """``queue_s`` is the patience of classes without a deadline, ``most`` what may wait."""
        classes = config.classes.items()
        self.bounds = Bounds(
            [
                Bound(name, each.rank, each.max_requests, each.max_bytes, each.deadline_s)
                for name, each in classes
            ],
            most,
            early=config.early,
        )
        self.shed: Callable[[str, str], None] = _nobody
        self.waited: Callable[[str, float], None] = _nobody
        self._header_name = config.header
        self._header = config.header.encode("ascii")
        self._ranks = {name: each.rank for name, each in classes}
        self._asked = {name.encode("ascii"): each.rank for name, each in classes}
        self._queue_s = queue_s
        self._event = event
        self._shed: dict[tuple[str, str], tuple[float, int]] = {}  # since the last event

    def count(self, metrics: Metrics, models: Mapping[str, Seats]) -> None:
        """Let what happens be counted, and what waits be seen, in these metrics."""
        names = [bound.name for bound in self.bounds.classes]
        counts = QueueMetrics(metrics.registry, names, REASONS, lambda: self.seen(models))
        self.shed, self.waited = counts.shed, counts.waited

    def rank(self, exchange: Exchange) -> int:
        """
        The rank of a request: its rule's, or its tenant's; lower where its client says so.

        Raises:
            BadRequest: the client names a class that there is not.

        """
        caller, plan = exchange.caller, exchange.plan
        if plan is not None and plan.priority is not None:
            rank = plan.priority
        else:
            rank = self._ranks.get(caller.priority, caller.rank)
        asked = exchange.request.headers.get(self._header)
        return rank if asked is None else min(rank, self._lower(asked))

    def name(self, rank: int) -> str:
        """The class of a rank."""
        return self.bounds.of(rank).name

    def patience_s(self, exchange: Exchange, rank: int) -> float:
        """How long a request may wait for room."""
        plan = exchange.plan
        if plan is not None and plan.queue_s is not None:
            return plan.queue_s
        return self.bounds.of(rank).deadline_s or self._queue_s

    def seat(self, exchange: Exchange, ask: Ask, pool: Waits) -> float:
        """
        A request begins to wait; until when it may (monotonic, s). Those that have to make way for
        it hear so by their futures.

        Raises:
            Overloaded: it may not wait, since too much does, or it could not make its deadline.
            RateLimited: the same, and it is its own tenant that waits for the most.

        """
        model, now = exchange.served, clocks.now()
        patience_s = self.patience_s(exchange, ask.rank)
        verdict = self.bounds.admit(pool, ask, patience_s, now)
        for victim in verdict.out:
            self._turned(self.name(victim.rank), EVICTED, model, now)
            _tell(victim, _evicted(model, pool.drain.wait_s(victim, now)))
        refusal = verdict.refusal
        if refusal is not None:
            name = self.name(ask.rank)
            self._turned(name, refusal.reason, model, now)
            wait = "" if refusal.wait_s is None else f", {refusal.wait_s:.1f} s expected"
            exchange.note("queue", f"rejected_{refusal.reason}", f"class {name}{wait}")
            raise _refused(name, model, refusal, patience_s)
        return now + patience_s

    def leave(self, exchange: Exchange, ask: Ask) -> None:
        """It has its place at a replica."""
        name, waited_s = self.name(ask.rank), clocks.now() - ask.arrived_at
        self.waited(name, waited_s)
        exchange.note("queue", "waited", f"class {name}, {waited_s:.3f} s")

    def seen(self, models: Mapping[str, Seats]) -> dict[tuple[str, str], ClassSeen]:
        """What waits now, by model and class."""
        found = {}
        for model, seats in [*models.items()]:
            for bound in self.bounds.classes:
                waits = self.bounds.waiting(seats.pool.line, bound)
                found[model, bound.name] = ClassSeen(waits.requests, waits.body, waits.tokens)
        return found

    # --- below -----------------------------------------------------------------------------

    def _lower(self, asked: bytes) -> int:
        rank = self._asked.get(asked.strip().lower())
        if rank is None:
            known = ", ".join(self._ranks)
            raise BadRequest(
                f"The header {self._header_name} names no class that there is; there are {known}.",
                param=self._header_name,
            )
        return rank

    def _turned(self, name: str, reason: str, model: str, now: float) -> None:
        self.shed(name, reason)
        said_at, count = self._shed.get((name, reason), (-QUIET_S, 0))
        if now < said_at + QUIET_S:
            self._shed[name, reason] = said_at, count + 1
            return
        self._event("queue_shed", queue_class=name, reason=reason, model=model, count=count + 1)
        self._shed[name, reason] = now, 0


def _nobody(_name: str, _what: object) -> None:
    """Where nobody counts."""


def _tell(victim: Ask, error: ApiError) -> None:
    owner = victim.owner
    fail = getattr(owner, "set_exception", None)
    if fail is not None and not owner.done():  # type: ignore[attr-defined]
        fail(error)


def _evicted(model: str, wait_s: float | None) -> Overloaded:
    return Overloaded(
        f"The queue of `{model}` is full, and another request has taken this one's place.",
        code="queue_full",
        outcome="evicted_queue_full",
        retry_after_s=_whole(wait_s),
    )


def _refused(name: str, model: str, refusal: Refusal, patience_s: float) -> ApiError:
    retry_after_s = _whole(refusal.retry_s)
    if refusal.reason == DEADLINE:
        return Overloaded(
            f"A {name} request for `{model}` would wait {refusal.wait_s or 0:.0f} s for its turn"
            f" now, and may wait {patience_s:g} s.",
            code="queue_too_long",
            outcome="rejected_deadline",
            retry_after_s=retry_after_s,
        )
    kind = RateLimited if refusal.own else Overloaded
    what = "requests of yours wait" if refusal.own else f"{name} requests wait"
    return kind(
        f"Too many {what} for `{model}` already.",
        code="queue_full",
        outcome="rejected_queue_full",
        retry_after_s=retry_after_s,
    )


def _whole(seconds: float | None) -> int:
    """A time to come back, as an honest integer: not before."""
    return UNKNOWN_S if seconds is None else min(max(ceil(seconds), LEAST_S), MOST_S)
