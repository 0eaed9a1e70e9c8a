"""The metrics of what is kept and told of requests: decision records, the archive, traces."""

from collections.abc import Callable
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from headrace.telemetry.tracing import Sent


class KeptSeen(NamedTuple):
    """What is kept now, and what became of the rest since the start."""

    records: int = 0
    record_bytes: int = 0
    archive_up: bool = False
    archived: int = 0
    archive_dropped: int = 0
    sent: Sent = Sent()


class KeptMetrics(Collector):
    """Shows a ``KeptSeen`` at every scrape."""

    def __init__(self, registry: CollectorRegistry, seen: Callable[[], KeptSeen]) -> None:
        self._seen = seen
        registry.register(self)

    def collect(self) -> list[Metric]:
        seen = self._seen()
        families: list[Metric] = []
        for name, text, value in (
            ("records", "Decision records in memory.", seen.records),
            ("record_bytes", "What they take, about.", seen.record_bytes),
            ("archive_up", "1 while the archive of records can be written.", seen.archive_up),
        ):
            gauge = GaugeMetricFamily(f"headrace_decision_{name}", text)
            gauge.add_metric([], float(value))
            families.append(gauge)
        archived = CounterMetricFamily(
            "headrace_decision_archived", "Records for the archive by result.", labels=["result"]
        )
        archived.add_metric(["written"], seen.archived)
        archived.add_metric(["dropped"], seen.archive_dropped)
        spans = CounterMetricFamily(
            "headrace_trace_spans", "Spans for the collector by result.", labels=["result"]
        )
        spans.add_metric(["exported"], seen.sent.exported)
        spans.add_metric(["failed"], seen.sent.failed)
        dropped = CounterMetricFamily(
            "headrace_traces_dropped", "Requests whose trace was not sent.", labels=["cause"]
        )
        dropped.add_metric(["queue"], seen.sent.queue)
        dropped.add_metric(["limit"], seen.sent.limit)
        return [*families, archived, spans, dropped]
