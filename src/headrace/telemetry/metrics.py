"""
The metrics, each declared once. Label values come from the configuration, so clients cannot add
any.
"""

from collections import Counter as TallyCounter
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
        self._times: dict[str, tuple[Histogram, ...]] = {}
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

    def observe(self, records: Sequence[Record]) -> None:
        """Count finished requests; many at once, since finding a series costs more than adding."""
        outcomes: TallyCounter[tuple[str, str, str]] = TallyCounter()
        attempts: TallyCounter[str] = TallyCounter()
        tokens: TallyCounter[tuple[str, str]] = TallyCounter()
        for record in records:
            model = record.served if record.served in self._models else UNKNOWN
            endpoint = record.endpoint if record.endpoint in self._endpoints else UNKNOWN
            outcomes[model, endpoint, record.outcome] += 1
            if record.attempts:
                attempts[model] += record.attempts
                tokens[model, "input"] += record.tokens_in
                tokens[model, "output"] += record.tokens_out
                tokens[model, "cached"] += record.tokens_cached
            if record.served:
                self._observe_times(model, record)
        for labels, count in outcomes.items():
            self._requests.labels(*labels).inc(count)
        for name, count in attempts.items():
            self._attempts.labels(name).inc(count)
        for labels_of_kind, count in tokens.items():
            self._tokens.labels(*labels_of_kind).inc(count)

    def _observe_times(self, model: str, record: Record) -> None:
        times = self._times.get(model)
        if times is None:
            histograms = (self._total, self._ttft, self._itl)
            times = self._times[model] = tuple(h.labels(model) for h in histograms)
        total, ttft, itl = times
        total.observe(record.total_ms / 1000)
        if record.ttft_ms is not None:
            ttft.observe(record.ttft_ms / 1000)
        if record.itl_p50_ms is not None:
            itl.observe(record.itl_p50_ms / 1000)

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
