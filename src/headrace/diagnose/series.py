"""
The series that a diagnosis reads: which metric each is, and the PromQL that shows it. The history
in the process and Prometheus give the very same ones. Pure.
"""

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Literal, NamedTuple

Key = tuple[str, tuple[str, ...]]
"""A series: its name here, and the values of its labels."""

ROUTABLE = ("ready", "degraded")
COMING = ("starting", "warming")
ASIDE = ("ejected", "warming")  # one that comes back is warmed up first
NOTHING: Mapping[str, tuple[str, ...]] = MappingProxyType({})


class Series(NamedTuple):
    """
    A metric, summed up by some labels; of counters the increase per second.

    ``only`` are the values of labels that count. ``foreign`` counters belong to an engine and do
    not start at 0 when they are first seen.
    """

    metric: str
    kind: Literal["gauge", "rate"]
    by: tuple[str, ...] = ()
    only: Mapping[str, tuple[str, ...]] = NOTHING
    foreign: bool = False

    def promql(self, window: str = "1m", *, selector: str = "", **labels: str) -> str:
        """The query that shows it; ``labels`` and a ``selector`` as text are further conditions."""
        only = {name: "|".join(values) for name, values in self.only.items()}
        conditions = [f'{name}=~"{value}"' for name, value in only.items()]
        conditions += [
            f'{name}{"=~" if value.endswith(".*") else "="}"{value}"'
            for name, value in labels.items()
            if value
        ]
        conditions += [selector] if selector else []
        metric = f"{self.metric}{{{','.join(conditions)}}}" if conditions else self.metric
        inner = metric if self.kind == "gauge" else f"rate({metric}[{window}])"
        by = f" by ({', '.join(self.by)})" if self.by else ""
        return f"sum{by} ({inner})"


def _histogram(name: str, prefix: str, *by: str) -> dict[str, Series]:
    """The sum and the count of a histogram."""
    return {
        f"{prefix}_sum": Series(f"headrace_{name}_sum", "rate", by),
        f"{prefix}_n": Series(f"headrace_{name}_count", "rate", by),
    }


def _engine(name: str, kind: Literal["gauge", "rate"]) -> Series:
    return Series(f"headrace_engine_{name}", kind, ("replica",), foreign=True)


