"""The metrics of the queue's classes: what waits, how long it has waited, what was turned away."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

# From a place that came free at once to a batch that waited for the night.
WAIT_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600, 3600)


class ClassSeen(NamedTuple):
    """What waits of one class for one model: requests, bytes of bodies, tokens with answers."""

    requests: int = 0
    body: int = 0
    tokens: float = 0.0


Seen = Mapping[tuple[str, str], ClassSeen]
"""By model and class."""


class QueueMetrics:
    """Counts by class. All series are there from the start."""

    def __init__(
        self,
        registry: CollectorRegistry,
        classes: Sequence[str],
        reasons: Sequence[str],
        seen: Callable[[], Seen],
    ) -> None:
        self._shed = Counter(
            "headrace_queue_shed_total",
            "Requests that were not let into the queue, or were taken out of it again.",
            ("class", "reason"),
            registry=registry,
        )
        self._wait = Histogram(
            "headrace_class_wait_seconds",
            "In the queue, of requests that had to wait and got a place.",
            ("class",),
            buckets=WAIT_S,
            registry=registry,
        )
        for name in classes:
            self._wait.labels(name)
            for reason in reasons:
                self._shed.labels(name, reason)
        registry.register(_Live(seen))

    def shed(self, name: str, reason: str) -> None:
        """One was turned away, or taken out."""
        self._shed.labels(name, reason).inc()

    def waited(self, name: str, seconds: float) -> None:
        """One got its place."""
        self._wait.labels(name).observe(seconds)


class _Live(Collector):
    """What waits at the moment of a scrape."""

    def __init__(self, seen: Callable[[], Seen]) -> None:
        self._seen = seen

    def collect(self) -> list[GaugeMetricFamily]:
        labels = ("model", "class")
        requests = GaugeMetricFamily(
            "headrace_class_waiting_requests", "Requests that wait, by class.", labels=labels
        )
        body = GaugeMetricFamily(
            "headrace_class_waiting_bytes", "Bytes of their bodies.", labels=labels
        )
        tokens = GaugeMetricFamily(
            "headrace_class_waiting_tokens",
            "Tokens of their prompts, and those that their answers are expected to have, twice.",
            labels=labels,
        )
        for (model, name), found in self._seen().items():
            requests.add_metric([model, name], found.requests)
            body.add_metric([model, name], found.body)
            tokens.add_metric([model, name], found.tokens)
        return [requests, body, tokens]
