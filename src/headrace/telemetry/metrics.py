"""
The metrics of requests, each declared once, and the registry of all others. Label values come from
the configuration, so clients cannot add any.
"""

from collections import Counter as TallyCounter
from collections.abc import Container, Iterator, Sequence
from operator import attrgetter

from prometheus_client import Counter, Gauge, disable_created_metrics
from prometheus_client.process_collector import ProcessCollector

from headrace.telemetry.columns import Column, Registry
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
        self.registry = Registry()
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

    def observe(self, records: Sequence[Record]) -> None:
        """
        Count finished requests; many at once, since finding a series costs more than adding, and
        what is alike is put together before anything is looked up.
        """
        alike: dict[tuple[str, str, str, str], list[Record]] = {}
        for record in records:
            kind = record.served, record.endpoint, record.outcome, record.tenant
            if kind in alike:
                alike[kind].append(record)
            else:
                alike[kind] = [record]
        tally = _Tally()
        served: dict[str, list[Record]] = {}
        for (name, path, outcome, tenant), group in alike.items():
            model = name if name in self._models else UNKNOWN
            endpoint = path if path in self._endpoints else UNKNOWN
            tally.add(model, endpoint, outcome, group)
            if name:
                served.setdefault(model, []).extend(group)
            if tenant:
                self._count_tenant(tenant, outcome, group)
        for model, group in served.items():
            self._histograms.observe(model, group)
        for counter, counts in (
            (self._requests, tally.outcomes), (self._attempts, tally.attempts),
            (self._believed, tally.believed), (self._tokens, tally.tokens),
            (self._bytes, tally.moved),
        ):  # fmt: skip
            for labels, count in counts.items():
                counter.labels(*labels).inc(count)

    def _count_tenant(self, tenant: str, outcome: str, group: Sequence[Record]) -> None:
        if tenant not in self._tenants:
            if len(self._tenants) < MAX_TENANTS:
                self._tenants.add(tenant)
            else:
                tenant = UNKNOWN
        self._by_tenant.labels(tenant, outcome).inc(len(group))
        sent = [each for each in group if each.attempts]
        if sent:
            for kind, count in _tokens(sent):
                self._tenant_tokens.labels(tenant, kind).inc(count)

    def dropped(self, lines: int) -> None:
        """Count log lines that were lost."""
        self._dropped.inc(lines)

    def forget(self, replica: str) -> None:
        """A replica has left: its series go, so that those of pods do not pile up."""
        self._histograms.forget(replica)

    def columns(self, wanted: Container[str]) -> Iterator[Column]:
        """The values of these metrics, many series at once; cheaper than their samples."""
        return self.registry.columns(wanted)

    def render(self, accept: str = "") -> Page:
        """
        What Prometheus scrapes, in the format that it accepts. Slow for a loop that relays; call it
        in a thread.
        """
        return self.scrape.page(accept)


class _Tally:
    """What requests add to the counters, by the values of their labels."""

    def __init__(self) -> None:
        self.outcomes: TallyCounter[tuple[str, ...]] = TallyCounter()
        self.attempts: TallyCounter[tuple[str, ...]] = TallyCounter()
        self.believed: TallyCounter[tuple[str, ...]] = TallyCounter()
        self.tokens: TallyCounter[tuple[str, ...]] = TallyCounter()
        self.moved: TallyCounter[tuple[str, ...]] = TallyCounter()

    def add(self, model: str, endpoint: str, outcome: str, group: Sequence[Record]) -> None:
        """Count requests that are alike in these."""
        self.outcomes[model, endpoint, outcome] += len(group)
        self.moved[model, "in"] += _sum(group, "bytes_in")
        self.moved[model, "out"] += _sum(group, "bytes_out")
        sent = [each for each in group if each.attempts]
        if sent:
            self.attempts[model,] += _sum(sent, "attempts")
            for kind, count in _tokens(sent):
                self.tokens[model, kind] += count
        believed = [
            each.decision.cached
            for each in group
            if each.decision is not None and not each.estimated
        ]
        if believed:
            self.believed[model,] += sum(believed)


def _tokens(group: Sequence[Record]) -> tuple[tuple[str, int], ...]:
    return (
        ("input", _sum(group, "tokens_in")),
        ("output", _sum(group, "tokens_out")),
        ("cached", _sum(group, "tokens_cached")),
    )


def _sum(group: Sequence[Record], field: str) -> int:
    return sum(map(attrgetter(field), group))
