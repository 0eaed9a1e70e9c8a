"""
One record per request, written once when it ends: the log line, the counters and `explain` all read
it.
"""

from array import array

from msgspec import Struct


class Record(Struct, gc=False):
    """
    How a request went. Times are milliseconds, ``at`` seconds since the epoch.

    ``outcome`` is one of: completed, client_gone, rejected_*, upstream_failed_*, timed_out_*.
    ``estimated`` says that the engine reported no usage and the token counts are our own.
    ``gaps`` are the pauses between chunks (ms, the latest of them); percentiles are made of it
    off the hot path. None means: did not come to it.
    """

    at: float
    request_id: str
    endpoint: str
    model: str
    served: str
    replica: str
    reason: str
    stream: bool
    attempts: int
    status: int
    outcome: str
    error: str
    total_ms: float
    ttft_ms: float | None
    tokens_in: int
    tokens_out: int
    tokens_cached: int
    estimated: bool
    bytes_in: int
    bytes_out: int
    gaps: "array[float]"


def percentile(ordered: list[float], share: float) -> float | None:
    """
    The value below which ``share`` (0 to 1) of the sorted values lie, nearest rank; None for no
    values.
    """
    if not ordered:
        return None
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
