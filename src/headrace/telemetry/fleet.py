"""The metrics of replicas' lives: states, transitions, ejections, probes, age of the load view."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector


class Shown(NamedTuple):
    """A replica now; ``load_age_s`` is NaN when its metrics were never read."""

    replica: str
    state: str
    load_age_s: float


class FleetMetrics:
    """Counts what happens to replicas; series of a replica that has left are dropped."""

    def __init__(
        self, registry: CollectorRegistry, states: Iterable[str], causes: Iterable[str]
    ) -> None:
        self._registry = registry
        self._states = tuple(states)
        self._causes = tuple(causes)
        self._transitions = Counter(
            "headrace_replica_transitions_total", "Steps of replicas into a state.",
            ("replica", "state"), registry=registry,
        )  # fmt: skip
        self._ejections = Counter(
            "headrace_replica_ejections_total", "Ejections of replicas by cause.",
            ("replica", "cause"), registry=registry,
        )  # fmt: skip
        self._failures = Counter(
            "headrace_health_check_failures_total", "Probes of a replica that failed.",
            ("replica",), registry=registry,
        )  # fmt: skip

    def watch(self, shown: Callable[[], Iterable[Shown]]) -> None:
        """Read the states at every scrape."""
        self._registry.register(_Live(shown, self._states))

    def born(self, replica: str) -> None:
        """Start its series at 0, so that the first event is an increase."""
        for state in self._states:
            self._transitions.labels(replica, state)
        for cause in self._causes:
            self._ejections.labels(replica, cause)
        self._failures.labels(replica)

    def moved(self, replica: str, state: str) -> None:
        self._transitions.labels(replica, state).inc()

    def ejected(self, replica: str, cause: str) -> None:
        self._ejections.labels(replica, cause).inc()

    def check_failed(self, replica: str) -> None:
        self._failures.labels(replica).inc()

    def left(self, replica: str) -> None:
        """Drop its series: names of pods are never used again."""
        for state in self._states:
            self._transitions.remove(replica, state)
        for cause in self._causes:
            self._ejections.remove(replica, cause)
        self._failures.remove(replica)


class _Live(Collector):
    """Values that are read when they are scraped, not kept."""

    def __init__(self, shown: Callable[[], Iterable[Shown]], states: tuple[str, ...]) -> None:
        self._shown = shown
        self._states = states

    def collect(self) -> list[GaugeMetricFamily]:
        state = GaugeMetricFamily(
            "headrace_replica_state", "1 for the state that a replica is in, 0 for the others.",
            labels=["replica", "state"],
        )  # fmt: skip
        age = GaugeMetricFamily(
            "headrace_replica_load_age_seconds",
            "Since its metrics were read; NaN for never.",
            labels=["replica"],
        )
        for replica, now, load_age_s in self._shown():
            for name in self._states:
                state.add_metric([replica, name], float(name == now))
            age.add_metric([replica], load_age_s)
        return [state, age]
