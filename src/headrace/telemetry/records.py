"""
One record per request, written once when it ends: the log line, the counters and `explain` read it.
"""

from datetime import UTC, datetime

from msgspec import Struct

from headrace.errors import ApiError
from headrace.types import Class


class Weighed(Struct, frozen=True, gc=False, omit_defaults=True):
    """
    Why a request went where it went, in milliseconds: the predicted cost of the replica that was
    chosen with its terms, and what the next best would have cost more. ``queue`` is the time that
    it waited for room; ``ttft`` and ``cached`` (tokens) are predictions, to be compared with what
    came. ``candidates`` is how many there were.
    """

    policy: str
    candidates: int
    ttft: float
    cached: int = 0
    queue: float = 0.0
    cost: float = 0.0
    gap: float = 0.0
    next: str = ""
    wait: float = 0.0
    kv_wait: float = 0.0
    prefill: float = 0.0
    externality: float = 0.0
    slowdown: float = 0.0
    warm_up: float = 0.0
    sticky: float = 0.0


class Guarded(Struct, frozen=True, gc=False):
    """What a guard found in a request or its answer: how many of each entity, never what."""

    guard: str
    mode: str
    found: dict[str, int]


class Record(Struct, gc=False, omit_defaults=True, tag_field="event", tag="request"):
    """
    How a request went. Fields without a default are in every log line; times are milliseconds.

    ``outcome`` is one of: completed, client_gone, rejected_*, upstream_failed_*, timed_out_*.
    ``estimated`` says that the engine reported no usage and the token counts are our own.
    ``queue_ms`` is until it had a place at a replica, the latest that it was sent to.
    ``itl`` are percentiles of the pauses between chunks, filled in off the hot path.
    ``trace_id`` is the caller's or ours, ``span_id`` our own span, where requests are traced.
    """

    time: datetime
    request_id: str
    endpoint: str
    outcome: str
    status: int
    attempts: int
    stream: bool
    total_ms: float
    tokens_in: int
    tokens_out: int
    tokens_cached: int
    bytes_in: int
    bytes_out: int
    model: str = ""
    served: str = ""
    replica: str = ""
    reason: str = ""
    error: str = ""
    rule: str = ""
    arm: str = ""
    judged: Class | None = None
    tenant: str = ""
    key: str = ""
    estimated: bool = False
    ttft_ms: float | None = None
    decision: Weighed | None = None
    queue_ms: float | None = None
    itl_p50_ms: float | None = None
    itl_p99_ms: float | None = None
    trace_id: str = ""
    span_id: str = ""
    guards: tuple[Guarded, ...] = ()

    @classmethod
    def refused(
        cls, request_id: str, endpoint: str, error: ApiError, bytes_in: int, bytes_out: int
    ) -> "Record":
        """The record of a request that was refused before it was understood."""
        return cls(
            time=datetime.now(UTC),
            request_id=request_id,
            endpoint=endpoint,
            outcome=error.outcome,
            status=error.status,
            attempts=0,
            stream=False,
            total_ms=0.0,
            tokens_in=0,
            tokens_out=0,
            tokens_cached=0,
            bytes_in=bytes_in,
            bytes_out=bytes_out,
            error=error.message,
        )


def percentile(ordered: list[float], share: float) -> float | None:
    """The value below which ``share`` (0 to 1) of the sorted values lie; None for no values."""
    if not ordered:
        return None
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)
