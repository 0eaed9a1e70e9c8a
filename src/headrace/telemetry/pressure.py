"""The metrics of what gives way under load: which steps have begun, and what they did."""

from collections.abc import Callable, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector


class Felt(Protocol):
    """A step of a model as it is now."""

    @property
    def model(self) -> str: ...

    @property
    def step(self) -> str: ...

    @property
    def begun(self) -> bool: ...

    @property
    def wait_s(self) -> float: ...


class PressureMetrics:
    """Counts by step and action. All series are there from the start."""

    def __init__(
        self,
        registry: CollectorRegistry,
        steps: Sequence[str],
        actions: Sequence[str],
        seen: Callable[[], Sequence[Felt]],
    ) -> None:
        self._requests = Counter(
            "headrace_pressure_requests_total",
            "Requests that gave way, by what was done.",
            ("step", "action"),
            registry=registry,
        )
        for step in steps:
            for action in actions:
                self._requests.labels(step, action)
        registry.register(_Live(seen))

    def count(self, step: str, action: str) -> None:
        """One gave way."""
        self._requests.labels(step, action).inc()


class _Live(Collector):
    """How the steps stand at the moment of a scrape."""

    def __init__(self, seen: Callable[[], Sequence[Felt]]) -> None:
        self._seen = seen

    def collect(self) -> list[GaugeMetricFamily]:
        labels = ("model", "step")
        begun = GaugeMetricFamily(
            "headrace_pressure_active", "1 while the step has begun.", labels=labels
        )
        wait = GaugeMetricFamily(
            "headrace_pressure_wait_seconds",
            "The wait that the step goes by: that of a request that came now.",
            labels=labels,
        )
        for each in self._seen():
            begun.add_metric([each.model, each.step], float(each.begun))
            wait.add_metric([each.model, each.step], each.wait_s)
        return [begun, wait]
