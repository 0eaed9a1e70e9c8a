"""The metrics of media that the gateway fetches: how many, how large, what went wrong."""

from prometheus_client import CollectorRegistry, Counter, Histogram

OUTCOMES = ("fetched", "refused", "failed", "late")
# From a store next door (5 ms) to a large video from far away.
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class MediaMetrics:
    """Counts; the series are there from the start."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._fetches = Counter(
            "headrace_media_fetches_total", "Files that requests named by URL, by what became of "
            "them.", ("outcome",), registry=registry,
        )  # fmt: skip
        self._bytes = Counter(
            "headrace_media_fetched_bytes_total", "Bytes of the files that were fetched.",
            registry=registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "headrace_media_fetch_seconds", "From the beginning of a fetch to the whole file.",
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        for outcome in OUTCOMES:
            self._fetches.labels(outcome)

    def fetched(self, size: int, seconds: float) -> None:
        self._fetches.labels("fetched").inc()
        self._bytes.inc(size)
        self._seconds.observe(seconds)

    def missed(self, outcome: str) -> None:
        self._fetches.labels(outcome).inc()
