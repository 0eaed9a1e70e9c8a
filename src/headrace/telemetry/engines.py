"""The metrics of engines that come and go: where each one is, cold starts, and idle stops."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

# From a sleeping engine that is woken (0.1 s) to one that loads 70B parameters over a network.
COLD_S = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1200)


class Place(NamedTuple):
    """A supervised replica that is not in the fleet now, and why: off, starting, failed."""

    replica: str
    state: str


class EngineMetrics:
    """Counts what is done to engines because requests came, or because none did."""

    def __init__(self, registry: CollectorRegistry, states: Iterable[str]) -> None:
        self._registry = registry
        self._states = tuple(states)
        self._cold = Histogram(
            "headrace_cold_start_seconds",
            "From the request that wanted a replica to that replica being ready.",
            ("model", "kind"), buckets=COLD_S, registry=registry,
        )  # fmt: skip
        self._failed = Counter(
            "headrace_cold_start_failures_total",
            "Starts of engines that were given up after a crash loop.",
            ("model",), registry=registry,
        )  # fmt: skip
        self._rests = Counter(
            "headrace_idle_stops_total", "Replicas that were stopped or put to sleep when idle.",
            ("model", "kind"), registry=registry,
        )  # fmt: skip

    def watch(self, places: Callable[[], Iterable[Place]]) -> None:
        """Read at every scrape which replicas are away."""
        self._registry.register(_Live(places, self._states))

    def cold_start(self, model: str, kind: str, seconds: float) -> None:
        """A replica that requests waited for is ready; ``kind`` is start or wake."""
        self._cold.labels(model, kind).observe(seconds)

    def failed(self, model: str) -> None:
        self._failed.labels(model).inc()

    def rested(self, model: str, kind: str) -> None:
        """``kind`` is stop or sleep."""
        self._rests.labels(model, kind).inc()


class _Live(Collector):
    """Values that are read when they are scraped, not kept."""

    def __init__(self, places: Callable[[], Iterable[Place]], states: tuple[str, ...]) -> None:
        self._places = places
        self._states = states

    def collect(self) -> list[GaugeMetricFamily]:
        away = GaugeMetricFamily(
            "headrace_replica_away",
            "1 for why a supervised replica is not in the fleet, 0 for the other reasons.",
            labels=["replica", "state"],
        )
        for replica, now in self._places():
            for name in self._states:
                away.add_metric([replica, name], float(name == now))
        return [away]
