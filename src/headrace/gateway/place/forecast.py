"""
Which replica a request that is not sent would get now, and at what cost at each. Which rule it
would match is rehearsal.py's.
"""

from typing import Any

from headrace.gateway.body.prompt import Prompts
from headrace.gateway.clocks import now
from headrace.gateway.door.request import Budget, Request
from headrace.gateway.door.routes import find
from headrace.gateway.exchange import Exchange
from headrace.gateway.place.placement import Placement
from headrace.gateway.rules.rehearsal import Rehearsed
from headrace.routing.decision import Decision
from headrace.routing.preview import preview
from headrace.routing.terms import CACHED, COST, INFLIGHT
from headrace.telemetry.records import Record
from headrace.types import RequestFacts

NO_REPLICA = "it has no ready replica"
WAITS = "it would wait for room at one"


class _Nobody:
    """Hears nothing of a request that never ends."""

    def settled(self, exchange: Exchange, record: Record) -> None: ...


def forecast(
    placement: Placement, prompts: Prompts, found: Rehearsed, model: str
) -> dict[str, Any]:
    """A pool now, as plain values: the replica, the reason, and all candidates (cost in ms)."""
    seats = placement.models[model]
    if not seats.pool.lanes:
        return {"model": model, "replica": None, "reason": NO_REPLICA, "candidates": []}
    ask = prompts.full(_exchange(found, model), found.body, seats.density)
    ask.policy = found.policy
    decision = preview(seats.pool, ask, now())
    lanes = seats.pool.lanes
    return {
        "model": model,
        "replica": decision.replica if decision is not None else None,
        "reason": decision.reason if decision is not None else WAITS,
        "candidates": [_candidate(decision, index, lane.name) for index, lane in enumerate(lanes)],
    }


def _candidate(decision: Decision | None, index: int, name: str) -> dict[str, Any]:
    if decision is None or not decision.terms:
        return {"replica": name, "cost_ms": None, "cached_tokens": None, "inflight": None}
    terms = decision.terms[index]
    return {
        "replica": name,
        "cost_ms": round(terms[COST], 1),
        "cached_tokens": round(terms[CACHED]),
        "inflight": terms[INFLIGHT],
    }


def _exchange(found: Rehearsed, model: str) -> Exchange:
    """The request as routing gets it; nobody waits for its answer."""
    facts = found.facts
    request = Request("POST", facts.endpoint.encode("ascii"), {**facts.headers}, Budget(0))
    client: Any = None
    endpoint = find("POST", facts.endpoint)
    exchange = Exchange(request, client, endpoint, facts.request_id, _Nobody())
    exchange.served = model
    exchange.facts = RequestFacts(
        model=facts.model,
        endpoint=facts.endpoint,
        stream=facts.stream,
        prompt_tokens=facts.prompt_tokens,
    )
    return exchange
