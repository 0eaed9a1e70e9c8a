"""
Copies of requests for another pool, whose answers are thrown away. What is copied is a rule's word;
that the original neither waits for its copy nor fails by it, and that copies stay few, is this
file's.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable

from msgspec import Struct

from headrace.config.rules import Rule, Shadow
from headrace.fleet.registry import Fleet, Replica
from headrace.gateway.body.scan import rename_model
from headrace.gateway.clocks import now
from headrace.gateway.door.headers import forwarded
from headrace.gateway.exchange import Exchange
from headrace.gateway.place.placement import Place, Placement
from headrace.routing.lane import Ask
from headrace.upstream.connection import Broken
from headrace.upstream.pool import Exhausted

# Bodies that wait or are under way, over all rules: beyond it copies are dropped.
MAX_BYTES = 64 * 1024 * 1024

COMPLETED, REFUSED, FAILED, TIMED_OUT, NO_REPLICA, DROPPED = OUTCOMES = (
    "completed", "refused", "failed", "timed_out", "no_replica", "dropped",
)  # fmt: skip


class Copy(Struct, frozen=True):
    """A request that is sent once more. ``until`` (s, monotonic) is when it is given up."""

    rule: str
    model: str  # the pool
    asked: str  # the model that the body names
    start: bytes  # the request line
    headers: bytes
    body: bytes
    tokens: int  # of the prompt
    max_tokens: int
    until: float


class Discard:
    """A sink that reads an answer to its end and keeps nothing."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def data(self, data: bytes) -> None:
        """Nobody wants it."""

    def end(self, data: bytes) -> None:  # noqa: ARG002 - likewise
        self._set(well=True)

    def broken(self, reason: str) -> None:  # noqa: ARG002 - counted, not told
        self._set(well=False)

    def _set(self, *, well: bool) -> None:
        if not self.ended.done():
            self.ended.set_result(well)


class Shadows:
    """The copies of all rules, each rule with bounds of its own."""

    def __init__(
        self, fleet: Fleet, placement: Placement, clock: Callable[[], float] = now
    ) -> None:
        self._fleet = fleet
        self._placement = placement
        self._clock = clock
        self._running: Counter[str] = Counter()
        self._waiting: dict[str, deque[Copy]] = {}
        self._limits: dict[str, Shadow] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._held = 0  # bytes of bodies
        self.counts: dict[tuple[str, ...], int] = {}

    def adopt(self, rules: Iterable[Rule]) -> None:
        """These rules may ask for copies; what is under way goes on."""
        self._limits = {rule.name: rule.shadow for rule in rules if rule.shadow is not None}
        for name in self._limits:
            for outcome in OUTCOMES:
                self.counts.setdefault((name, outcome), 0)

    def offer(self, exchange: Exchange, body: bytes, rule: str, model: str) -> None:
        """Copy this request to a pool now, soon or not at all; returns at once."""
        limits, request = self._limits.get(rule), exchange.request
        if limits is None:  # other rules came into force while this one's class was found out
            return
        waiting = self._waiting.setdefault(rule, deque())
        full = self._running[rule] >= limits.running
        if (full and len(waiting) >= limits.queued) or self._held + len(body) > MAX_BYTES:
            self._count(rule, DROPPED)
            return
        copy = Copy(
            rule=rule,
            model=model,
            asked=exchange.facts.model,
            start=b"%b %b HTTP/1.1\r\n" % (request.method.encode("ascii"), request.target),
            headers=forwarded(request.headers) + exchange.id_line,
            body=body,
            tokens=exchange.facts.prompt_tokens,
            max_tokens=exchange.facts.max_tokens,
            until=self._clock() + limits.timeout_s,
        )
        self._held += len(body)
        if full:
            waiting.append(copy)
        else:
            self._begin(copy)

    async def stop(self) -> None:
        """Give up every copy."""
        for waiting in self._waiting.values():
            waiting.clear()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # --- below -----------------------------------------------------------------------------

    def _begin(self, copy: Copy) -> None:
        self._running[copy.rule] += 1
        task = asyncio.get_running_loop().create_task(self._run(copy))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, copy: Copy) -> None:
        outcome = FAILED
        try:
            outcome = await self._outcome(copy)
        finally:
            self._count(copy.rule, outcome)
            self._held -= len(copy.body)
            self._running[copy.rule] -= 1
            self._next(copy.rule)

    async def _outcome(self, copy: Copy) -> str:
        group = self._fleet.groups[copy.model]
        if not group.replicas:
            return NO_REPLICA
        replica = min(group.replicas, key=lambda each: each.inflight_requests)
        lease = replica.lease(copy.tokens + copy.max_tokens)
        # Routing must know of its load, but it never stands in the queue before an original.
        ask = Ask(copy.tokens, [], 1.0, max_tokens=copy.max_tokens)
        bound = self._placement.bind(ask, copy.model, replica)
        place = self._placement.place(bound, copy.model)[1]
        outcome = FAILED
        try:
            async with asyncio.timeout(max(0.0, copy.until - self._clock())):
                outcome = await _send(copy, replica, place)
        except TimeoutError:
            outcome = TIMED_OUT
        except (Broken, Exhausted):
            outcome = FAILED
        finally:
            if outcome != COMPLETED:
                replica.abandoned += 1  # neither answered nor failed: a copy judges no replica
            place.end(None)
            lease.release()
        return outcome

    def _next(self, rule: str) -> None:
        """The next copy that is still wanted."""
        waiting = self._waiting.get(rule)
        while waiting:
            copy = waiting.popleft()
            if copy.until > self._clock():
                self._begin(copy)
                return
            self._held -= len(copy.body)
            self._count(rule, TIMED_OUT)

    def _count(self, rule: str, outcome: str) -> None:
        self.counts[rule, outcome] = self.counts.get((rule, outcome), 0) + 1


async def _send(copy: Copy, replica: Replica, place: Place) -> str:
    """Send it and read the answer to its end."""
    upstream = replica.serves[copy.model]
    body = copy.body if upstream == copy.asked else rename_model(copy.body, copy.asked, upstream)
    length = b"content-length: %d\r\n\r\n" % len(body)
    head = copy.start + replica.head + copy.headers + length
    reply = await replica.pool.send(head, (body,))
    place.first(now())
    try:
        well = True
        if not reply.complete:
            sink = Discard()
            reply.connection.attach(sink)
            well = await sink.ended
    finally:
        reply.connection.release()
    if not well or reply.status >= 500:
        return FAILED
    return COMPLETED if reply.status < 400 else REFUSED
