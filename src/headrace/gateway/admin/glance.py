"""
The admin API's part for `headrace top`: replicas, models, tenants and requests of the last minute.

All of it is read from what the gateway holds anyway; a look costs a millisecond, a request nothing.
"""

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import takewhile
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from headrace import __version__
from headrace.fleet.health import Keeper
from headrace.fleet.registry import Replica
from headrace.gateway.app import RECORDS, Gateway
from headrace.gateway.clocks import now
from headrace.gateway.exchange import Exchange
from headrace.telemetry.records import Record, percentile

WINDOW_S = 60.0  # how far back requests that have ended are looked at
SHOWN = 20  # tenants and requests at most
RUNNING = "running"  # in the place of an outcome
# As the objectives of observability/ have it: what is not the clients' fault.
OURS = (
    "upstream_failed", "timed_out", "evicted", "rejected_overloaded", "rejected_internal",
    "rejected_queue_full", "rejected_deadline", "rejected_shed", "rejected_limits_lost",
    "rejected_unguarded",
)  # fmt: skip


class Pace(BaseModel):
    """What ended within the window: how many, how fast. Times are milliseconds."""

    requests: int
    failed: int = Field(description="Those that failed by the service's fault.")
    tokens_out: int
    ttft_p50_ms: float | None
    ttft_p99_ms: float | None


class ReplicaGlance(Pace):
    """A replica; ``running`` and below are what its engine said ``load_age_s`` ago."""

    name: str
    state: str
    reason: str
    models: list[str]
    inflight_requests: int
    inflight_tokens: int
    running: float | None = None
    waiting: float | None = None
    kv_usage: float | None = None
    generation_tokens: float | None = None
    load_age_s: float | None = None


class ModelGlance(BaseModel):
    """A model: who can answer, and who waits for room or for the first replica."""

    name: str
    replicas: int
    waiting: int
    held: int


class TenantGlance(Pace):
    """A tenant; empty is who did not say who he is."""

    name: str
    running: int
    tokens_in: int


class RequestGlance(BaseModel):
    """A request that runs, or one that has ended within the window."""

    request_id: str
    model: str
    tenant: str
    replica: str
    outcome: str = Field(description="`running`, or how it ended.")
    total_ms: float = Field(description="So far, while it runs.")
    ttft_ms: float | None
    tokens_out: int = Field(description="Chunks, while it runs.")


class Glance(Pace):
    """All of it at one moment; ``window_s`` is what the counts are of."""

    version: str
    at: datetime
    window_s: float
    running: int
    connections: int
    replicas: list[ReplicaGlance]
    models: list[ModelGlance]
    tenants: list[TenantGlance]
    slowest: list[RequestGlance]


def glance(gateway: Gateway) -> APIRouter:
    """The route of one gateway."""
    router = APIRouter()

    @router.get("/admin/top")
    async def read_top() -> Glance:
        return look(gateway, datetime.now(UTC))

    return router


def look(gateway: Gateway, at: datetime) -> Glance:
    """What is to be seen at this moment."""
    ended = recent(gateway.records, at)
    active = gateway.active
    by_replica: dict[str, list[Record]] = {}
    by_tenant: dict[str, list[Record]] = {}
    for record in ended:
        by_replica.setdefault(record.replica, []).append(record)
        by_tenant.setdefault(record.tenant, []).append(record)
    return Glance(
        version=__version__,
        at=at,
        window_s=span(ended, at),
        running=len(active),
        connections=len(gateway.clients),
        replicas=[
            _replica(each, gateway.keeper, by_replica.get(each.name, ()))
            for each in gateway.fleet.present
        ],
        models=[
            ModelGlance(
                name=name,
                replicas=len(group.replicas),
                waiting=gateway.placement.models[name].pool.waiting,
                held=group.hold.requests,
            )
            for name, group in gateway.fleet.groups.items()
        ],
        tenants=_tenants(by_tenant, active),
        slowest=_slowest(ended, active),
        **_pace(ended),
    )


def recent(records: Iterable[Record], at: datetime) -> list[Record]:
    """The records of the window; they are kept in the order in which requests ended."""
    newest_first = [*records][::-1]
    return [*takewhile(lambda each: (at - each.time).total_seconds() <= WINDOW_S, newest_first)][
        ::-1
    ]


def span(ended: Sequence[Record], at: datetime) -> float:
    """
    The seconds that the counts are of: the window, or less where so many requests ended that the
    first of the window are no longer known.
    """
    if len(ended) < RECORDS:
        return WINDOW_S
    return max(0.001, (at - ended[0].time).total_seconds())


def _pace(ended: Sequence[Record]) -> dict[str, Any]:
    ttft = sorted(each.ttft_ms for each in ended if each.ttft_ms is not None)
    return {
        "requests": len(ended),
        "failed": sum(each.outcome.startswith(OURS) for each in ended),
        "tokens_out": sum(each.tokens_out for each in ended),
        "ttft_p50_ms": percentile(ttft, 0.5),
        "ttft_p99_ms": percentile(ttft, 0.99),
    }


def _replica(replica: Replica, keeper: Keeper, ended: Sequence[Record]) -> ReplicaGlance:
    ward = keeper.ward(replica)
    found: dict[str, Any] = {}
    if ward is not None and ward.load is not None:
        load = ward.load
        found = {
            "running": load.running,
            "waiting": load.waiting,
            "kv_usage": load.kv_usage,
            "generation_tokens": load.generation_tokens,
            "load_age_s": round(time.monotonic() - ward.load_at, 3),
        }
    return ReplicaGlance(
        name=replica.name,
        state=replica.state,
        reason=replica.reason,
        models=[*replica.serves],
        inflight_requests=replica.inflight_requests,
        inflight_tokens=replica.inflight_tokens,
        **found,
        **_pace(ended),
    )


def _tenants(ended: dict[str, list[Record]], active: Sequence[Exchange]) -> list[TenantGlance]:
    running: dict[str, int] = dict.fromkeys(ended, 0)
    for exchange in active:
        running[exchange.caller.tenant] = running.get(exchange.caller.tenant, 0) + 1
    found = [
        TenantGlance(
            name=name,
            running=count,
            tokens_in=sum(each.tokens_in for each in ended.get(name, ())),
            **_pace(ended.get(name, ())),
        )
        for name, count in running.items()
    ]
    found.sort(key=lambda each: (-each.tokens_out - each.tokens_in, -each.running, each.name))
    return found[:SHOWN]


def _slowest(ended: Sequence[Record], active: Sequence[Exchange]) -> list[RequestGlance]:
    at = now()
    found = [
        RequestGlance(
            request_id=each.request_id,
            model=each.served or each.facts.model,
            tenant=each.caller.tenant,
            replica=each.replica.name if each.replica is not None else "",
            outcome=RUNNING,
            total_ms=round((at - each.started_at) * 1000, 1),
            ttft_ms=round((each.first_at - each.started_at) * 1000, 1) if each.first_at else None,
            tokens_out=each.forgotten + len(each.times),
        )
        for each in active
    ]
    found += [
        RequestGlance(
            request_id=each.request_id,
            model=each.served or each.model,
            tenant=each.tenant,
            replica=each.replica,
            outcome=each.outcome,
            total_ms=each.total_ms,
            ttft_ms=each.ttft_ms,
            tokens_out=each.tokens_out,
        )
        for each in sorted(ended, key=lambda record: -record.total_ms)[:SHOWN]
    ]
    return sorted(found, key=lambda each: -each.total_ms)[:SHOWN]
