"""
What a gateway sees of itself at this moment: the values of the live metrics, for a scrape and for
the history that `headrace why` reads. What requests left behind is telemetry's.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from headrace.fleet.load import LoadView
from headrace.fleet.registry import Fleet, Replica
from headrace.fleet.states import State
from headrace.fleet.ward import Ward
from headrace.gateway.door.client import Client
from headrace.gateway.door.request import Budget
from headrace.gateway.exchange import Exchange
from headrace.gateway.place.placement import Placement
from headrace.gateway.send.dispatch import RetryBudget
from headrace.telemetry.live import Values
from headrace.telemetry.metrics import MAX_TENANTS, UNKNOWN

PHASES = ("waiting", "first_byte", "streaming", "whole")

# What engines say of themselves: field of the load view -> metric.
ENGINE = {
    "running": "headrace_engine_running_requests",
    "waiting": "headrace_engine_waiting_requests",
    "kv_usage": "headrace_engine_kv_usage_ratio",
    "preemptions": "headrace_engine_preemptions_total",
    "prefix_queries": "headrace_engine_prefix_queries_total",
    "prefix_hits": "headrace_engine_prefix_hits_total",
    "prompt_tokens": "headrace_engine_prompt_tokens_total",
    "generation_tokens": "headrace_engine_generation_tokens_total",
    "first_tokens": "headrace_engine_first_tokens_total",
    "first_token_s": "headrace_engine_first_token_seconds_total",
    "finished": "headrace_engine_requests_total",
    "queue_s": "headrace_engine_queue_seconds_total",
    "prefill_s": "headrace_engine_prefill_seconds_total",
    "decode_s": "headrace_engine_decode_seconds_total",
    "lora_running": "headrace_engine_lora_running_adapters",
    "lora_waiting": "headrace_engine_lora_waiting_adapters",
    "lora_places": "headrace_engine_lora_adapter_places",
}


class Wards(Protocol):
    """Who knows how replicas are (the fleet's keeper)."""

    def ward(self, replica: Replica) -> Ward | None: ...


class Bill(Protocol):
    """Who knows what requests cost (the meter)."""

    def costs(self) -> Values: ...


class Sight:
    """Reads; changes nothing. Any thread may look."""

    def __init__(
        self,
        fleet: Fleet,
        placement: Placement,
        active: Collection[Exchange],
        clients: Collection[Client],
        wards: Wards,
        budget: RetryBudget,
    ) -> None:
        self._fleet = fleet
        self._placement = placement
        self._active = active
        self._clients = clients
        self._wards = wards
        self._budget = budget
        self._tenants: dict[str, None] = {}  # with series of their own
        self.bill: Bill | None = None
        self.held = Budget(0)  # the bytes of requests

    def forget(self, drop: Callable[[str], None]) -> None:
        """Have the series of replicas dropped that leave."""
        self._fleet.watch(
            lambda replica, step: drop(replica.name) if step.after is State.GONE else None
        )

    def look(self) -> dict[str, Values]:
        """The values of now by the names of ``telemetry.live.TABLE``."""
        present = tuple(self._fleet.replicas.values())
        seats = self._placement.models
        return {
            **self._running(),
            **self._held(),
            "headrace_slow_clients": {(): float(self.choked)},
            "headrace_decisions_total": {(m,): float(each.asked) for m, each in seats.items()},
            "headrace_decision_seconds_total": {(m,): each.took_s for m, each in seats.items()},
            "headrace_retry_budget": {(): float(self._budget.left)},
            "headrace_retries_refused_total": {(): float(self._budget.refused)},
            "headrace_replica_inflight_requests": {
                (r.name,): float(r.inflight_requests) for r in present
            },
            "headrace_replica_inflight_tokens": {
                (r.name,): float(r.inflight_tokens) for r in present
            },
            "headrace_replica_requests_total": {(r.name,): float(r.sent) for r in present},
            "headrace_replica_failures_total": {(r.name,): float(r.failures) for r in present},
            **self._of_wards(present),
            "headrace_cost_total": self.bill.costs() if self.bill is not None else {},
        }

    def meet(self, tenant: str) -> str:
        """The name that a tenant is shown by: its own, or that of all beyond ``MAX_TENANTS``."""
        if tenant not in self._tenants and len(self._tenants) >= MAX_TENANTS:
            tenant = UNKNOWN
        self._tenants.setdefault(tenant)
        return tenant

    @property
    def choked(self) -> int:
        """Clients that do not read what was written to them."""
        return sum(client.choked for client in tuple(self._clients))

    # --- below -----------------------------------------------------------------------------

    def _running(self) -> dict[str, Values]:
        counts: Counter[tuple[str, ...]] = Counter()
        for model in self._placement.models:
            counts.update(dict.fromkeys(((model, phase) for phase in PHASES), 0))
        tenants: Counter[str] = Counter(dict.fromkeys(self._tenants, 0))
        for exchange in tuple(self._active):
            if exchange.served in self._placement.models:
                counts[exchange.served, phase(exchange)] += 1
            if exchange.caller.tenant:
                tenants[self.meet(exchange.caller.tenant)] += 1
        return {
            "headrace_active_requests": {key: float(count) for key, count in counts.items()},
            "headrace_tenant_active_requests": {(t,): float(n) for t, n in tenants.items()},
        }

    def _held(self) -> dict[str, Values]:
        groups, seats = self._fleet.groups, self._placement.models
        return {
            "headrace_model_replicas": {
                (model,): float(len(group.replicas)) for model, group in groups.items()
            },
            "headrace_held_requests": {
                (model,): float(group.hold.requests) for model, group in groups.items()
            },
            "headrace_waiting_requests": {
                (model,): float(each.pool.waiting) for model, each in seats.items()
            },
            "headrace_index_blocks": {
                (replica,): blocks for replica, blocks in self._placement.held().items()
            },
            "headrace_client_connections": {(): float(len(self._clients))},
            "headrace_inflight_bytes": {(): float(self.held.used)},
        }

    def _of_wards(self, present: tuple[Replica, ...]) -> dict[str, Values]:
        silent: dict[tuple[str, ...], float] = {}
        checks: dict[tuple[str, ...], float] = {}
        skews: dict[tuple[str, ...], float] = {}
        views: dict[tuple[str, ...], LoadView] = {}
        for replica in present:
            ward = self._wards.ward(replica)
            if ward is None:
                continue
            silent[replica.name,] = ward.still_s
            if ward.probe.took_s:
                checks[replica.name,] = ward.probe.took_s
            if ward.probe.skew_s is not None:
                skews[replica.name,] = ward.probe.skew_s
            if ward.load is not None:
                views[replica.name,] = ward.load
        return {
            "headrace_replica_silent_seconds": silent,
            "headrace_health_check_seconds": checks,
            "headrace_replica_clock_skew_seconds": skews,
            **engines(views),
        }


def engines(views: Mapping[tuple[str, ...], LoadView]) -> dict[str, Values]:
    """What engines tell of themselves, by metric; nothing where an engine does not tell it."""
    return {
        metric: {
            name: value
            for name, view in views.items()
            if (value := getattr(view, field)) is not None
        }
        for field, metric in ENGINE.items()
    }


def phase(exchange: Exchange) -> str:
    """Where a request is that runs."""
    if exchange.lease is None:
        return "waiting"
    if exchange.first_at:
        return "streaming"
    return "first_byte" if exchange.facts.stream else "whole"
