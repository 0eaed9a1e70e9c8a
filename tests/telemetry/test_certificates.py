"""certificates.py: when certificates expire, in the metrics."""

import math

from prometheus_client import CollectorRegistry, generate_latest

from headrace.telemetry.certificates import CertificateMetrics, Expiry


def test_each_certificate() -> None:
    """Each has its value at the time of the scrape; one that cannot be read is not a number."""
    registry = CollectorRegistry()
    expiries: dict[str, Expiry] = {}
    CertificateMetrics(registry, expiries)
    before = generate_latest(registry).decode()
    expiries |= {"edge": lambda: 1.5e9, "other": lambda: math.nan}
    text = generate_latest(registry).decode()

    name = "headrace_certificate_expiry_timestamp_seconds"
    assert f"{name}{{" not in before
    assert f'{name}{{certificate="edge"}} 1.5e+09' in text
    assert f'{name}{{certificate="other"}} NaN' in text
