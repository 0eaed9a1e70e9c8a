"""
The metrics, each declared once. Label values come from the configuration, so clients cannot add
any.
"""

from collections import Counter as TallyCounter
from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from headrace.telemetry.histograms import Histograms
from headrace.telemetry.records import Record
from headrace.telemetry.scrape import Page, Scrape

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
        self._bytes = Counter(
            "headrace_body_bytes_total", "Bytes of bodies by direction: in, out.",
            ("model", "direction"), registry=self.registry,
        )  # fmt: skip
        self._histograms = Histograms(self.registry)
        self.scrape = Scrape(self.registry)
        ProcessCollector(registry=self.registry)  # process_*, as of every Prometheus client
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
        moved: TallyCounter[tuple[str, str]] = TallyCounter()
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
            self._histograms.observe(model, record)
            moved[model, "in"] += record.bytes_in
            moved[model, "out"] += record.bytes_out
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
        for way, count in moved.items():
            self._bytes.labels(*way).inc(count)

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

    def forget(self, replica: str) -> None:
        """A replica has left: its series go, so that those of pods do not pile up."""
        self._histograms.forget(replica)

    def samples(self) -> Iterator[tuple[str, Mapping[str, str], float]]:
        """Name, labels and value of everything that a scrape would show, buckets apart."""
        for family in self.registry.collect():
            for sample in family.samples:
                if "le" not in sample.labels:
                    yield sample.name, sample.labels, sample.value

    def render(self, accept: str = "") -> Page:
        """
        What Prometheus scrapes, in the format that it accepts. Slow for a loop that relays; call it
        in a thread.
        """
        return self.scrape.page(accept)


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
