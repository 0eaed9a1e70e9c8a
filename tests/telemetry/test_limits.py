"""The metrics of limits."""

from prometheus_client import CollectorRegistry, generate_latest

from headrace.telemetry.limits import LimitMetrics, LimitsSeen


def scraped(seen: LimitsSeen) -> list[str]:
    registry = CollectorRegistry()
    LimitMetrics(registry, lambda: seen)
    lines = generate_latest(registry).decode().splitlines()
    return [line for line in lines if not line.startswith("#")]


def test_nothing_happened() -> None:
    """Counters without labels of limits are there from the start."""
    assert [
        'headrace_limit_tokens_total{kind="reserved"} 0.0',
        'headrace_limit_tokens_total{kind="used"} 0.0',
        'headrace_limit_lost_requests_total{on_loss="open"} 0.0',
        'headrace_limit_lost_requests_total{on_loss="closed"} 0.0',
        'headrace_limit_settlements_total{result="written"} 0.0',
        'headrace_limit_settlements_total{result="dropped"} 0.0',
        "headrace_limit_permits 0.0",
        "headrace_limit_settlements_waiting 0.0",
    ] == scraped(LimitsSeen())


def test_what_happened() -> None:
    """Rejections by whose limit and which; ratios by tenant and limit."""
    seen = LimitsSeen(
        rejected={("key", "tokens_per_day"): 3},
        reserved=100,
        used=40,
        held=2,
        ratios={("acme", "tokens_per_day"): 0.5},
    )

    assert {
        'headrace_limit_rejections_total{limit="tokens_per_day",scope="key"} 3.0',
        'headrace_limit_tokens_total{kind="reserved"} 100.0',
        'headrace_limit_tokens_total{kind="used"} 40.0',
        'headrace_limit_used_ratio{limit="tokens_per_day",tenant="acme"} 0.5',
        "headrace_limit_permits 2.0",
    } <= set(scraped(seen))
