"""The metrics of the usage ledger, read where they are kept when scraped."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

RESULTS = ("written", "spilled", "replayed", "estimated", "dropped", "unheld")


class LedgerSeen(NamedTuple):
    """The ledger now; ``rows`` by what became of them, since the start."""

    up: bool = False
    waiting: int = 0
    lag_s: float = 0.0
    spill_bytes: int = 0
    batches: int = 0
    commits: int = 0
    rows: Mapping[str, int] = MappingProxyType(dict.fromkeys(RESULTS, 0))


class LedgerMetrics(Collector):
    """Shows a ``LedgerSeen`` at every scrape."""

    def __init__(self, registry: CollectorRegistry, seen: Callable[[], LedgerSeen]) -> None:
        self._seen = seen
        registry.register(self)

    def collect(self) -> list[Metric]:
        seen = self._seen()
        gauges = (
            ("up", "1 while the usage ledger can be written, else 0.", float(seen.up)),
            ("waiting_rows", "Requests that have ended and are in no file yet.", seen.waiting),
            ("lag_seconds", "Since the oldest of them ended.", seen.lag_s),
            ("spill_bytes", "Rows in files that wait for the usage ledger.", seen.spill_bytes),
        )
        families: list[Metric] = []
        for name, text, value in gauges:
            gauge = GaugeMetricFamily(f"headrace_ledger_{name}", text)
            gauge.add_metric([], value)
            families.append(gauge)
        for name, text, count in (
            ("batches", "Transactions of the usage ledger.", seen.batches),
            ("commits", "Groups of rows put onto this disk before answers ended.", seen.commits),
        ):
            counter = CounterMetricFamily(f"headrace_ledger_{name}", text)
            counter.add_metric([], count)
            families.append(counter)
        rows = CounterMetricFamily(
            "headrace_ledger_rows", "Rows of the usage ledger by result.", labels=["result"]
        )
        for result in RESULTS:
            rows.add_metric([result], seen.rows[result])
        return [*families, rows]
