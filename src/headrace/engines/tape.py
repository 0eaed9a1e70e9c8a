"""
Recording and replaying: small engines on loopback, between the gateway and where answers come from.

They are there only when they are asked for, so that the gateway's own path knows nothing of them.
The form of a recording is cassette.py's.
"""

import asyncio
import json
import re
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp import web

from headrace.config.backends import Backend, Model
from headrace.engines import cassette
from headrace.engines.cassette import SHOWN, Cassette, Chunk, Question
from headrace.engines.child import HOST
from headrace.engines.remote import authorization, verify
from headrace.engines.roster import Log
from headrace.errors import StartError

BODY_BYTES = 1024 * 1024 * 1024  # the gateway has its own limit in front
# Ends of a connection, and what we say ourselves.
NOT_FORWARDED = frozenset({
    "host", "connection", "keep-alive", "transfer-encoding", "content-length", "authorization",
    "te", "trailer", "upgrade", "proxy-authorization", "proxy-authenticate",
})  # fmt: skip
# Answers that say something about the moment, not about the request.
PASSING = frozenset({401, 403, 408, 425, 429})
# Questions of machines, which no application asks.
PROBE = "headrace"  # the user agent of the fleet's own requests
# By which the streams of chat, messages and responses say that they are over.
_LAST_EVENT = re.compile(
    rb"^(?:data: ?\[DONE\]|event: ?(?:message_stop|response\.(?:completed|failed|incomplete)))",
    re.MULTILINE,
)
UNRECORDED = frozenset({"/health", "/metrics", "/version", "/v1/models", "/ping", "/load"})


def listener() -> socket.socket:
    """A loopback port of our own; connections wait in it until somebody serves it."""
    bound = socket.socket()
    bound.bind((HOST, 0))
    bound.listen(1024)
    bound.setblocking(False)
    return bound


@dataclass(frozen=True, slots=True)
class Taped:
    """What was asked, who was asked, and what has come of the answer."""

    body: bytes
    backend: Backend
    chunks: list[Chunk] = field(default_factory=list)


