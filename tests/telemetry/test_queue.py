"""telemetry/queue.py: what waits by class, what was turned away, and how long others waited."""

from prometheus_client import CollectorRegistry, generate_latest

from headrace.telemetry.queue import ClassSeen, QueueMetrics


def test_classes_are_counted() -> None:
    """Every series is there from the start; gauges are read when they are scraped."""
    registry = CollectorRegistry()
    seen = {("m", "batch"): ClassSeen(2, 300, 4000.0)}
    metrics = QueueMetrics(registry, ["batch"], ["deadline"], lambda: seen)
    before = generate_latest(registry).decode()
    metrics.shed("batch", "deadline")
    metrics.waited("batch", 0.3)
    seen["m", "batch"] = ClassSeen(1, 100, 900.0)
    after = generate_latest(registry).decode()

    assert 'headrace_queue_shed_total{class="batch",reason="deadline"} 0.0' in before
    assert 'headrace_class_waiting_tokens{class="batch",model="m"} 4000.0' in before
    assert 'headrace_queue_shed_total{class="batch",reason="deadline"} 1.0' in after
    assert 'headrace_class_wait_seconds_bucket{class="batch",le="0.5"} 1.0' in after
    assert 'headrace_class_waiting_requests{class="batch",model="m"} 1.0' in after
