"""
Decision records: what a request met on its way and why, ready to be read, stored and sent; and the
ring that keeps the latest of them in memory. How a record is made of a request is the gateway's.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from headrace.telemetry.records import Record
from headrace.types import Class


class Phase(Struct, frozen=True):
    """
    A stretch of a request's time, in milliseconds since it ``began``. ``attempt`` counts from 1; 0
    is before the first. ``what`` is one of: edge, receive, identify, admit, hold, queue, route,
    connect, prefill, decode, answer, failed.
    """

    what: str
    start_ms: float
    end_ms: float
    attempt: int = 0


class Candidate(Struct, frozen=True, omit_defaults=True):
    """
    A replica that could have answered: its predicted cost with every term (ms), what it was
    believed to have cached (tokens), and how many requests it had. ``open`` says that it had room.
    Without a ``cost_ms`` the policy weighs nothing.
    """

    replica: str
    open: bool = True
    cost_ms: float | None = None
    wait_ms: float = 0.0
    kv_wait_ms: float = 0.0
    prefill_ms: float = 0.0
    externality_ms: float = 0.0
    slowdown_ms: float = 0.0
    warm_up_ms: float = 0.0
    sticky_ms: float = 0.0
    cached_tokens: int = 0
    inflight: int = 0


class Tried(Struct, frozen=True, omit_defaults=True):
    """
    One attempt: who was chosen among whom, by what and why the next best was not; what was
    predicted, and how it went. ``outcome`` is: answered, refused (by a ``status`` that another
    replica may do better than), failed, or aborted. ``connection`` is new, reused or unknown.
    """

    replica: str
    outcome: str
    reason: str
    policy: str = ""
    why: str = ""
    runner_up: str = ""
    gap_ms: float | None = None
    prompt_tokens: float = 0.0
    cached_tokens: int | None = None
    wait_ms: float | None = None
    prefill_ms: float | None = None
    started_ms: float = 0.0
    ended_ms: float = 0.0
    queued_ms: float = 0.0
    connection: str = "unknown"
    status: int = 0
    error: str = ""
    span_id: str = ""
    candidates: tuple[Candidate, ...] = ()


class Expected(Struct, frozen=True):
    """What routing expected beside what came; None for what is not known. ms, or tokens."""

    what: str
    predicted: float | None
    actual: float | None


class Told(Struct, frozen=True, omit_defaults=True):
    """What someone at the door decided (limits, queue, guard…), ``at_ms`` since the start."""

    who: str
    outcome: str
    at_ms: float
    detail: str = ""


class Facts(Struct, frozen=True, omit_defaults=True):
    """What was known of the request when it was decided about; never its words."""

    endpoint: str
    model: str
    stream: bool
    prompt_tokens: int
    method: str = "POST"
    max_tokens: int = 0
    bytes_in: int = 0
    messages: int = 0
    media: int = 0
    tools: bool = False
    json_schema: bool = False
    continues: bool = False


class Story(Struct, frozen=True, omit_defaults=True):
    """
    A decision record. ``began`` is when the request reached us, or what stands before us where that
    tells; ``ended`` its end (UTC). ``trace_id`` is the caller's or ours; ``span_id`` our own
    span, where traces are on.
    """

    request_id: str
    began: datetime
    ended: datetime
    outcome: str
    status: int
    total_ms: float
    facts: Facts
    phases: tuple[Phase, ...]
    attempts: tuple[Tried, ...] = ()
    expected: tuple[Expected, ...] = ()
    told: tuple[Told, ...] = ()
    served: str = ""
    replica: str = ""
    error: str = ""
    rule: str = ""
    arm: str = ""
    judged: Class | None = None
    tenant: str = ""
    key: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    estimated: bool = False
    bytes_out: int = 0
    ttft_ms: float | None = None
    itl_p50_ms: float | None = None
    itl_p99_ms: float | None = None
    trace_id: str = ""
    span_id: str = ""
    parent_id: str = ""
    sampled: bool = False


class Summary(Struct, frozen=True, omit_defaults=True):
    """One line of a list of requests."""

    request_id: str
    ended: datetime
    outcome: str
    status: int
    total_ms: float
    attempts: int
    model: str = ""
    tenant: str = ""
    replica: str = ""
    ttft_ms: float | None = None
    queue_ms: float | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    trace_id: str = ""
    error: str = ""


class Kept(Protocol):
    """What is kept of a request: references; it is put into words when somebody asks."""

    @property
    def record(self) -> Record: ...

    @property
    def size(self) -> int:
        """About how many bytes it holds."""

    @property
    def sampled(self) -> bool:
        """Whether it is part of a trace that is recorded."""

    def tell(self) -> Story: ...


class Ring:
    """
    The latest requests, and for longer the ``notable`` ones. Written by one thread; any thread may
    read. Adding is all that a request pays for.

    Strangers' refusals have a tenth of the room, and it is their own: whoever can reach the gateway
    can make as many as they like, and must not wipe out what it knows of its callers' requests.
    """

    def __init__(self, requests: int, max_bytes: int, notable: int) -> None:
        self._requests = requests
        self._max_bytes = max_bytes
        self._latest: deque[Kept] = deque()
        self._notable: deque[Kept] = deque(maxlen=notable)
        self._strangers: deque[Kept] = deque(maxlen=max(requests // 10, 1))
        self.bytes = 0

    @property
    def requests(self) -> int:
        """How many are kept at most, beside the notable ones."""
        return self._requests

    @property
    def latest(self) -> list[Kept]:
        """The latest, oldest first."""
        return [*self._latest]

    def __len__(self) -> int:
        return len(self._latest)

    def clear(self) -> None:
        """Forget all of them."""
        self._latest.clear()
        self._notable.clear()
        self._strangers.clear()
        self.bytes = 0

    def add(self, kept: Kept, *, notable: bool) -> None:
        """Keep one more; the oldest goes when there is no room."""
        latest = self._latest
        self.bytes += kept.size
        latest.append(kept)
        if len(latest) > self._requests or self.bytes > self._max_bytes:
            while latest and (len(latest) > self._requests or self.bytes > self._max_bytes):
                self.bytes -= latest.popleft().size
        if notable:
            self._notable.append(kept)

    def add_stranger(self, kept: Kept) -> None:
        """Keep one that was refused before anybody knew whose it was."""
        self._strangers.append(kept)

    def all(self) -> list[Kept]:
        """Everything that is kept, the latest first."""
        latest = [*self._latest]
        known = set(map(id, latest))
        older = [kept for kept in [*self._notable] if id(kept) not in known]
        found = [*older, *latest]
        if strangers := [*self._strangers]:
            found = sorted([*found, *strangers], key=lambda kept: kept.record.time)
        return found[::-1]

    def find(self, request_id: str) -> Kept | None:
        """The latest request with this id; clients may repeat theirs."""
        return next(self._having(request_id), None)

    def since(self) -> datetime | None:
        """When the oldest request ended of which all later ones are kept."""
        latest = [*self._latest]
        return latest[0].record.time if latest else None

    def _having(self, request_id: str) -> Iterator[Kept]:
        return (kept for kept in self.all() if kept.record.request_id == request_id)


def story(record: Record, began: datetime, facts: Facts, phases: Iterable[Phase]) -> Story:
    """What a record by itself says of a request, with when it began and how its time was spent."""
    return Story(
        request_id=record.request_id,
        began=began,
        ended=record.time,
        outcome=record.outcome,
        status=record.status,
        total_ms=record.total_ms,
        facts=facts,
        phases=tuple(phases),
        served=record.served,
        replica=record.replica,
        error=record.error,
        rule=record.rule,
        arm=record.arm,
        judged=record.judged,
        tenant=record.tenant,
        key=record.key,
        tokens_in=record.tokens_in,
        tokens_out=record.tokens_out,
        tokens_cached=record.tokens_cached,
        estimated=record.estimated,
        bytes_out=record.bytes_out,
        ttft_ms=record.ttft_ms,
        itl_p50_ms=record.itl_p50_ms,
        itl_p99_ms=record.itl_p99_ms,
        trace_id=record.trace_id,
        span_id=record.span_id,
    )


def summary(record: Record) -> Summary:
    """A request in one line."""
    return Summary(
        request_id=record.request_id,
        ended=record.time,
        outcome=record.outcome,
        status=record.status,
        total_ms=record.total_ms,
        attempts=record.attempts,
        model=record.served or record.model,
        tenant=record.tenant,
        replica=record.replica,
        ttft_ms=record.ttft_ms,
        queue_ms=record.queue_ms,
        tokens_in=record.tokens_in,
        tokens_out=record.tokens_out,
        trace_id=record.trace_id,
        error=record.error,
    )
