"""
The admin API's part about rules and experiments: which rule a request would match, what the arms of
experiments have seen, and ramps. The rest of the API is admin.py's.
"""

import time
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from headrace.errors import ApiError
from headrace.fleet.registry import Group
from headrace.gateway.app import Gateway
from headrace.gateway.rehearsal import Sample, rehearse, shown
from headrace.gateway.trials import Running
from headrace.routing.router import choose
from headrace.routing.rules import Rulebook


class Question(BaseModel):
    """A request that is not sent. ``body`` is its JSON as text; ``at`` is seconds since 1970."""

    model_config = ConfigDict(extra="forbid")

    body: str
    endpoint: str = "/v1/chat/completions"
    headers: dict[str, str] = Field(default_factory=dict)
    at: float | None = None
    request_id: str = "rehearsal"
    tenant: str = ""
    key: str = ""
    classified: str | None = None


class Ramp(BaseModel):
    """A new share for an arm."""

    model_config = ConfigDict(extra="forbid")

    arm: str
    percent: Annotated[float, Field(ge=0, le=100)]


def desk(gateway: Gateway) -> APIRouter:
    """The routes of one gateway."""
    router = APIRouter()
    trials = gateway.steer.trials

    def find(name: str) -> Running:
        running = trials.running.get(name)
        if running is None:
            known = ", ".join(trials.running) or "none"
            raise HTTPException(404, f"There is no experiment {name!r}; there are: {known}.")
        return running

    @router.post("/admin/route")
    async def route(question: Question) -> dict[str, Any]:
        book = gateway.steer.book or Rulebook(())
        try:
            found = rehearse(book, gateway.catalogue, _sample(question), trials.weights)
        except ApiError as error:
            raise HTTPException(error.status, error.message) from None
        return {
            "version": book.version,
            "rules": len(book.rules),
            **shown(found),
            "pools": [_pool(gateway.fleet.groups[target], target) for target in found.targets],
        }

    @router.get("/admin/experiments")
    async def read_experiments() -> dict[str, Any]:
        return {"experiments": [_experiment(each) for each in trials.running.values()]}

    @router.post("/admin/experiments/{name}/ramp")
    async def ramp(name: str, order: Ramp) -> dict[str, Any]:
        names = [arm.name for arm in find(name).experiment.arms]
        if order.arm not in names:
            known = ", ".join(names)
            raise HTTPException(404, f"There is no arm {order.arm!r}; there are: {known}.")
        return _experiment(trials.ramp(name, names.index(order.arm), order.percent))

    return router


def _sample(question: Question) -> Sample:
    return Sample(
        body=question.body.encode("utf-8", "surrogatepass"),
        at=time.time() if question.at is None else question.at,
        endpoint=question.endpoint,
        headers={
            name.lower().encode("latin-1", "replace"): value.encode("latin-1", "replace")
            for name, value in question.headers.items()
        },
        request_id=question.request_id,
        tenant=question.tenant,
        key=question.key,
        classified=question.classified,
    )


def _pool(group: Group, model: str) -> dict[str, Any]:
    """A pool now, and the replica that its next request would get."""
    decision = choose(group.names, group.loads, 0) if group.replicas else None
    return {
        "model": model,
        "replica": group.names[decision.index] if decision is not None else None,
        "reason": decision.reason if decision is not None else "it has no ready replica",
        "candidates": [
            {"replica": name, "inflight_tokens": load}
            for name, load in zip(group.names, group.loads, strict=True)
        ],
    }


def _experiment(running: Running) -> dict[str, Any]:
    experiment = running.experiment
    return {
        "name": experiment.name,
        "rule": running.rule,
        "by": experiment.by,
        "since": running.since,
        "alpha": experiment.guard.alpha,
        "arms": [_arm(running, index) for index in range(len(experiment.arms))],
    }


def _arm(running: Running, index: int) -> dict[str, Any]:
    arm, tally = running.experiment.arms[index], running.trial.tallies[index]
    alarm = running.alarms.get(index)
    return {
        "name": arm.name,
        "target": list(arm.target),
        "percent": round(running.percents[index], 3),
        "requests": tally.requests,
        "failed": tally.failed,
        "error_rate": tally.error_rate,
        "tokens_in": tally.tokens_in,
        "tokens_out": tally.tokens_out,
        "cost": tally.cost,
        "streams": tally.streams,
        "ttft_p50_ms": tally.ttft_ms(0.5),
        "ttft_p95_ms": tally.ttft_ms(0.95),
        "taken_out": msgspec.to_builtins(alarm) if alarm is not None else None,
        "versus_control": msgspec.to_builtins(running.compare(index)) if index else None,
    }
