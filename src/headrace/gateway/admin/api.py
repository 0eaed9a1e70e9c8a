"""
The admin API: what the fleet is doing, and drain and undrain. Its listener is annex.py's.

FastAPI, since nobody counts microseconds here. Imported only when the API is opened.
"""

import hmac
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException as HttpError

from headrace import __version__
from headrace.admission.types import Caller
from headrace.config.fleet import LOOPBACK, Admin
from headrace.fleet.floor import Away, Floor, Why
from headrace.fleet.health import Keeper
from headrace.fleet.registry import Fleet, Replica
from headrace.fleet.states import ROUTABLE, State, Transition
from headrace.gateway.admin.absent import absent
from headrace.gateway.admin.audit import changed
from headrace.telemetry.queue import ClassSeen

MAX_DEADLINE_S = 86_400.0

Next = Callable[[Request], Awaitable[Response]]
Admits = Callable[[bytes], Caller | None]
"""Gives who has this key, if it has the admin scope."""
Queues = Callable[[], Mapping[tuple[str, str], ClassSeen]]
"""What waits now, by model and class."""


class Load(BaseModel):
    """What the engine said about itself ``age_s`` ago. Tokens are totals since its start."""

    age_s: float
    running: float
    waiting: float
    kv_usage: float
    prefix_queries: float
    prefix_hits: float
    prompt_tokens: float
    generation_tokens: float
    preemptions: float
    block_size: int | None
    blocks: int | None
    loras_running: list[str]
    loras_waiting: list[str]
    max_loras: int | None


class Step(BaseModel):
    """A transition. ``before`` is null for the birth."""

    before: State | None
    after: State
    reason: str
    at: datetime


class ReplicaView(BaseModel):
    """A replica now."""

    name: str
    url: str
    serves: list[str]
    state: State
    reason: str
    since: datetime
    routable: bool
    inflight_requests: int
    inflight_tokens: int
    sent: int = Field(description="Requests sent to it, ever.")
    failures: int = Field(description="Of them, those that failed by its fault.")
    penalty_tokens: int = Field(description="What slow start adds to its load in routing's eyes.")
    cache: Literal["exact", "approximate"] = Field(
        description="How routing knows what its cache holds: by its KV events, or by a model."
    )
    ejected_for_s: float | None
    drain_left_s: float | None
    load: Load | None


class ReplicaLife(ReplicaView):
    """A replica with its latest transitions, oldest first."""

    history: list[Step]


class AwayView(BaseModel):
    """A replica of an engine of ours that is not in the fleet now."""

    name: str
    serves: list[str]
    state: Why
    reason: str
    since: datetime


class QueueView(BaseModel):
    """What waits for room in one class: requests, bytes, tokens with those of the answers."""

    requests: int
    bytes: int
    tokens: int


class FleetView(BaseModel):
    """
    All replicas, how many each model can be answered by, and how many requests wait for its first.
    """

    version: str
    models: dict[str, int]
    waiting: dict[str, int]
    queues: dict[str, dict[str, QueueView]] = Field(
        description="By model and class, what waits for room at its replicas."
    )
    on_demand: list[str] = Field(description="Models at zero; a replica starts when asked.")
    replicas: list[ReplicaView]
    away: list[AwayView]


class Drain(BaseModel):
    """How long running requests may take; then they are ended."""

    model_config = ConfigDict(extra="forbid")

    deadline_s: Annotated[float, Field(ge=0, le=MAX_DEADLINE_S)] = 30.0


class Undrain(BaseModel):
    """Nothing to say."""

    model_config = ConfigDict(extra="forbid")


