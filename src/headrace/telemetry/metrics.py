"""
The metrics, each declared once. Label values come from the configuration, so clients cannot add
any.
"""

from bisect import bisect_left
from collections import Counter as TallyCounter
from collections.abc import Callable, Sequence
from itertools import accumulate

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from headrace.telemetry.records import Record

# From a cached prompt on a fast GPU (10 ms) to a queue behind a cold start (minutes).
TTFT_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120)
# From speculative decoding (2 ms) to a stalled batch.
ITL_S = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 5)
TOTAL_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)

UNKNOWN = "other"
# Tenants with series of their own; more of them share one.
MAX_TENANTS = 200


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
        self._believed = Counter(
            "headrace_predicted_cached_tokens_total",
            "Prompt tokens that routing believed to be cached.",
            ("model",), registry=self.registry,
        )  # fmt: skip
        for model in models:
            self._believed.labels(model)
        self._by_tenant = Counter(
            "headrace_tenant_requests_total", "Requests of a tenant by how they ended.",
            ("tenant", "outcome"), registry=self.registry,
        )  # fmt: skip
        self._tenant_tokens = Counter(
            "headrace_tenant_tokens_total", "Tokens of a tenant by kind: input, output, cached.",
            ("tenant", "kind"), registry=self.registry,
        )  # fmt: skip
        self._tenants: set[str] = set()  # with series of their own
        self._ttft = _Histogram(
            "headrace_time_to_first_token_seconds",
            "From the request to the first byte of a streamed answer.",
            TTFT_S,
        )
        self._itl = _Histogram(
            "headrace_inter_token_latency_seconds",
            "Median pause between the chunks of one streamed answer.",
            ITL_S,
        )
        self._total = _Histogram(
            "headrace_request_duration_seconds",
            "From the request to the end of its answer.",
            TOTAL_S,
        )
        for histogram in (self._ttft, self._itl, self._total):
            self.registry.register(histogram)
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
        believed: TallyCounter[str] = TallyCounter()
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
            if record.decision is not None and not record.estimated:
                believed[model] += record.decision.cached
            if record.served:
                self._total.observe(model, record.total_ms)
                self._ttft.observe(model, record.ttft_ms)
                self._itl.observe(model, record.itl_p50_ms)
            if record.tenant:
                self._count_tenant(record)
        for labels, count in outcomes.items():
            self._requests.labels(*labels).inc(count)
        for name, count in attempts.items():
            self._attempts.labels(name).inc(count)
        for name, count in believed.items():
            self._believed.labels(name).inc(count)
        for labels_of_kind, count in tokens.items():
            self._tokens.labels(*labels_of_kind).inc(count)

    def _count_tenant(self, record: Record) -> None:
        tenant = record.tenant
        if tenant not in self._tenants:
            if len(self._tenants) < MAX_TENANTS:
                self._tenants.add(tenant)
            else:
                tenant = UNKNOWN
        self._by_tenant.labels(tenant, record.outcome).inc()
        if record.attempts:
            self._tenant_tokens.labels(tenant, "input").inc(record.tokens_in)
            self._tenant_tokens.labels(tenant, "output").inc(record.tokens_out)
            self._tenant_tokens.labels(tenant, "cached").inc(record.tokens_cached)

    def dropped(self, lines: int) -> None:
        """Count log lines that were lost."""
        self._dropped.inc(lines)

    def render(self) -> bytes:
        """The text that Prometheus scrapes. Slow for a loop that relays; call it in a thread."""
        return generate_latest(self.registry)


class _Histogram(Collector):
    """
    Seconds by model. The library's own histogram takes three locks and a search from the front for
    each value, which is 3 % of what a request costs; this one is only ever fed by one thread.
    """

    def __init__(self, name: str, text: str, bounds: Sequence[float]) -> None:
        self._name = name
        self._text = text
        self._bounds = bounds
        self._labels = [*(str(float(bound)) for bound in bounds), "+Inf"]
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}

    def observe(self, model: str, value_ms: float | None) -> None:
        """Count a value; None only makes sure that the model is shown."""
        counts = self._counts.get(model)
        if counts is None:
            counts = self._counts[model] = [0] * len(self._labels)
            self._sums[model] = 0.0
        if value_ms is not None:
            seconds = value_ms / 1000
            counts[bisect_left(self._bounds, seconds)] += 1
            self._sums[model] += seconds

    def collect(self) -> list[HistogramMetricFamily]:
        family = HistogramMetricFamily(self._name, self._text, labels=["model"])
        for model, counts in [*self._counts.items()]:
            buckets = list(zip(self._labels, accumulate(counts), strict=True))
            family.add_metric([model], buckets, self._sums[model])
        return [family]


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
