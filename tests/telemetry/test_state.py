"""state.py: what can be seen of the shared state from outside."""

from prometheus_client import CollectorRegistry

from headrace.telemetry.state import StateMetrics


def test_life_of_the_series() -> None:
    """Up and down by place, failures and times by operation."""
    registry = CollectorRegistry()
    metrics = StateMetrics(registry)
    metrics.up("redis://a", True)
    metrics.up("redis://b", False)
    metrics.failed("get")
    metrics.took("get", 0.003)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    assert 1.0 == value("headrace_state_up", state="redis://a")
    assert 0.0 == value("headrace_state_up", state="redis://b")
    assert 1.0 == value("headrace_state_errors_total", operation="get")
    assert 0.0 == value("headrace_state_operation_seconds_bucket", operation="get", le="0.0025")
    assert 1.0 == value("headrace_state_operation_seconds_bucket", operation="get", le="0.005")
