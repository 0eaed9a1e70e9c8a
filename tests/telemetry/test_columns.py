"""columns.py: columns hold the very values that a scrape shows."""

import math

from prometheus_client import Counter

from headrace.telemetry.columns import Column, Registry
from headrace.telemetry.fleet import FleetMetrics, Shown
from headrace.telemetry.histograms import Histograms
from headrace.telemetry.live import LiveMetrics

EVERYTHING = frozenset({"seen_total", "headrace_replica_state"})


def test_only_what_is_wanted() -> None:
    """Columns of other metrics are not given; the library's own metrics are columns, too."""
    registry = Registry()
    Counter("seen", "Things.", ("kind", "place"), registry=registry).labels("a", "b").inc(2)
    Counter("other", "Things.", registry=registry).inc()
    metrics = FleetMetrics(registry, ["ready", "gone"], [])
    metrics.watch(lambda: [Shown("r", "ready", math.nan)])
    states: dict[tuple[str, ...], float] = {("r", "ready"): 1.0, ("r", "gone"): 0.0}

    assert [
        Column("seen_total", ("kind", "place"), {("a", "b"): 2.0}),
        Column("headrace_replica_state", ("replica", "state"), states),
    ] == list(registry.columns(EVERYTHING))


def test_histograms_and_live_values() -> None:
    """A histogram has its sum and its count; a live metric without values an empty column."""
    registry = Registry()
    Histograms(registry)
    LiveMetrics(registry, dict)
    names = {"headrace_queue_wait_seconds_sum", "headrace_queue_wait_seconds_count"}
    names |= {"headrace_slow_clients", "headrace_queue_wait_seconds_bucket"}

    assert [
        Column("headrace_queue_wait_seconds_sum", ("model",), {}),
        Column("headrace_queue_wait_seconds_count", ("model",), {}),
        Column("headrace_slow_clients", (), {}),
    ] == list(registry.columns(names))
