"""classes.py: judgements are counted by class and reason, from zero."""

from prometheus_client import CollectorRegistry, generate_latest

from headrace.telemetry.classes import REASONS, ClassMetrics


def test_counts() -> None:
    """Series begin at zero, for each class and each reason for the default."""
    registry = CollectorRegistry()
    metrics = ClassMetrics(registry)
    metrics.born(["fast", "reasoning"], "fast")
    born = generate_latest(registry).decode()
    metrics.judged("fast", "late")
    metrics.remembered()
    metrics.took(0.0002)
    counted = generate_latest(registry).decode()

    for why in REASONS:
        assert f'headrace_classifications_total{{class="fast",why="{why}"}} 0.0' in born
    assert 'headrace_classifications_total{class="reasoning",why="meaning"} 0.0' in born
    assert 'headrace_classifications_total{class="fast",why="late"} 1.0' in counted
    assert "headrace_classification_cache_hits_total 1.0" in counted
    assert 'headrace_classification_seconds_bucket{le="0.00025"} 1.0' in counted
