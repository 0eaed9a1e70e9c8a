"""One simulated replica: vLLM's endpoints over one engine, and its faults' own endpoint."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import parse_qs

from pydantic import ValidationError

from headrace.config.simulator import Fault, Simulator
from headrace.engines.sim import embedding, process, requests, text
from headrace.engines.sim.ask import Answer, Refused, Wish, answer
from headrace.engines.sim.chat import Chat, Completion
from headrace.engines.sim.cost import Preset
from headrace.engines.sim.engine import Engine, Job, limits
from headrace.engines.sim.events import Events, Publisher
from headrace.engines.sim.faults import Faults, after, told
from headrace.engines.sim.messages import Messages
from headrace.engines.sim.render import Renderer
from headrace.engines.sim.responses import Responses
from headrace.engines.sim.scheduler import Limits, Sequence
from headrace.engines.sim.serving import Serving
from headrace.engines.sim.slumber import Slumber
from headrace.engines.sim.surface import Front
from headrace.engines.sim.tally import Tally
from headrace.engines.sim.vocabulary import Vocabulary
from headrace.engines.sim.voice import Turn, Voice, encode
from headrace.engines.sim.wire import Reply, Request

VERSION = "0.32.0"
METRICS = "text/plain; version=0.0.4; charset=utf-8"
# What a request is told that a limit of the queue refuses, in vLLM's words.
REFUSALS = {
    "max_num_queued_reqs": (
        "The engine is currently busy and cannot accept new requests."
        " Please try again later or on a different instance."
    ),
    "max_num_queued_tokens": (
        "The engine has reached its prefill token backlog limit."
        " Please try again later or on a different instance."
    ),
}
ENDING = "cannot schedule new futures after shutdown"  # what vLLM 0.32 says after SIGTERM
TIMER_S = 0.002  # a loop may call a millisecond before the time that was wanted
Endpoint = Callable[[Request, Reply], None]
Speaker = Callable[[Turn], Voice]


class Replica:
    """Answers requests; ``handle`` is called for each, and returns at once."""

    def __init__(
        self, settings: Simulator, preset: Preset, index: int = 0, renderer: Renderer | None = None
    ) -> None:
        loop = asyncio.get_running_loop()
        self._settings = settings
        self._loop = loop
        self._ids = random.Random(f"{settings.seed}/{index}")  # noqa: S311 - repeatable
        self._created = int(time.time())
        renderer = renderer or Renderer(Vocabulary())
        self._vocabulary = renderer.vocabulary
        self._stale: str | None = None
        self._ending = False
        self.faults = Faults(f"{settings.seed}/{index}", loop.time, self._faults_changed)
        self.tally = Tally(settings.model, settings.max_model_len)
        self.engine = Engine(
            preset, limits_of(settings, preset), loop, self.faults, self.tally, settings.speed
        )
        self._front = Front(settings.surface, self.engine, renderer)
        self._events = self._watched(index) if settings.surface.kv_events else None
        self._slumber = Slumber(self.engine, settings)
        self._routes = self._endpoints()
        for fault in settings.faults:
            if fault.replica in {None, index}:
                self.faults.add(fault)

    def handle(self, request: Request, reply: Reply) -> None:
        """Answer one request."""
        methods = self._routes.get(request.path)
        if methods is None:
            reply.whole(404, b'{"detail":"Not Found"}')
        elif request.method not in methods:
            allow = [("allow", ", ".join(methods))]
            reply.whole(405, b'{"detail":"Method Not Allowed"}', headers=allow)
        elif request.path != "/sim/faults" and self.faults.active("start"):
            self._refuse(
                request, reply, Refused("Starting.", status=503, kind="ServiceUnavailable")
            )
        else:
            try:
                methods[request.method](request, reply)
            except Refused as refused:
                self._refuse(request, reply, refused)

    def finish(self) -> None:
        """Take no new requests from now on, as vLLM does after SIGTERM; what it has goes on."""
        self._ending = True

    def close(self) -> None:
        """Publish nothing more."""
        if self._front.publisher is not None:
            self._front.publisher.close()

    def _watched(self, index: int) -> Events:
        """Publish what the cache holds."""
        first = self._settings.surface.kv_events_port
        publisher = Publisher(self._settings.host, first + index if first else 0)
        pieces = self.engine.limits.block_size // self._settings.surface.token_scale
        events = Events(publisher, pieces)
        self._front.publisher = publisher
        self.engine.scheduler.blocks.watcher = events
        self.engine.on_iteration = events.flush
        return events

    def _endpoints(self) -> dict[str, dict[str, Endpoint]]:
        return {
            "/v1/chat/completions": {"POST": self._generate(requests.chat, Chat)},
            "/v1/completions": {"POST": self._generate(requests.completion, Completion)},
            "/v1/responses": {"POST": self._generate(requests.responses, Responses)},
            "/v1/messages": {"POST": self._generate(requests.messages, Messages)},
            "/v1/messages/count_tokens": {"POST": self._count_tokens},
            "/v1/embeddings": {"POST": self._embed},
            "/v1/models": {"GET": self._models},
            "/tokenize": {"POST": self._tokenize},
            "/detokenize": {"POST": self._detokenize},
            "/health": {"GET": lambda _, reply: reply.whole(200, b"")},
            "/ping": dict.fromkeys(("GET", "POST"), lambda _, reply: reply.whole(200, b"")),
            "/version": {"GET": lambda _, reply: _say(reply, {"version": VERSION})},
            "/load": {"GET": self._load},
            "/metrics": {"GET": self._metrics},
            **self._slumber.endpoints(),
            "/sim/faults": {
                "GET": self._list_faults, "POST": self._add_fault, "DELETE": self._clear_faults,
            },
            **self._front.endpoints(self._model, self._identity),
        }  # fmt: skip

    def _identity(self) -> str:
        return f"{self._ids.getrandbits(64):016x}"

    # --- generation -------------------------------------------------------------------------------

    def _generate(self, read: Callable[[requests.Body], Wish], speaker: Speaker) -> Endpoint:
        def endpoint(request: Request, reply: Reply) -> None:
            fault = self.faults.for_request()
            if fault is not None and self._hit(fault, request, reply):
                return
            settings = self._settings
            wish = read(requests.parse(request.body))
            if settings.surface.token_scale > 1:
                wish = replace(wish, scale=settings.surface.token_scale)
            model = self._model(wish.model)
            found = answer(wish, settings.max_model_len, settings.seed, settings.answer_tokens)
            if self._slumber.hollow:
                found = replace(found, pieces=["!"] * len(found.pieces))
            self._admit()
            turn = Turn(
                id=self._identity(),
                created=int(time.time()),
                model=model,
                wish=wish,
                answer=found,
                details=settings.enable_prompt_tokens_details,
                surface=settings.surface,
            )
            serving = Serving(self.engine, self.faults, reply, turn, speaker(turn), fault)
            sequence = self._sequence(wish, found)
            sequence.session = request.headers.get("x-session-id")
            serving.start(Job(sequence, serving.on_token, found.limit, found.reason))

        return endpoint

    def _sequence(self, wish: Wish, found: Answer) -> Sequence:
        pieces = [*wish.prompt, *found.pieces]
        size = self.engine.limits.block_size // wish.scale  # of a block, in pieces
        sequence = Sequence(wish.prompt_tokens, found.tokens, text.Names(pieces, size, wish.salt))
        if self._events is not None:
            numbers = self._vocabulary.numbers
            sequence.tokens_of = lambda block: numbers(pieces[block * size : (block + 1) * size])
        return sequence

    def _admit(self) -> None:
        """Refuse what a limit of the queue does not let in; by default there are none."""
        if self._ending:
            raise Refused(ENDING, status=500, kind="InternalServerError")
        settings, engine = self._settings, self.engine
        requests_, tokens = settings.max_num_queued_reqs, settings.max_num_queued_tokens
        if requests_ is not None and engine.unfinished >= requests_:
            reason = "max_num_queued_reqs"
        elif tokens is not None and engine.queued_tokens() >= tokens:
            reason = "max_num_queued_tokens"
        else:
            return
        self.tally.refused[reason] += 1
        raise Refused(REFUSALS[reason], status=503, kind="Service Unavailable")

    def _hit(self, fault: Fault, request: Request, reply: Reply) -> bool:
        """Let the fault happen, if it happens before any token; whether it did."""
        if fault.kind == "stuck":
            self.engine.lost += 1
            reply.on_gone = self._found
        elif fault.kind == "reset" and after(fault) == 0:
            reply.reset()
        elif fault.kind == "error" and after(fault) == 0:
            raise Refused("Injected failure.", status=fault.status, kind="InternalServerError")
        elif fault.kind == "limit":
            refused = Refused("Injected limit.", status=429, kind="TooManyRequestsError")
            wait = [("retry-after", str(fault.retry_after_s))]
            reply.whole(429, encode(_error(request, refused)), headers=wait)
        else:
            return False
        return True

    def _found(self) -> None:
        self.engine.lost -= 1

    def _model(self, name: str | None) -> str:
        known = self._settings.model
        if name not in {None, known}:
            raise Refused(
                f"The model `{name}` does not exist. Valid aliases: {known}.",
                "model", 404, "NotFoundError",
            )  # fmt: skip
        return known

    def _refuse(self, request: Request, reply: Reply, refused: Refused) -> None:
        reply.whole(refused.status, encode(_error(request, refused)))

    def _count_tokens(self, request: Request, reply: Reply) -> None:
        wish = requests.messages(requests.parse(request.body), counting=True)
        self._model(wish.model)
        _say(reply, {"input_tokens": len(wish.prompt)})

    def _embed(self, request: Request, reply: Reply) -> None:
        fault = self.faults.for_request()
        if fault is not None and self._hit(fault, request, reply):
            return
        body = requests.parse(request.body)
        model = self._model(body.get("model"))
        id_ = f"embd-{self._ids.getrandbits(64):016x}"
        _say(reply, embedding.answer(body, model, id_, int(time.time())))

    # --- about the engine -------------------------------------------------------------------------

    def _models(self, _request: Request, reply: Reply) -> None:
        name = self._settings.model
        flags = {
            "allow_create_engine": False, "allow_sampling": True, "allow_logprobs": True,
            "allow_search_indices": False, "allow_view": True, "allow_fine_tuning": False,
        }  # fmt: skip
        permission = {
            "id": f"modelperm-{self._ids.getrandbits(64):016x}", "object": "model_permission",
            "created": self._created, **flags, "organization": "*", "group": None,
            "is_blocking": False,
        }  # fmt: skip
        card = {
            "id": name, "object": "model", "created": self._created, "owned_by": "vllm",
            "root": name, "parent": None, "max_model_len": self._settings.max_model_len,
            "permission": [permission],
        }  # fmt: skip
        _say(reply, {"object": "list", "data": [card]})

    def _tokenize(self, request: Request, reply: Reply) -> None:
        body = requests.parse(request.body)
        wish = requests.chat(body) if "messages" in body else requests.completion(body)
        self._model(wish.model)
        _say(reply, {
            "count": len(wish.prompt),
            "max_model_len": self._settings.max_model_len,
            "tokens": self._vocabulary.numbers(wish.prompt),
            "token_strs": wish.prompt if body.get("return_token_strs") else None,
        })  # fmt: skip

    def _detokenize(self, request: Request, reply: Reply) -> None:
        body = requests.parse(request.body)
        self._model(body.get("model"))
        _say(reply, {"prompt": self._vocabulary.text(body.get("tokens"))})

    def _load(self, _request: Request, reply: Reply) -> None:
        _say(reply, {"server_load": self.engine.running + self.engine.waiting})

    def _metrics(self, _request: Request, reply: Reply) -> None:
        page = self._page()
        if self.faults.active("stale"):
            self._stale = self._stale or page
            page = self._stale if self.faults.drawn("stale") else page
        else:
            self._stale = None
        reply.whole(200, page.encode(), METRICS)

    def _page(self) -> str:
        engine = self.engine
        return process.text() + self.tally.text(
            engine.gauges(), engine.counters(), cache_config(engine.limits)
        )

    # --- faults -----------------------------------------------------------------------------------

    def _list_faults(self, _request: Request, reply: Reply) -> None:
        _say(reply, {"faults": self.faults.all()})

    def _add_fault(self, request: Request, reply: Reply) -> None:
        try:
            fault = Fault.model_validate(requests.parse(request.body))
        except ValidationError as error:
            raise Refused(told(error)) from None
        self.faults.add(fault)
        _say(reply, {"faults": self.faults.all()})

    def _clear_faults(self, request: Request, reply: Reply) -> None:
        cleared = self.faults.clear(parse_qs(request.query).get("kind", [None])[0])
        _say(reply, {"cleared": cleared, "faults": self.faults.all()})

    def _faults_changed(self) -> None:
        """The engine may go on, or must not; also when a fault begins or ends by itself."""
        self._loop.call_soon(self._look)
        for moment in self.faults.changes_at():
            if moment > self._loop.time():
                self._loop.call_at(moment + TIMER_S, self._look)

    def _look(self) -> None:
        if self.faults.active("stale") and self._stale is None:
            self._stale = self._page()
        self.faults.thaw()
        self.engine.kick()


def limits_of(settings: Simulator, preset: Preset) -> Limits:
    """The engine's limits: the preset's, where the settings do not give their own."""
    return limits(
        preset,
        max_num_seqs=settings.max_num_seqs,
        max_num_batched_tokens=settings.max_num_batched_tokens,
        kv_tokens=settings.kv_tokens,
        block_size=settings.block_size,
        max_model_len=settings.max_model_len,
        enable_prefix_caching=settings.enable_prefix_caching,
    )


def cache_config(limits: Limits) -> dict[str, str]:
    """The labels of ``vllm:cache_config_info`` that say something here."""
    tokens = limits.num_gpu_blocks * limits.block_size
    return {
        "engine": "0",
        "block_size": str(limits.block_size),
        "cache_dtype": "auto",
        "enable_prefix_caching": str(limits.enable_prefix_caching),
        "gpu_memory_utilization": "0.92",
        "kv_cache_max_concurrency": f"{tokens / limits.max_model_len:.2f}",
        "kv_cache_size_tokens": str(tokens),
        "num_cpu_blocks": "None",
        "num_gpu_blocks": str(limits.num_gpu_blocks),
        "num_gpu_blocks_override": "None",
        "prefix_caching_hash_algo": "sha256",
        "sliding_window": "None",
    }


def _error(request: Request, refused: Refused) -> dict[str, object]:
    """The error in the endpoint's dialect."""
    if request.path.startswith("/v1/messages"):
        return {"type": "error", "error": {"type": refused.kind, "message": refused.message}}
    return refused.body()


def _say(reply: Reply, value: object) -> None:
    reply.whole(200, encode(value))
