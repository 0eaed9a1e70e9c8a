"""
The endpoints that the gateway answers itself: the catalogue, liveness, readiness, metrics. What an
engine answers goes through the pipeline.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol
from urllib.parse import unquote

from headrace.admission.types import NOBODY, Caller
from headrace.config.backends import Model
from headrace.errors import ModelNotFound
from headrace.fleet.catalogue import Catalogue
from headrace.fleet.floor import Floor
from headrace.fleet.registry import Fleet
from headrace.gateway.answers import JSON, encode
from headrace.gateway.door.entrance import check_model
from headrace.gateway.door.request import Request
from headrace.gateway.door.routes import Endpoint
from headrace.telemetry.scrape import Page


class Asker(Protocol):
    """Whose request it is (``Client``): takes one whole answer, or none once it has left."""

    def answer(self, status: int, headers: bytes, body: bytes) -> None: ...


class Local:
    """
    Answers them. ``render`` makes the page of metrics, in a thread, for what is accepted;
    ``draining`` says whether the gateway takes no more.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        fleet: Fleet,
        floor: Floor,
        render: Callable[[str], Page],
        draining: Callable[[], bool],
    ) -> None:
        self._catalogue = catalogue
        self._fleet = fleet
        self._floor = floor
        self._render = render
        self._draining = draining
        self._created = int(time.time())  # of the models: OpenAI's clients want a number there
        self._scrapes: set[asyncio.Task[None]] = set()  # a loop keeps no task alive by itself

    def answer(self, endpoint: Endpoint, request: Request, client: Asker, headers: bytes) -> None:
        """
        Answer a request, with these headers too.

        Raises:
            ModelNotFound: the one model that is asked for is not declared.
            Forbidden: the caller may not use it.

        """
        request.drop()
        if endpoint.path == "/metrics":
            self._scrape(request, client, headers)
            return
        status, body = self._say(endpoint, request)
        retry = b"retry-after: 1\r\n" if status == 503 else b""
        client.answer(status, JSON + headers + retry, body)

    def _say(self, endpoint: Endpoint, request: Request) -> tuple[int, bytes]:
        """Status and body."""
        if endpoint.path == "/health":
            return 200, b'{"status":"ok"}'
        if endpoint.path == "/ready":
            return ready(self._floor, self._fleet, draining=self._draining())
        if endpoint.path == "/v1/models":
            return 200, models(self._catalogue, self._created, request.caller)
        name = unquote(request.path.removeprefix("/v1/models/"))
        return 200, model(self._catalogue, name, self._created, request.caller)

    def _scrape(self, request: Request, client: Asker, headers: bytes) -> None:
        accept = request.headers.get(b"accept", b"").decode("latin-1")
        task = asyncio.get_running_loop().create_task(self._show(client, headers, accept))
        self._scrapes.add(task)
        task.add_done_callback(self._scrapes.discard)

    async def _show(self, client: Asker, headers: bytes, accept: str) -> None:
        page = await asyncio.to_thread(self._render, accept)
        kind = b"content-type: %b\r\n" % page.content_type.encode()
        client.answer(200, kind + headers, page.text)


def models(catalogue: Catalogue, created: int, caller: Caller = NOBODY) -> bytes:
    """
    ``GET /v1/models``: what is declared and the caller may use, aliases too, whether or not a
    replica serves it now.
    """
    data = [
        _model(model, name, created)
        for model in catalogue.models
        for name in (model.name, *model.aliases)
        if caller.may_use(model.name, name)
    ]
    return encode({"object": "list", "data": data})


def model(catalogue: Catalogue, name: str, created: int, caller: Caller = NOBODY) -> bytes:
    """
    ``GET /v1/models/{model}``.

    Raises:
        ModelNotFound: it is not declared.
        Forbidden: the caller may not use it.

    """
    if not name:
        raise ModelNotFound("The request names no model.")
    check_model(caller, catalogue, name)
    return encode(_model(catalogue.resolve(name, caller), name, created))


def ready(floor: Floor, fleet: Fleet, *, draining: bool) -> tuple[int, bytes]:
    """
    ``GET /ready``: status and body. Not ready while draining.

    A declared model without replicas does not make the gateway unready: its requests are held, and
    a gateway taken out of rotation could not hold them. ``on_demand`` are those of them whose
    replica starts or wakes when it is asked for.
    """
    replicas = {model: len(group.replicas) for model, group in fleet.groups.items()}
    said: dict[str, object] = {"status": "draining" if draining else "ready", "replicas": replicas}
    if on_demand := floor.on_demand:
        said["on_demand"] = on_demand
    return 503 if draining else 200, encode(said)


def _model(model: Model, name: str, created: int) -> dict[str, object]:
    entry: dict[str, object] = {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "headrace",
        "root": model.name,
        "parent": None,
    }
    if model.context_length is not None:
        entry["max_model_len"] = model.context_length
    return entry
