"""The metric of certificates that this process serves: when each of them expires."""

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

Expiry = Callable[[], float]
"""Gives when a certificate expires, in seconds since 1970; NaN where that cannot be read."""


class CertificateMetrics(Collector):
    """Reads ``expiries``, by the name of who serves each, at every scrape; it may grow."""

    def __init__(self, registry: CollectorRegistry, expiries: Mapping[str, Expiry]) -> None:
        self._expiries = expiries
        registry.register(self)

    def collect(self) -> list[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "headrace_certificate_expiry_timestamp_seconds",
            "When a certificate that is served expires, in seconds since 1970.",
            labels=["certificate"],
        )
        for name, expiry in [*self._expiries.items()]:
            family.add_metric([name], expiry())
        return [family]