TABLE: dict[str, Series] = {
    # --- a model's requests
    "ended": Series("headrace_requests_total", "rate", ("model", "outcome")),
    "attempts": Series("headrace_attempts_total", "rate", ("model",)),
    "tokens": Series("headrace_tokens_total", "rate", ("model", "kind")),
    "believed": Series("headrace_predicted_cached_tokens_total", "rate", ("model",)),
    **_histogram("queue_wait_seconds", "queue", "model"),
    **_histogram("time_to_first_token_seconds", "ttft", "model"),
    **_histogram("inter_token_latency_seconds", "itl", "model"),
    **_histogram("request_duration_seconds", "total", "model"),
    **_histogram("request_input_tokens", "input", "model"),
    **_histogram("request_output_tokens", "output", "model"),
    "active": Series("headrace_active_requests", "gauge", ("model", "phase")),
    "waiting": Series("headrace_waiting_requests", "gauge", ("model",)),
    "held": Series("headrace_held_requests", "gauge", ("model",)),
    "replicas": Series("headrace_model_replicas", "gauge", ("model",)),
    # --- replicas, as the gateway sees them
    "r_inflight": Series("headrace_replica_inflight_requests", "gauge", ("replica",)),
    "r_sent": Series("headrace_replica_requests_total", "rate", ("replica",)),
    "r_failed": Series("headrace_replica_failures_total", "rate", ("replica",)),
    "r_silent": Series("headrace_replica_silent_seconds", "gauge", ("replica",)),
    "r_check": Series("headrace_health_check_seconds", "gauge", ("replica",)),
    "r_unwell": Series("headrace_health_check_failures_total", "rate", ("replica",)),
    "r_skew": Series("headrace_replica_clock_skew_seconds", "gauge", ("replica",)),
    "r_age": Series("headrace_replica_load_age_seconds", "gauge", ("replica",)),
    "r_ready": Series("headrace_replica_state", "gauge", ("replica",), {"state": ROUTABLE}),
    "r_coming": Series("headrace_replica_state", "gauge", ("replica",), {"state": COMING}),
    "r_aside": Series("headrace_replica_state", "gauge", ("replica",), {"state": ASIDE}),
    "r_moves": Series(
        "headrace_replica_transitions_total", "rate", ("replica",), {"state": ("ejected",)}
    ),
    "r_ejected": Series("headrace_replica_ejections_total", "rate", ("replica", "cause")),
    "away": Series("headrace_replica_away", "gauge", ("replica", "state")),
    **_histogram("replica_time_to_first_token_seconds", "r_ttft", "replica"),
    **_histogram("replica_inter_token_latency_seconds", "r_itl", "replica"),
    # --- engines, as they tell
    "e_running": _engine("running_requests", "gauge"),
    "e_waiting": _engine("waiting_requests", "gauge"),
    "e_kv": _engine("kv_usage_ratio", "gauge"),
    "e_preempted": _engine("preemptions_total", "rate"),
    "e_queries": _engine("prefix_queries_total", "rate"),
    "e_hits": _engine("prefix_hits_total", "rate"),
    "e_prompt": _engine("prompt_tokens_total", "rate"),
    "e_made": _engine("generation_tokens_total", "rate"),
    "e_first_sum": _engine("first_token_seconds_total", "rate"),
    "e_first_n": _engine("first_tokens_total", "rate"),
    "e_ended": _engine("requests_total", "rate"),
    "e_queue_sum": _engine("queue_seconds_total", "rate"),
    "e_prefill_sum": _engine("prefill_seconds_total", "rate"),
    "e_decode_sum": _engine("decode_seconds_total", "rate"),
    "e_lora": _engine("lora_running_adapters", "gauge"),
    "e_lora_waiting": _engine("lora_waiting_adapters", "gauge"),
    "e_lora_places": _engine("lora_adapter_places", "gauge"),
    # --- tenants
    "t_ended": Series("headrace_tenant_requests_total", "rate", ("tenant", "outcome")),
    "t_tokens": Series("headrace_tenant_tokens_total", "rate", ("tenant", "kind")),
    "t_active": Series("headrace_tenant_active_requests", "gauge", ("tenant",)),
    # --- what looks at a request before it waits
    **_histogram("guard_seconds", "guard", "guard"),
    **_histogram("classification_seconds", "class"),
    "classified": Series("headrace_classifications_total", "rate", ("why",)),
    # --- the gateway itself
    **_histogram("event_loop_delay_seconds", "late"),
    "cpu": Series("process_cpu_seconds_total", "rate"),
    "slow": Series("headrace_slow_clients", "gauge"),
    "connections": Series("headrace_client_connections", "gauge"),
    "retries_refused": Series("headrace_retries_refused_total", "rate"),
    "decision_sum": Series("headrace_decision_seconds_total", "rate", ("model",)),
    "decision_n": Series("headrace_decisions_total", "rate", ("model",)),
    "ledger_up": Series("headrace_ledger_up", "gauge"),
    "ledger_lag": Series("headrace_ledger_lag_seconds", "gauge"),
    "state_up": Series("headrace_state_up", "gauge"),
    "state_errors": Series("headrace_state_errors_total", "rate"),
    **_histogram("state_operation_seconds", "state"),
}

METRICS: Mapping[str, tuple[str, ...]] = {
    metric: tuple(name for name, each in TABLE.items() if each.metric == metric)
    for metric in {each.metric for each in TABLE.values()}
}
"""The names here of each metric."""


class Use(NamedTuple):
    """
    How the values of a metric count for a series: the places of the labels that name it, and of
    those that must have one of some values.
    """

    name: str
    by: tuple[int, ...]
    only: tuple[tuple[int, tuple[str, ...]], ...]


@lru_cache(1024)
def uses(metric: str, labels: tuple[str, ...]) -> tuple[Use, ...]:
    """The series that a metric counts for; none of those that ask for a label that it lacks."""
    return tuple(
        Use(
            name,
            tuple(labels.index(label) for label in series.by),
            tuple((labels.index(label), values) for label, values in series.only.items()),
        )
        for name in METRICS.get(metric, ())
        if {*(series := TABLE[name]).by, *series.only} <= {*labels}
    )
