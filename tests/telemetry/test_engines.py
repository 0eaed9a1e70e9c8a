"""engines.py: cold starts, idle stops, and which replicas are away."""

from prometheus_client import CollectorRegistry, generate_latest

from headrace.telemetry.engines import EngineMetrics, Place


def test_they_count() -> None:
    """Cold starts with their seconds, by kind; what was given up; what was put to rest."""
    registry = CollectorRegistry()
    metrics = EngineMetrics(registry, ["off", "failed"])
    metrics.cold_start("m", "start", 40.0)
    metrics.cold_start("m", "start", 2.0)
    metrics.cold_start("m", "wake", 0.2)
    metrics.failed("n")
    metrics.rested("m", "sleep")
    text = generate_latest(registry).decode()

    assert 'headrace_cold_start_seconds_count{kind="start",model="m"} 2.0' in text
    assert 'headrace_cold_start_seconds_sum{kind="start",model="m"} 42.0' in text
    assert 'headrace_cold_start_seconds_bucket{kind="wake",le="0.25",model="m"} 1.0' in text
    assert 'headrace_cold_start_failures_total{model="n"} 1.0' in text
    assert 'headrace_idle_stops_total{kind="sleep",model="m"} 1.0' in text


def test_the_away_are_read_when_they_are_scraped() -> None:
    """One series for each reason; none of a replica that is there."""
    registry = CollectorRegistry()
    metrics = EngineMetrics(registry, ["off", "failed"])
    places = [Place("a", "off")]
    metrics.watch(lambda: places)
    before = generate_latest(registry).decode()
    places.clear()

    assert 'headrace_replica_away{replica="a",state="off"} 1.0' in before
    assert 'headrace_replica_away{replica="a",state="failed"} 0.0' in before
    assert "headrace_replica_away{" not in generate_latest(registry).decode()
