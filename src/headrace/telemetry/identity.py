"""The metrics of keys and issuers. Those of requests by tenant are in metrics.py."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector


class Known(NamedTuple):
    """
    Good keys, how long ago (s) they were confirmed, the age of issuers' public keys, and when the
    next key expires (s since 1970; NaN for never).
    """

    keys: int
    age_s: float
    issuers: Mapping[str, float]
    next_expiry: float


class IdentityMetrics(Collector):
    """Values that are read when they are scraped, not kept."""

    def __init__(self, registry: CollectorRegistry, known: Callable[[], Known]) -> None:
        self._known = known
        registry.register(self)

    def collect(self) -> list[GaugeMetricFamily]:
        known = self._known()
        keys = GaugeMetricFamily("headrace_keys", "Secrets of API keys that are good now.")
        keys.add_metric([], float(known.keys))
        age = GaugeMetricFamily(
            "headrace_keys_age_seconds",
            "Since the book of keys was last looked at; NaN for never.",
        )
        age.add_metric([], known.age_s)
        issuers = GaugeMetricFamily(
            "headrace_jwks_age_seconds",
            "Since an issuer's public keys were last read; NaN for never.",
            labels=["issuer"],
        )
        for issuer, age_s in known.issuers.items():
            issuers.add_metric([issuer], age_s)
        expiry = GaugeMetricFamily(
            "headrace_keys_next_expiry_timestamp_seconds",
            "When the next good key expires, in seconds since 1970; NaN for never.",
        )
        expiry.add_metric([], known.next_expiry)
        return [keys, age, issuers, expiry]
