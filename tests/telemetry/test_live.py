"""live.py: one table, and what nobody gives has no samples."""

from prometheus_client import CollectorRegistry

from headrace.telemetry.exhibit import plain
from headrace.telemetry.live import TABLE, LiveMetrics


def test_names_say_their_kind() -> None:
    """Counters end in _total, gauges do not, each name is there once."""
    assert all(row.name.endswith("_total") == (row.kind == "counter") for row in TABLE)
    assert len(TABLE) == len({row.name for row in TABLE})


def test_values_of_now() -> None:
    """What is looked at is shown, with its labels in order; the rest is only described."""
    registry = CollectorRegistry()
    LiveMetrics(registry, lambda: {"headrace_active_requests": {("m", "waiting"): 2.0}})
    text = plain(registry).decode()

    assert 'headrace_active_requests{model="m",phase="waiting"} 2.0' in text
    assert "# TYPE headrace_cost_total counter" in text
    assert "\nheadrace_cost_total" not in text


def test_values_are_read_at_each_scrape() -> None:
    """Nothing is kept between two looks: what is gone is not shown."""
    registry = CollectorRegistry()
    loads: dict[tuple[str, ...], float] = {("a",): 1.0, ("b",): 2.0}
    LiveMetrics(registry, lambda: {"headrace_replica_inflight_requests": loads})
    before = plain(registry).decode()
    del loads["a",]
    loads["b",] = 3.0
    after = plain(registry).decode()

    assert 'inflight_requests{replica="a"} 1.0' in before
    assert 'inflight_requests{replica="b"} 2.0' in before
    assert 'replica="a"' not in after
    assert 'inflight_requests{replica="b"} 3.0' in after