class Recorder:
    """Passes requests on, and keeps each whole answer in a file of ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log: Log | None = None
        self._backends: dict[int, Backend] = {}
        self._waiting: list[socket.socket] = []
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StartError(f"The folder {folder} cannot be made: {error.strerror}.") from None

    def front(self, backend: Backend) -> Backend:
        """The same backend through this recorder, which keeps its key to itself."""
        bound = listener()
        port = bound.getsockname()[1]
        self._backends[port] = backend
        self._waiting.append(bound)
        if self._runner is not None:
            task = asyncio.get_running_loop().create_task(self._serve())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        plain = {"url": f"http://{HOST}:{port}", "api_key": None, "api_key_file": None}
        return backend.model_copy(update=plain)

    async def start(self, log: Log) -> None:
        """Serve what is fronted, now and from now on; ``log`` hears what is recorded."""
        self._log = log
        app = web.Application(client_max_size=BODY_BYTES)
        app.router.add_route("*", "/{path:.*}", self._handle)
        # A client that hangs up must end the engine's work: aiohttp's default is to go on.
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
        await self._runner.setup()
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=30)
        self._session = aiohttp.ClientSession(
            timeout=timeout, auto_decompress=False, connector=aiohttp.TCPConnector(limit=0)
        )
        await self._serve()

    async def _serve(self) -> None:
        while self._waiting and self._runner is not None:
            await web.SockSite(self._runner, self._waiting.pop()).start()

    async def stop(self) -> None:
        """Close everything."""
        for bound in self._waiting:
            bound.close()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))
        if self._session is not None:
            await self._session.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        started = time.monotonic()
        assert self._session is not None  # noqa: S101 - it was made before anything listened
        port = request.transport.get_extra_info("sockname")[1] if request.transport else 0
        backend = self._backends[port]
        body = await request.read()
        kept = {k: v for k, v in request.headers.items() if k.lower() not in NOT_FORWARDED}
        try:
            async with self._session.request(
                request.method,
                backend.url + request.raw_path,
                data=body or None,
                headers={**kept, **authorization(backend)},
                ssl=verify(backend),
                allow_redirects=False,
            ) as upstream:
                return await self._relay(request, upstream, started, Taped(body, backend))
        except aiohttp.ClientError as error:
            return web.json_response(
                {"error": {"message": f"The engine failed: {error}.", "type": "server_error"}},
                status=502,
            )

    async def _relay(
        self,
        request: web.Request,
        upstream: aiohttp.ClientResponse,
        started: float,
        taped: "Taped",
    ) -> web.StreamResponse:
        """
        Pass the answer on as it comes, and keep it when it is whole. One that the engine breaks off
        the client sees break off, too.
        """
        kept = {k: v for k, v in upstream.headers.items() if k.lower() not in NOT_FORWARDED}
        answer = web.StreamResponse(status=upstream.status, headers=kept)
        if upstream.content_length is not None:
            answer.content_length = upstream.content_length
        await answer.prepare(request)
        chunks = taped.chunks
        last = started
        try:
            async for data in upstream.content.iter_any():
                now = time.monotonic()
                chunks.append(Chunk(round((now - last) * 1000, 3), data))
                last = now
                await answer.write(data)
        except aiohttp.ClientError:
            if request.transport is not None:
                request.transport.abort()
            return answer
        except asyncio.CancelledError:  # clients hang up as soon as they have all that they want
            if _is_over(upstream, chunks):
                self._keep_later(request, upstream, taped)
            raise
        self._keep_later(request, upstream, taped)
        await answer.write_eof()
        return answer

    def _keep_later(
        self, request: web.Request, upstream: aiohttp.ClientResponse, taped: "Taped"
    ) -> None:
        """Write it down, whether or not the client stays for the end."""
        lasting = upstream.status < 500 and upstream.status not in PASSING
        if lasting and request.headers.get("user-agent") != PROBE:
            asked = cassette.question(
                request.method,
                request.path_qs,
                request.headers.get("content-type", ""),
                taped.body,
            )
            task = asyncio.get_running_loop().create_task(self._keep(asked, taped, upstream))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _keep(
        self, asked: Question, taped: "Taped", upstream: aiohttp.ClientResponse
    ) -> None:
        backend, chunks = taped.backend, taped.chunks
        if self._log is None or asked.path.partition("?")[0] in UNRECORDED:
            return
        names = tuple(ours for ours, theirs in backend.serves.items() if theirs == asked.model)
        kind = upstream.headers.get("content-type", "application/json")
        key = backend.key().encode()
        if key:  # should an engine ever repeat it
            mask = cassette.MASK.encode()
            chunks = [Chunk(c.after_ms, c.data.replace(key, mask)) for c in chunks]
        tape = Cassette(asked, names, upstream.status, kind, tuple(chunks))
        try:
            path = await asyncio.to_thread(cassette.save, self._folder, tape)
        except OSError as error:
            self._log.event("recording_failed", folder=str(self._folder), reason=error.strerror)
        else:
            self._log.event("recorded", file=path.name, status=upstream.status)


class Replayer:
    """An engine that answers from the recordings of a folder, and nothing else."""

    def __init__(self, folder: Path, speed: float) -> None:
        """``speed`` is recorded seconds per second; 0 answers at once."""
        self._folder = folder
        self._speed = speed
        self._cassettes = cassette.load(folder)
        self._by_key = {tape.question.key: tape for tape in self._cassettes}
        self._listener = listener()
        self._runner: web.AppRunner | None = None

    @property
    def backend(self) -> Backend:
        """Where it listens and what it serves."""
        serves = {
            ours: tape.question.model
            for tape in self._cassettes
            for ours in tape.names or (tape.question.model,)
            if ours
        }
        if not serves:
            raise StartError(f"No recording in {self._folder} names a model.")
        url = f"http://{HOST}:{self._listener.getsockname()[1]}"
        return Backend(url=url, name="replay", serves=serves)

    def models(self, declared: Sequence[Model]) -> tuple[Model, ...]:
        """The declared models that were recorded, and those that were recorded undeclared."""
        names = {*self.backend.serves}
        kept = tuple(model for model in declared if model.name in names)
        rest = sorted(names - {model.name for model in kept})
        return (*kept, *(Model(name=name) for name in rest))

    def front(self, backend: Backend) -> Backend:
        """It stands for itself."""
        return backend

    async def start(self, log: Log) -> None:
        """Serve."""
        log.event("replaying", folder=str(self._folder), recordings=len(self._cassettes))
        app = web.Application(client_max_size=BODY_BYTES)
        app.router.add_get("/health", self._health)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
        await self._runner.setup()
        await web.SockSite(self._runner, self._listener).start()

    async def stop(self) -> None:
        """Close everything."""
        if self._runner is None:
            self._listener.close()
        else:
            await self._runner.cleanup()

    async def _health(self, _: web.Request) -> web.StreamResponse:
        return web.Response()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        kind = request.headers.get("content-type", "")
        asked = cassette.question(request.method, request.path_qs, kind, body)
        tape = self._by_key.get(asked.key)
        if tape is None:
            return self._miss(asked)
        answer = web.StreamResponse(status=tape.status, headers={"content-type": tape.content_type})
        if "event-stream" not in tape.content_type:
            answer.content_length = sum(len(chunk.data) for chunk in tape.chunks)
        due = time.monotonic()
        for index, chunk in enumerate(tape.chunks):
            if self._speed > 0:  # the pauses' sum, so that the timer's grain does not add up
                due += chunk.after_ms / 1000 / self._speed
                await asyncio.sleep(due - time.monotonic())
            if index == 0:
                await answer.prepare(request)
            await answer.write(chunk.data)
        if not tape.chunks:
            await answer.prepare(request)
        await answer.write_eof()
        return answer

    def _miss(self, asked: Question) -> web.StreamResponse:
        message = f"No recording in {self._folder} answers this {asked.method} {asked.path}."
        found = cassette.closest(asked, self._cassettes)
        if found is not None:
            nearest, differing = found
            more = f" and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
            message += (
                f" The closest, {nearest.file}, differs in {', '.join(differing[:SHOWN])}{more}."
            )
        error: dict[str, object]
        if asked.path.startswith("/v1/messages"):
            error = {"type": "error", "error": {"type": "not_found_error", "message": message}}
        else:
            detail = {"message": message, "type": "invalid_request_error", "param": None}
            error = {"error": {**detail, "code": "recording_not_found"}}
        return web.Response(
            status=404,
            body=json.dumps(error, ensure_ascii=False).encode(),
            content_type="application/json",
        )


def _is_over(upstream: aiohttp.ClientResponse, chunks: Sequence[Chunk]) -> bool:
    """Whether all that the engine has to say is there, though it has not said so."""
    if upstream.content_length is not None:
        return sum(len(chunk.data) for chunk in chunks) == upstream.content_length
    return bool(chunks) and _LAST_EVENT.search(b"".join(c.data for c in chunks[-2:])) is not None
