"""The metrics of guards: what they decided, what they found, and how long it took."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram

# From a pattern on the event loop (10 us) to a classifier in another zone.
SECONDS = (0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025,
           0.05, 0.1, 0.25, 0.5, 1, 2.5)  # fmt: skip
MAX_ENTITIES = 64  # a classifier's categories come from afar
OTHER = "other"
REASONS = ("died", "stuck")
VERDICTS = ("passed", "found", "redacted", "blocked", "late", "failed")


class GuardMetrics:
    """Counts; the series are there from the start."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._verdicts = Counter(
            "headrace_guard_verdicts_total", "Requests and answers by what a guard said of them.",
            ("guard", "direction", "verdict"), registry=registry,
        )  # fmt: skip
        self._findings = Counter(
            "headrace_guard_findings_total", "What a guard found, by entity.",
            ("guard", "entity"), registry=registry,
        )  # fmt: skip
        self._entities: dict[str, set[str]] = {}
        self._seconds = Histogram(
            "headrace_guard_seconds", "One look of a guard, at a prompt or a part of an answer.",
            ("guard", "direction"), buckets=SECONDS, registry=registry,
        )  # fmt: skip

        self._ended = Counter(
            "headrace_guard_workers_ended_total",
            "Worker processes of guards that died or were stuck in a look, and were replaced.",
            ("reason",), registry=registry,
        )  # fmt: skip
        for reason in REASONS:
            self._ended.labels(reason)

    def born(self, guard: str, directions: Iterable[str]) -> None:
        """Start a guard's series at 0, so that the first event is an increase."""
        for direction in directions:
            self._seconds.labels(guard, direction)
            for verdict in VERDICTS:
                self._verdicts.labels(guard, direction, verdict)

    def ended(self, reason: str) -> None:
        self._ended.labels(reason).inc()

    def took(self, guard: str, direction: str, seconds: float) -> None:
        self._seconds.labels(guard, direction).observe(seconds)

    def said(self, guard: str, direction: str, verdict: str) -> None:
        self._verdicts.labels(guard, direction, verdict).inc()

    def found(self, guard: str, entity: str, count: int) -> None:
        known = self._entities.setdefault(guard, set())
        if entity not in known:
            if len(known) >= MAX_ENTITIES:
                entity = OTHER
            known.add(entity)
        self._findings.labels(guard, entity).inc(count)
