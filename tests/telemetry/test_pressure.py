"""telemetry/pressure.py: which steps have begun, and what they did."""

from prometheus_client import CollectorRegistry

from headrace.gateway.place.pressure import Felt
from headrace.telemetry.pressure import PressureMetrics


def test_steps_are_seen() -> None:
    """Counts begin at 0; how steps stand is read at each scrape."""
    registry, felt = CollectorRegistry(), [Felt("m", "busy", begun=True, wait_s=4.5)]
    metrics = PressureMetrics(registry, ["busy"], ["shed"], lambda: felt)
    value, labels = registry.get_sample_value, {"model": "m", "step": "busy"}
    counted = {"step": "busy", "action": "shed"}
    before = value("headrace_pressure_requests_total", counted)
    metrics.count("busy", "shed")

    assert (0.0, 1.0) == (before, value("headrace_pressure_requests_total", counted))
    assert 1.0 == value("headrace_pressure_active", labels)
    assert 4.5 == value("headrace_pressure_wait_seconds", labels)
    felt[0] = Felt("m", "busy", begun=False, wait_s=0.1)
    assert 0.0 == value("headrace_pressure_active", labels)
