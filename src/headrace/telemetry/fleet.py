"""The metrics of replicas' lives: states, transitions, ejections, probes, age of the load view."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from headrace.telemetry.columns import Column, Columnar

STATE, AGE = "headrace_replica_state", "headrace_replica_load_age_seconds"
_REPLICA = ("replica",)


class Shown(NamedTuple):
    """A replica now; ``load_age_s`` is NaN when its metrics were never read."""

    replica: str
    state: str
    load_age_s: float


class _Count:
    """
    A counter by replica and perhaps one more label. The metrics library's own takes a lock and an
    object for each series, of which a replica has fifteen; these are only ever fed by one thread.
    """

    def __init__(self, name: str, text: str, *more: str) -> None:
        self.name = name
        self.text = text
        self.labels = (*_REPLICA, *more)
        self.values: dict[tuple[str, ...], float] = {}

    def add(self, *labels: str, count: float = 1.0) -> None:
        """Count; 0 only makes sure that the series is shown."""
        self.values[labels] = self.values.get(labels, 0.0) + count

    def family(self) -> CounterMetricFamily:
        family = CounterMetricFamily(self.name, self.text, labels=self.labels)
        for labels, value in self.values.copy().items():
            family.add_metric(labels, value)
        return family


class FleetMetrics(Columnar):
    """Counts what happens to replicas; series of a replica that has left are dropped."""

    def __init__(
        self, registry: CollectorRegistry, states: Iterable[str], causes: Iterable[str]
    ) -> None:
        self._states = tuple(map(str, states))
        self._causes = tuple(map(str, causes))
        self._transitions = _Count(
            "headrace_replica_transitions_total", "Steps of replicas into a state.", "state"
        )
        self._ejections = _Count(
            "headrace_replica_ejections_total", "Ejections of replicas by cause.", "cause"
        )
        self._failures = _Count(
            "headrace_health_check_failures_total", "Probes of a replica that failed."
        )
        self._counts = self._transitions, self._ejections, self._failures
        self._shown: Callable[[], Iterable[Shown]] = tuple
        registry.register(self)

    def watch(self, shown: Callable[[], Iterable[Shown]]) -> None:
        """Read the states whenever somebody looks."""
        self._shown = shown

    def born(self, replica: str) -> None:
        """Start its series at 0, so that the first event is an increase."""
        for state in self._states:
            self._transitions.add(replica, state, count=0.0)
        for cause in self._causes:
            self._ejections.add(replica, cause, count=0.0)
        self._failures.add(replica, count=0.0)

    def moved(self, replica: str, state: str) -> None:
        self._transitions.add(replica, str(state))

    def ejected(self, replica: str, cause: str) -> None:
        self._ejections.add(replica, cause)

    def check_failed(self, replica: str) -> None:
        self._failures.add(replica)

    def left(self, replica: str) -> None:
        """Drop its series: names of pods are never used again."""
        for state in self._states:
            self._transitions.values.pop((replica, state), None)
        for cause in self._causes:
            self._ejections.values.pop((replica, cause), None)
        self._failures.values.pop((replica,), None)

    def collect(self) -> list[GaugeMetricFamily | CounterMetricFamily]:
        state = GaugeMetricFamily(
            STATE, "1 for the state that a replica is in, 0 for the others.",
            labels=["replica", "state"],
        )  # fmt: skip
        age = GaugeMetricFamily(AGE, "Since its metrics were read; NaN for never.", labels=_REPLICA)
        for replica, now, load_age_s in self._shown():
            for name in self._states:
                state.add_metric([replica, name], float(name == now))
            age.add_metric([replica], load_age_s)
        return [state, age, *(each.family() for each in self._counts)]

    def columns(self) -> Iterator[Column]:
        shown = tuple(self._shown())
        states: dict[tuple[str, ...], float]
        states = {(each.replica, name): 0.0 for each in shown for name in self._states}
        states.update({(each.replica, str(each.state)): 1.0 for each in shown})
        yield Column(STATE, (*_REPLICA, "state"), states)
        yield Column(AGE, _REPLICA, {(each.replica,): each.load_age_s for each in shown})
        for each in self._counts:
            yield Column(each.name, each.labels, each.values.copy())
