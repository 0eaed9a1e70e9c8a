"""The metrics of engines whose KV events are followed, by gateway/place/feeds.py."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector


class Followed(NamedTuple):
    """One replica's feed; NaN seconds where nothing was heard yet."""

    replica: str
    exact: bool
    lag_s: float
    age_s: float
    blocks: int
    events: int
    gaps: int
    malformed: int
    overflows: int


class EventMetrics(Collector):
    """Values that are read when they are scraped, not kept."""

    def __init__(self, registry: CollectorRegistry, seen: Callable[[], Iterable[Followed]]) -> None:
        self._seen = seen
        registry.register(self)

    def collect(self) -> list[GaugeMetricFamily | CounterMetricFamily]:
        label = ["replica"]
        exact = GaugeMetricFamily(
            "headrace_kv_events_exact",
            "1 while what a replica's cache holds is known exactly, else 0.",
            labels=label,
        )
        lag = GaugeMetricFamily(
            "headrace_kv_events_lag_seconds",
            "From a replica's latest batch of KV events to its being applied.",
            labels=label,
        )
        age = GaugeMetricFamily(
            "headrace_kv_events_age_seconds",
            "Since the latest batch of KV events was applied; NaN for never.",
            labels=label,
        )
        blocks = GaugeMetricFamily(
            "headrace_kv_events_blocks", "Blocks of the engine that are known.", labels=label
        )
        events = CounterMetricFamily(
            "headrace_kv_events", "KV events that were applied.", labels=label
        )
        lost = CounterMetricFamily(
            "headrace_kv_events_lost",
            "How often events were lost, by cause: gap, malformed, memory.",
            labels=["replica", "cause"],
        )
        for each in self._seen():
            exact.add_metric([each.replica], float(each.exact))
            lag.add_metric([each.replica], each.lag_s)
            age.add_metric([each.replica], each.age_s)
            blocks.add_metric([each.replica], each.blocks)
            events.add_metric([each.replica], each.events)
            lost.add_metric([each.replica, "gap"], each.gaps)
            lost.add_metric([each.replica, "malformed"], each.malformed)
            lost.add_metric([each.replica, "memory"], each.overflows)
        return [exact, lag, age, blocks, events, lost]
