"""
Endpoints that routers ask of replicas beside the API: rendered prompts, load, where KV events are.

Also ``/sim/pace``: whether the simulated engine keeps its own time, which a benchmark must know.
"""

from collections.abc import Callable

from headrace.config.surface import Surface
from headrace.engines.sim import requests
from headrace.engines.sim.engine import Engine
from headrace.engines.sim.events import Publisher
from headrace.engines.sim.render import Read, Renderer, rendered
from headrace.engines.sim.voice import encode
from headrace.engines.sim.wire import Reply, Request

Endpoint = Callable[[Request, Reply], None]
Model = Callable[[str | None], str]  # the model's name; refuses unknown ones
Identity = Callable[[], str]


class Front:
    """These endpoints of one replica."""

    def __init__(self, settings: Surface, engine: Engine, renderer: Renderer) -> None:
        self._settings = settings
        self._engine = engine
        self._renderer = renderer
        self.publisher: Publisher | None = None

    def endpoints(self, model: Model, identity: Identity) -> dict[str, dict[str, Endpoint]]:
        """By path and method; ``identity`` draws the number of a request."""
        chat, completion = requests.chat, requests.completion
        found: dict[str, dict[str, Endpoint]] = {
            "/v1/chat/completions/render": {
                "POST": self._render(chat, model, identity, b"%b", "chatcmpl")
            },
            "/v1/completions/render": {
                "POST": self._render(completion, model, identity, b"[%b]", "cmpl")
            },
            "/kv_event_sources": {"GET": self._sources},
            "/sim/pace": {"GET": self._pace},
        }
        if self._settings.get_load != "none":
            found["/get_load"] = {"GET": self._load}
        return found

    def _render(
        self, read: Read, model: Model, identity: Identity, form: bytes, prefix: str
    ) -> Endpoint:
        def endpoint(request: Request, reply: Reply) -> None:
            wish, numbers = self._renderer.render(read, request.body)
            name = model(wish.model)
            reply.whole(200, form % rendered(f"{prefix}-{identity()}", name, wish, numbers))

        return endpoint

    def _sources(self, _request: Request, reply: Reply) -> None:
        publisher = self.publisher
        reply.whole(200, encode({} if publisher is None else {"0": publisher.source()}))

    def _load(self, _request: Request, reply: Reply) -> None:
        engine = self._engine
        count = engine.running + engine.waiting
        if self._settings.get_load == "object":
            reply.whole(200, encode({"load": count}))
            return
        tokens = engine.scheduler.blocks.used * engine.limits.block_size
        load = {
            "dp_rank": 0,
            "num_reqs": count,
            "num_waiting_reqs": engine.waiting,
            "num_tokens": tokens,
        }
        reply.whole(200, encode([load]))

    def _pace(self, _request: Request, reply: Reply) -> None:
        pace = self._engine.pace
        found = {
            "iterations": pace.iterations,
            "busy_s": pace.busy_s,
            "late_s": pace.late_s,
            "late_most_s": pace.late_most_s,
            "lost_s": pace.lost_s,
        }
        reply.whole(200, encode(found))
