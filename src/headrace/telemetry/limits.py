"""The metrics of limits, read when scraped. They are counted in gateway/accounts/quota.py."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector


class LimitsSeen(NamedTuple):
    """
    The limits now. ``rejected`` by whose limit and which; ``reserved`` and ``used`` are tokens of
    requests that have ended; ``lost`` requests by what became of them while nobody could be asked;
    ``settlements`` by result; ``ratios`` by tenant and limit, 1 for all of it.
    """

    rejected: Mapping[tuple[str, str], int] = MappingProxyType({})
    reserved: int = 0
    used: int = 0
    held: int = 0
    lost: Mapping[str, int] = MappingProxyType({"open": 0, "closed": 0})
    settlements: Mapping[str, int] = MappingProxyType({"written": 0, "dropped": 0})
    waiting: int = 0
    ratios: Mapping[tuple[str, str], float] = MappingProxyType({})


class LimitMetrics(Collector):
    """Shows a ``LimitsSeen`` at every scrape."""

    def __init__(self, registry: CollectorRegistry, seen: Callable[[], LimitsSeen]) -> None:
        self._seen = seen
        registry.register(self)

    def collect(self) -> list[Metric]:
        seen = self._seen()
        rejected = CounterMetricFamily(
            "headrace_limit_rejections",
            "Requests that a limit refused, by whose it is and which.",
            labels=["scope", "limit"],
        )
        for labels, count in seen.rejected.items():
            rejected.add_metric([*labels], count)
        tokens = CounterMetricFamily(
            "headrace_limit_tokens",
            "Tokens of requests that have ended: reserved at their beginning, used at their end.",
            labels=["kind"],
        )
        for kind, count in (("reserved", seen.reserved), ("used", seen.used)):
            tokens.add_metric([kind], count)
        lost = CounterMetricFamily(
            "headrace_limit_lost_requests",
            "Requests while the shared limits could not be asked, by limits.on_loss.",
            labels=["on_loss"],
        )
        for word, count in seen.lost.items():
            lost.add_metric([word], count)
        settlements = CounterMetricFamily(
            "headrace_limit_settlements", "Ends of requests told to the shared limits.",
            labels=["result"],
        )  # fmt: skip
        for result, count in seen.settlements.items():
            settlements.add_metric([result], count)
        ratio = GaugeMetricFamily(
            "headrace_limit_used_ratio",
            "Used and held of a limit of a tenant with its own, 1 for all; as far as known here.",
            labels=["tenant", "limit"],
        )
        for labels, share in seen.ratios.items():
            ratio.add_metric([*labels], share)
        held = GaugeMetricFamily("headrace_limit_permits", "Requests that hold a part of limits.")
        held.add_metric([], seen.held)
        waiting = GaugeMetricFamily(
            "headrace_limit_settlements_waiting", "Settlements that are not written yet."
        )
        waiting.add_metric([], seen.waiting)
        return [rejected, tokens, lost, settlements, ratio, held, waiting]
