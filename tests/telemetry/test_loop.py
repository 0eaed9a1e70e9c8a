"""loop.py: delays are counted."""

from prometheus_client import CollectorRegistry

from headrace.telemetry.exhibit import plain
from headrace.telemetry.loop import LoopMetrics


def test_delays() -> None:
    """Each is in its bucket."""
    registry = CollectorRegistry()
    metrics = LoopMetrics(registry)
    for seconds in (0.0, 0.02, 3.0):
        metrics.late(seconds)
    text = plain(registry).decode()

    assert 'headrace_event_loop_delay_seconds_bucket{le="0.025"} 2.0' in text
    assert "headrace_event_loop_delay_seconds_sum 3.02" in text
