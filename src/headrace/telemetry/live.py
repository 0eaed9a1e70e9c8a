"""
The table of metrics that are read where they live at every scrape, one row each, and the collector
that shows them. gateway/records/sight.py reads the values; what requests leave behind is counted
in metrics.py.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Literal, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from headrace.telemetry.columns import Column, Columnar

Values = Mapping[tuple[str, ...], float]
"""Values by the values of their labels, in the order of the row's labels; ``()`` with none."""


class Row(NamedTuple):
    """One metric; a counter's ``name`` ends in ``_total``."""

    name: str
    kind: Literal["gauge", "counter"]
    text: str
    labels: tuple[str, ...] = ()


_REPLICA = ("replica",)
_MODEL = ("model",)

TABLE = (
    # --- requests now
    Row("headrace_active_requests", "gauge",
        "Requests now, by phase: waiting, first_byte, streaming, whole.", ("model", "phase")),
    Row("headrace_tenant_active_requests", "gauge", "Requests of a tenant now.", ("tenant",)),
    Row("headrace_held_requests", "gauge",
        "Requests that wait for a model's first replica.", _MODEL),
    Row("headrace_waiting_requests", "gauge", "Requests that wait for room at a replica.", _MODEL),
    Row("headrace_inflight_bytes", "gauge", "Request bytes held in memory."),
    Row("headrace_client_connections", "gauge", "Open client connections."),
    Row("headrace_slow_clients", "gauge", "Clients that do not read what was written to them."),
    # --- routing and retries
    Row("headrace_decisions_total", "counter", "Times that routing looked for a place.", _MODEL),
    Row("headrace_decision_seconds_total", "counter", "Time that it took to look.", _MODEL),
    Row("headrace_retry_budget", "gauge", "Retries that may be made in a row now."),
    Row("headrace_retries_refused_total", "counter", "Retries that the budget did not allow."),
    Row("headrace_index_blocks", "gauge",
        "Blocks of prompts that a replica is believed to have cached.", _REPLICA),
    # --- replicas as the gateway sees them
    Row("headrace_model_replicas", "gauge", "Replicas that serve a model.", _MODEL),
    Row("headrace_replica_inflight_requests", "gauge", "Requests at a replica.", _REPLICA),
    Row("headrace_replica_inflight_tokens", "gauge", "Estimated tokens at a replica.", _REPLICA),
    Row("headrace_replica_requests_total", "counter", "Requests sent to a replica.", _REPLICA),
    Row("headrace_replica_failures_total", "counter",
        "Requests that failed by a replica's fault.", _REPLICA),
    Row("headrace_replica_silent_seconds", "gauge",
        "For how long a replica with requests has shown no sign of progress.", _REPLICA),
    Row("headrace_health_check_seconds", "gauge",
        "What a replica took to answer its latest good probe.", _REPLICA),
    Row("headrace_replica_clock_skew_seconds", "gauge",
        "How far a replica's clock is before ours, by the date of its latest answer to a probe.",
        _REPLICA),
    # --- engines, as they told when they were last read
    Row("headrace_engine_running_requests", "gauge", "Requests in an engine's batch.", _REPLICA),
    Row("headrace_engine_waiting_requests", "gauge", "Requests in an engine's queue.", _REPLICA),
    Row("headrace_engine_kv_usage_ratio", "gauge",
        "Share of an engine's KV cache that requests hold, 0 to 1.", _REPLICA),
    Row("headrace_engine_preemptions_total", "counter",
        "Requests that an engine put back for want of KV cache.", _REPLICA),
    Row("headrace_engine_prefix_queries_total", "counter",
        "Prompt tokens that an engine looked up in its prefix cache.", _REPLICA),
    Row("headrace_engine_prefix_hits_total", "counter",
        "Prompt tokens that an engine found there.", _REPLICA),
    Row("headrace_engine_prompt_tokens_total", "counter", "Prompt tokens of an engine.", _REPLICA),
    Row("headrace_engine_generation_tokens_total", "counter",
        "Tokens that an engine has made.", _REPLICA),
    Row("headrace_engine_first_tokens_total", "counter",
        "Requests that an engine gave a first token.", _REPLICA),
    Row("headrace_engine_first_token_seconds_total", "counter",
        "Time of these requests from their arrival at the engine to that token.", _REPLICA),
    Row("headrace_engine_requests_total", "counter", "Requests that an engine ended.", _REPLICA),
    Row("headrace_engine_queue_seconds_total", "counter",
        "Time of an engine's requests in its queue.", _REPLICA),
    Row("headrace_engine_prefill_seconds_total", "counter",
        "Time of an engine's requests from the queue to the first token.", _REPLICA),
    Row("headrace_engine_decode_seconds_total", "counter",
        "Time of an engine's requests from the first token to the last.", _REPLICA),
    Row("headrace_engine_lora_running_adapters", "gauge",
        "LoRA adapters that an engine's batch has requests of.", _REPLICA),
    Row("headrace_engine_lora_waiting_adapters", "gauge",
        "LoRA adapters whose requests wait in an engine.", _REPLICA),
    Row("headrace_engine_lora_adapter_places", "gauge",
        "LoRA adapters that fit into one batch of an engine.", _REPLICA),
    # --- money
    Row("headrace_cost_total", "counter",
        "What requests cost by the price book, in its currency.", ("model", "currency")),
)  # fmt: skip

Look = Callable[[], Mapping[str, Values]]
"""Gives the values of now by the names of the table."""


class LiveMetrics(Columnar):
    """Shows the table at every scrape; what ``look`` does not give has no samples."""

    def __init__(self, registry: CollectorRegistry, look: Look) -> None:
        self._look = look
        registry.register(self)

    def collect(self) -> list[GaugeMetricFamily | CounterMetricFamily]:
        found = self._look()
        families = []
        for row in TABLE:
            kind = CounterMetricFamily if row.kind == "counter" else GaugeMetricFamily
            family = kind(row.name, row.text, labels=row.labels)
            for labels, value in found.get(row.name, {}).items():
                family.add_metric(labels, value)
            families.append(family)
        return families

    def columns(self) -> Iterator[Column]:
        found = self._look()
        for row in TABLE:
            yield Column(row.name, row.labels, found.get(row.name, {}))
