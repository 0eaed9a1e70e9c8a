"""
One record per request, written once when it ends: the log line, the counters and `explain` read it.
"""

from datetime import datetime

from msgspec import Struct


class Record(Struct, gc=False, omit_defaults=True):
    """
    How a request went. Fields without a default are in every log line; times are milliseconds.

    ``outcome`` is one of: completed, client_gone, rejected_*, upstream_failed_*, timed_out_*.
    ``estimated`` says that the engine reported no usage and the token counts are our own.
    ``itl`` are percentiles of the pauses between chunks, filled in off the hot path.
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
    estimated: bool = False
    ttft_ms: float | None = None
    itl_p50_ms: float | None = None
    itl_p99_ms: float | None = None


def percentile(ordered: list[float], share: float) -> float | None:
    """The value below which ``share`` (0 to 1) of the sorted values lie; None for no values."""
    if not ordered:
        return None
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)
