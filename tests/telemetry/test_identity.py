"""identity.py: keys and issuers in the metrics; and the bound on tenants."""

import math
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, generate_latest

from headrace.telemetry.exhibit import plain
from headrace.telemetry.identity import IdentityMetrics, Known
from headrace.telemetry.metrics import MAX_TENANTS, Metrics
from headrace.telemetry.records import Record


def test_keys_and_issuers() -> None:
    """Each has its value at the time of the scrape."""
    registry = CollectorRegistry()
    IdentityMetrics(registry, lambda: Known(3, 0.5, {"https://id": math.nan}, 1.5e9))
    text = generate_latest(registry).decode()

    assert "headrace_keys 3.0" in text
    assert "headrace_keys_age_seconds 0.5" in text
    assert 'headrace_jwks_age_seconds{issuer="https://id"} NaN' in text
    assert "headrace_keys_next_expiry_timestamp_seconds 1.5e+09" in text


def finished(tenant: str) -> Record:
    return Record(
        datetime.now(UTC), "r", "/v1/embeddings", "completed", 200, 1, False, 1.0, 5, 7, 2, 0, 0,
        served="m", tenant=tenant,
    )  # fmt: skip


def test_tenants_are_counted_and_bounded() -> None:
    """Requests and tokens by tenant; above the bound they share a series; nobody has none."""
    metrics = Metrics(["m"], ["/v1/embeddings"])
    metrics.observe([finished(""), *(finished(f"t{n}") for n in range(MAX_TENANTS + 5))])
    text = plain(metrics.registry).decode()

    assert 'headrace_tenant_tokens_total{kind="output",tenant="t0"} 7.0' in text
    assert 'headrace_tenant_tokens_total{kind="cached",tenant="t0"} 2.0' in text
    assert 'headrace_tenant_requests_total{outcome="completed",tenant="other"} 5.0' in text
    assert MAX_TENANTS + 1 == text.count("\nheadrace_tenant_requests_total{")