def build(
    fleet: Fleet,
    keeper: Keeper,
    config: Admin,
    floor: Floor,
    *more: APIRouter,
    admits: Admits = lambda _: None,
    queues: Queues = dict,
) -> FastAPI:
    """The API of one gateway; ``more`` are the parts that have files of their own."""
    app = FastAPI(title="Headrace admin API", version=__version__, docs_url=None, redoc_url=None)

    def find(name: str) -> Replica:
        replica = fleet.replicas.get(name)
        if replica is None:
            raise absent("replica", name, fleet.replicas)
        return replica

    @app.get("/admin/fleet")
    async def read_fleet() -> FleetView:
        return FleetView(
            version=__version__,
            models={model: len(group.replicas) for model, group in fleet.groups.items()},
            waiting={model: group.hold.requests for model, group in fleet.groups.items()},
            queues=_queues(queues()),
            on_demand=floor.on_demand,
            replicas=[ReplicaView(**_fields(each, keeper)) for each in fleet.present],
            away=[_away(each) for each in floor.away],
        )

    @app.post("/admin/fleet/{name:path}/drain", status_code=202)
    async def drain(name: str, order: Drain, request: Request) -> ReplicaLife:
        find(name)
        changed(request, "replica_drained", name)
        return _life(fleet.drain(name, order.deadline_s), keeper)

    @app.post("/admin/fleet/{name:path}/undrain", status_code=202)
    async def undrain(name: str, _order: Undrain, request: Request) -> ReplicaLife:
        find(name)
        changed(request, "replica_undrained", name)
        return _life(fleet.undrain(name), keeper)

    @app.get("/admin/fleet/{name:path}")
    async def read_replica(name: str) -> ReplicaLife:
        return _life(find(name), keeper)

    for router in more:
        app.include_router(router)
    app.add_exception_handler(HttpError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.middleware("http")(_Guard(config, admits))
    return app


class _Guard:
    """
    Lets in who has the token or a key with the admin scope; without a token, who is on this machine
    and no other site's page, too. ``request.state.admin`` says who it is, empty for the latter.

    A page that a browser shows may send requests here as well, but not with a foreign Host once
    its name points here (DNS rebinding), nor JSON without asking first, which nothing allows.
    """

    def __init__(self, config: Admin, admits: Admits) -> None:
        self._admits = admits
        token = config.token
        self._token = token.get_secret_value().encode() if token is not None else None
        self._hosts = LOOPBACK | {config.host}

    async def __call__(self, request: Request, call_next: Next) -> Response:
        request.state.admin = self._who(request)
        if request.state.admin:
            pass
        elif self._token is not None:
            return refusal(401, "The admin API needs its bearer token (`admin.token`).")
        elif (request.url.hostname or "") not in self._hosts:
            return refusal(403, "Without a token the admin API answers this machine's names only.")
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if request.method == "POST" and kind != "application/json":
            return refusal(415, "Send the body as application/json; `{}` will do.")
        return await call_next(request)

    def _who(self, request: Request) -> str:
        """Who has shown a token or a key; empty for nobody."""
        given = request.headers.get("authorization", "").encode("latin-1", "replace")
        if self._token is not None and hmac.compare_digest(given, b"Bearer " + self._token):
            return "admin token"
        caller = self._admits(given.removeprefix(b"Bearer ")) if given else None
        return f"key {caller.key}" if caller is not None else ""


def _queues(seen: Mapping[tuple[str, str], ClassSeen]) -> dict[str, dict[str, QueueView]]:
    found: dict[str, dict[str, QueueView]] = {}
    for (model, name), each in seen.items():
        view = QueueView(requests=each.requests, bytes=each.body, tokens=round(each.tokens))
        found.setdefault(model, {})[name] = view
    return found


def _away(away: Away) -> AwayView:
    return AwayView(
        name=away.name,
        serves=[*away.models],
        state=away.state,
        reason=away.reason,
        since=away.since,
    )


def _life(replica: Replica, keeper: Keeper) -> ReplicaLife:
    return ReplicaLife(
        **_fields(replica, keeper), history=[_step(step) for step in replica.history]
    )


def _step(step: Transition) -> Step:
    return Step(before=step.before, after=step.after, reason=step.reason, at=step.at)


def _fields(replica: Replica, keeper: Keeper) -> dict[str, Any]:
    now, ward = time.monotonic(), keeper.ward(replica)
    ejected_s = ward.sentence.until - now if ward and replica.state is State.EJECTED else None
    drains = replica.state is State.DRAINING and replica.drain_at < math.inf
    return {
        "name": replica.name,
        "url": replica.backend.url,
        "serves": [*replica.serves],
        "state": replica.state,
        "reason": replica.reason,
        "since": replica.since,
        "routable": replica.state in ROUTABLE,
        "inflight_requests": replica.inflight_requests,
        "inflight_tokens": replica.inflight_tokens,
        "sent": replica.sent,
        "failures": replica.failures,
        "penalty_tokens": replica.penalty,
        "cache": replica.cache,
        "ejected_for_s": round(max(0.0, ejected_s), 1) if ejected_s is not None else None,
        "drain_left_s": round(max(0.0, replica.drain_at - now), 1) if drains else None,
        "load": _load(replica, keeper, now),
    }


def _load(replica: Replica, keeper: Keeper, now: float) -> Load | None:
    ward = keeper.ward(replica)
    if ward is None or ward.load is None:
        return None
    view, lora = ward.load, ward.load.lora
    return Load(
        age_s=round(now - ward.load_at, 2),
        running=view.running,
        waiting=view.waiting,
        kv_usage=view.kv_usage,
        prefix_queries=view.prefix_queries,
        prefix_hits=view.prefix_hits,
        prompt_tokens=view.prompt_tokens,
        generation_tokens=view.generation_tokens,
        preemptions=view.preemptions,
        block_size=view.block_size,
        blocks=view.blocks,
        loras_running=[*lora.running] if lora else [],
        loras_waiting=[*lora.waiting] if lora else [],
        max_loras=lora.max_adapters if lora else None,
    )


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HttpError)  # noqa: S101 - the handler is registered for no other
    return refusal(error.status_code, str(error.detail), error.headers)  # Allow, for a 405


async def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - likewise
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "body")
    return refusal(422, f"{place or 'The body'}: {first['msg']}.")


def refusal(status: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An error in the one shape, OpenAI's."""
    code = HTTPStatus(status).name.lower()
    inner = {"message": message, "type": "admin_error", "param": None, "code": code}
    return JSONResponse({"error": inner}, status, headers)
