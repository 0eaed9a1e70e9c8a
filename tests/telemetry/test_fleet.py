"""fleet.py: series of replicas begin at zero, count, and go with their replica."""

import math

from prometheus_client import CollectorRegistry, generate_latest

from headrace.telemetry.fleet import FleetMetrics, Shown


def test_life_of_the_series() -> None:
    """From birth to end: zeros, counts, and then nothing of that name, though it left twice."""
    registry = CollectorRegistry()
    metrics = FleetMetrics(registry, ["ready", "gone"], ["stuck"])
    shown = [Shown("a", "ready", math.nan)]
    metrics.watch(lambda: shown)
    metrics.born("a")
    born = generate_latest(registry).decode()
    metrics.moved("a", "ready")
    metrics.ejected("a", "stuck")
    metrics.check_failed("a")
    counted = generate_latest(registry).decode()
    shown.clear()
    metrics.left("a")
    metrics.left("a")

    assert 'headrace_replica_ejections_total{cause="stuck",replica="a"} 0.0' in born
    assert 'headrace_replica_load_age_seconds{replica="a"} NaN' in born
    assert 'headrace_replica_state{replica="a",state="gone"} 0.0' in born
    assert 'headrace_replica_transitions_total{replica="a",state="ready"} 1.0' in counted
    assert 'headrace_replica_ejections_total{cause="stuck",replica="a"} 1.0' in counted
    assert 'headrace_health_check_failures_total{replica="a"} 1.0' in counted
    assert '"a"' not in generate_latest(registry).decode()
