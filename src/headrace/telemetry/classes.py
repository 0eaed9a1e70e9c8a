"""The metrics of classes: what was judged, why, from memory or anew, and how long it took."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram

# From a static table (0.1 ms) to an embeddings endpoint in another zone.
SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.5)
REASONS = ("meaning", "unsure", "script", "empty", "late", "busy", "starting", "failed")


class ClassMetrics:
    """Counts judgements; the series are there from the start."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._classes = Counter(
            "headrace_classifications_total", "Requests by the class that they were given.",
            ("class", "why"), registry=registry,
        )  # fmt: skip
        self._remembered = Counter(
            "headrace_classification_cache_hits_total", "Texts whose class was remembered.",
            registry=registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "headrace_classification_seconds", "To judge a text that was not remembered.",
            buckets=SECONDS, registry=registry,
        )  # fmt: skip

    def born(self, names: Sequence[str], default: str) -> None:
        """Start the series at 0, so that the first event is an increase."""
        for name in names:
            self._classes.labels(name, "meaning")
        for why in REASONS[1:]:
            self._classes.labels(default, why)

    def judged(self, name: str, why: str) -> None:
        self._classes.labels(name, why).inc()

    def remembered(self) -> None:
        self._remembered.inc()

    def took(self, seconds: float) -> None:
        self._seconds.observe(seconds)
