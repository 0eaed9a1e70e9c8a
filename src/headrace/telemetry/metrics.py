"""
The metrics, each declared once. Label values come from the configuration, so clients cannot add
any.
"""

from collections.abc import Callable, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from headrace.telemetry.records import Record

# From a cached prompt on a fast GPU (10 ms) to a queue behind a cold start (minutes).
TTFT_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120)
# From speculative decoding (2 ms) to a stalled batch.
ITL_S = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 5)
TOTAL_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)

UNKNOWN = "other"


class Metrics:
    """A registry of its own, so that two gateways in one process do not meet."""

    def __init__(self, models: Sequence[str], endpoints: Sequence[str]) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # series that nobody reads, as many as the counters
        self.registry = CollectorRegistry()
        self._models = frozenset(models)
        self._endpoints = frozenset(endpoints)
        by_request = ("model", "endpoint", "outcome")
        self._requests = Counter(
            "headrace_requests_total",
            "Requests by how they ended.",
            by_request,
            registry=self.registry,
        )
        self._attempts = Counter(
            "headrace_attempts_total", "Requests sent to replicas, retries included.",
            ("model",), registry=self.registry,
        )  # fmt: skip
        self._tokens = Counter(
            "headrace_tokens_total", "Tokens by kind: input, output, cached (a part of input).",
            ("model", "kind"), registry=self.registry,
        )  # fmt: skip
        self._ttft = Histogram(
            "headrace_time_to_first_token_seconds",
            "From the request to the first byte of a streamed answer.",
            ("model",), buckets=TTFT_S, registry=self.registry,
        )  # fmt: skip
        self._itl = Histogram(
            "headrace_inter_token_latency_seconds",
            "Median pause between the chunks of one streamed answer.",
            ("model",), buckets=ITL_S, registry=self.registry,
        )  # fmt: skip
        self._total = Histogram(
            "headrace_request_duration_seconds", "From the request to the end of its answer.",
            ("model",), buckets=TOTAL_S, registry=self.registry,
        )  # fmt: skip
        self._dropped = Counter(
            "headrace_log_lines_dropped_total", "Log lines that could not be written in time.",
            registry=self.registry,
        )  # fmt: skip
        self._build = Gauge(
            "headrace_build_info", "Always 1; the version is in the label.", ("version",),
            registry=self.registry,
        )  # fmt: skip

    def version(self, version: str) -> None:
        """Export the program's version."""
        self._build.labels(version).set(1)

    def watch(self, gauges: Callable[[], "Gauges"]) -> None:
        """Read these values at every scrape."""
        self.registry.register(_Live(gauges))

    def observe(self, record: Record, gaps_ms: Sequence[float]) -> None:
        """Count a finished request; ``gaps_ms`` are its pauses between chunks, sorted."""
        model = record.served if record.served in self._models else UNKNOWN
        endpoint = record.endpoint if record.endpoint in self._endpoints else UNKNOWN
        self._requests.labels(model, endpoint, record.outcome).inc()
        self._total.labels(model).observe(record.total_ms / 1000)
        if record.attempts:
            self._attempts.labels(model).inc(record.attempts)
            self._tokens.labels(model, "input").inc(record.tokens_in)
            self._tokens.labels(model, "output").inc(record.tokens_out)
            self._tokens.labels(model, "cached").inc(record.tokens_cached)
        if record.ttft_ms is not None:
            self._ttft.labels(model).observe(record.ttft_ms / 1000)
        if gaps_ms:
            self._itl.labels(model).observe(gaps_ms[len(gaps_ms) // 2] / 1000)

    def dropped(self, lines: int) -> None:
        """Count log lines that were lost."""
        self._dropped.inc(lines)

    def render(self) -> bytes:
        """The text that Prometheus scrapes. Slow for a loop that relays; call it in a thread."""
        return generate_latest(self.registry)


# name -> (help, label name or "", values by label); with no label the key is "".
Gauges = dict[str, tuple[str, str, dict[str, float]]]


class _Live(Collector):
    """Values that are read when they are scraped, not kept."""

    def __init__(self, gauges: Callable[[], Gauges]) -> None:
        self._gauges = gauges

    def collect(self) -> list[GaugeMetricFamily]:
        families = []
        for name, (text, label, values) in self._gauges().items():
            family = GaugeMetricFamily(name, text, labels=[label] if label else [])
            for key, value in values.items():
                family.add_metric([key] if label else [], value)
            families.append(family)
        return families
