"""The metrics of several gateways and of sessions. Who talks to whom is gateway/peers.py's."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector


class Company(NamedTuple):
    """
    The other gateways that are heard, and the age of the oldest report; reports by what became of
    them; what did not fit into one.
    """

    gateways: int
    age_s: float
    reports: Mapping[str, int]
    untold: int


class Homes(NamedTuple):
    """The sessions of one model: those that are known, that moved, that lost their replica."""

    model: str
    known: int
    moved: int
    repinned: int


class Talker(Protocol):
    """Who knows the other gateways."""

    def seen(self) -> Company: ...


class PeerMetrics(Collector):
    """Values that are read when they are scraped, not kept."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._talker: Talker | None = None
        self._homes: Callable[[], Iterable[Homes]] = tuple
        registry.register(self)

    def watch(self, talker: Talker | None, homes: Callable[[], Iterable[Homes]]) -> None:
        """Read these from now on; ``talker`` is None where a gateway is alone."""
        self._talker, self._homes = talker, homes

    def collect(self) -> list[GaugeMetricFamily | CounterMetricFamily]:
        return [*self._of_peers(), *self._of_sessions()]

    def _of_peers(self) -> list[GaugeMetricFamily | CounterMetricFamily]:
        peers = GaugeMetricFamily("headrace_peers", "Other gateways that are heard.")
        age = GaugeMetricFamily(
            "headrace_peer_report_age_seconds", "Age of the oldest of their last reports."
        )
        reports = CounterMetricFamily(
            "headrace_peer_reports",
            "Reports to and from other gateways: told, lost, heard, bad.",
            labels=["result"],
        )
        untold = CounterMetricFamily(
            "headrace_peer_untold", "Prompts and sessions that did not fit into a report."
        )
        if self._talker is not None:
            company = self._talker.seen()
            peers.add_metric([], company.gateways)
            age.add_metric([], company.age_s)
            for result, number in company.reports.items():
                reports.add_metric([result], number)
            untold.add_metric([], company.untold)
        return [peers, age, reports, untold]

    def _of_sessions(self) -> list[GaugeMetricFamily | CounterMetricFamily]:
        known = GaugeMetricFamily(
            "headrace_sessions", "Sessions whose replica is remembered.", labels=["model"]
        )
        moved = CounterMetricFamily(
            "headrace_session_moves",
            "Sessions that another replica answered than the last time.",
            labels=["model"],
        )
        repinned = CounterMetricFamily(
            "headrace_session_repins",
            "Of these, the sessions whose replica was gone.",
            labels=["model"],
        )
        for each in self._homes():
            known.add_metric([each.model], each.known)
            moved.add_metric([each.model], each.moved)
            repinned.add_metric([each.model], each.repinned)
        return [known, moved, repinned]
