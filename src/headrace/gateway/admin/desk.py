"""
The admin API's part about rules and experiments: which rule a request would match, what the arms of
experiments have seen, and ramps. The rest of the API is in the files beside it.
"""

import time
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field

from headrace.errors import ApiError, StartError
from headrace.gateway.admin.absent import absent
from headrace.gateway.admin.audit import changed
from headrace.gateway.app import Gateway
from headrace.gateway.body.prompt import Prompts
from headrace.gateway.place.forecast import forecast
from headrace.gateway.rules.classes import words
from headrace.gateway.rules.rehearsal import Sample, rehearse, shown
from headrace.gateway.rules.trials import Running
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
    router, prompts = APIRouter(), Prompts(gateway.config.routing, gateway.pipeline.usher.rank)
    trials = gateway.steer.trials

    def find(name: str) -> Running:
        running = trials.running.get(name)
        if running is None:
            raise absent("experiment", name, trials.running)
        return running

    @router.post("/admin/route")
    async def route(question: Question) -> dict[str, Any]:
        book = gateway.steer.book or Rulebook(())
        sample, judged = _sample(question), None
        try:
            found = rehearse(book, gateway.catalogue, sample, trials.weights)
            if found.class_matters and gateway.classes is not None:
                judged = (await gateway.classes.explain(words(sample.body), 0)).verdict
                named = msgspec.structs.replace(sample, classified=judged.name)
                found = rehearse(book, gateway.catalogue, named, trials.weights)
        except ApiError as error:
            raise HTTPException(error.status, error.message) from None
        except StartError as error:  # there are no vectors
            raise HTTPException(503, str(error)) from None
        return {
            "version": book.version,
            "rules": len(book.rules),
            **shown(found),
            "judged": msgspec.to_builtins(judged),
            "pools": [
                forecast(gateway.placement, prompts, found, target) for target in found.targets
            ],
        }

    @router.get("/admin/experiments")
    async def read_experiments() -> dict[str, Any]:
        return {"experiments": [_experiment(each) for each in trials.running.values()]}

    @router.post("/admin/experiments/{name}/ramp")
    async def ramp(name: str, order: Ramp, request: Request) -> dict[str, Any]:
        names = [arm.name for arm in find(name).experiment.arms]
        if order.arm not in names:
            raise absent("arm", order.arm, names)
        changed(request, "experiment_ramped", f"{name}: {order.arm} {order.percent:g} %")
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
