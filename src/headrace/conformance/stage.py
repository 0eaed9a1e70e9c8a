"""
Where a case plays: scripted replicas behind the gateway, clients before it, and what was checked.

A request carries the name of its play in its prompt: it is the one thing that every gateway passes
on untouched, so the replica that gets the request, whichever it is, finds the script to follow.
"""

import asyncio
import re
import secrets
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from headrace.conformance import answers
from headrace.conformance.fake import Exchange, FakeEngine, PeerGone, Script
from headrace.conformance.verdict import Check
from headrace.conformance.wire import Answer, Body, Client, Headers
from headrace.errors import StartError

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
EMBEDDINGS = "/v1/embeddings"
RESPONSES = "/v1/responses"
MESSAGES = "/v1/messages"

WAIT_S = 10.0  # longest wait for an answer that the engine has given already
ABORT_S = 2.0  # longest time in which a gateway tells the engine that its client has gone
RECOVERY_S = 15.0  # longest time in which a gateway finds replicas again
IDLE_S = 6.0  # pause of a client: servers that hang up after 5 s, as uvicorn does, lose requests
STEP_S = 0.005
UNSUPPORTED = {404, 405, 501}
SHOWN = 300  # characters of evidence

_TOKEN = re.compile(rb"play-[0-9a-f]{12}")


class Gateway(Protocol):
    """A gateway that the kit started itself, so that it may also end it."""

    def terminate(self) -> None: ...
    async def ended(self, timeout_s: float) -> bool: ...


class Play:
    """A script under a name, and the requests that asked for it."""

    def __init__(self, script: Script) -> None:
        self.token = f"play-{secrets.token_hex(6)}"
        self.script = script
        self.exchanges: list[Exchange] = []
        self.replicas: list[int] = []  # which replica got each of them

    async def exchange(self, number: int = 0, timeout_s: float = WAIT_S) -> Exchange:
        """
        The request with this number, from 0, once the engine has it.

        Raises: TimeoutError when it does not come.
        """
        await until(lambda: len(self.exchanges) > number, timeout_s)
        return self.exchanges[number]

    def replica(self, exchange: Exchange) -> int:
        """Which replica got this request."""
        return self.replicas[self.exchanges.index(exchange)]


class Stage:
    """Replicas, clients and checks of a run; ``checks`` belong to the case that runs now."""

    def __init__(
        self, url: str, names: "Names", *, key: str | None = None, metrics_url: str | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self.metrics_url = metrics_url or f"{self.url}/metrics"
        self.model, self.alias, self.cold = names.model, names.alias, names.cold
        self.key = key
        self.engines: list[FakeEngine] = []
        self.checks: list[Check] = []
        self.gateway: Gateway | None = None
        self.ready_path = "/health"  # what a load balancer would ask
        self.idle_s = IDLE_S
        self.spread = False  # whether requests reach all replicas; see ``suite.meet``
        self._plays: dict[bytes, Play] = {}
        self._clients: list[Client] = []

    # replicas

    async def start(self, ports: Iterable[int], host: str = "127.0.0.1") -> None:
        """
        Listen on these ports, one replica each; port 0 picks a free one.

        Raises:
            StartError: a port is taken.

        """
        for port in ports:
            engine = FakeEngine(self._perform, probe=self._probe)
            engine.host, engine.port = host, port
            try:
                await engine.start()
            except OSError as error:
                await self.stop()
                raise StartError(
                    f"The engine cannot listen on {host}:{port} ({error.strerror}); choose other"
                    " ports with --engine-port."
                ) from error
            self.engines.append(engine)

    async def stop(self) -> None:
        """Hang up everything."""
        self.hang_up()
        for engine in self.engines:
            await engine.stop()

    def play(self, script: Script = answers.like_vllm) -> Play:
        """A new play; requests made with its token follow its script."""
        play = Play(script)
        self._plays[play.token.encode()] = play
        return play

    async def _perform(self, exchange: Exchange) -> None:
        found = _TOKEN.search(exchange.body) or _TOKEN.search(exchange.target.encode())
        play = self._plays.get(found[0]) if found else None
        if play is not None:
            play.replicas.append(self.number(exchange))
            play.exchanges.append(exchange)
        refusal = answers.refusal(exchange, self.model)
        if refusal is not None:
            await refusal(exchange)
        else:
            await (answers.like_vllm if play is None else play.script)(exchange)

    def number(self, exchange: Exchange) -> int:
        ports = [engine.port for engine in self.engines]
        return ports.index(exchange.link.transport.get_extra_info("sockname")[1])

    async def _probe(self, exchange: Exchange) -> None:
        about = {"model_path": self.model, "served_model_name": self.model, "is_generation": True}
        listed = {"object": "list", "data": [answers.model_card(self.model)]}
        known: dict[str, object] = {
            "/v1/models": listed, "/version": {"version": "0.32.0"}, "/load": {"server_load": 0},
            "/get_load": {"load": 0},
        }  # fmt: skip
        await exchange.answer(200, answers.dump(known.get(exchange.path, about)))

    # requests

    def ask(self, play: Play, path: str = CHAT, **more: Any) -> dict[str, Any]:
        """A request body for an endpoint that asks for this play."""
        text = f"Say hello. ({play.token})"
        message = [{"role": "user", "content": text}]
        bodies: dict[str, dict[str, Any]] = {
            CHAT: {"messages": message, "max_tokens": 64},
            COMPLETIONS: {"prompt": text, "max_tokens": 64},
            EMBEDDINGS: {"input": text},
            RESPONSES: {"input": text},
            MESSAGES: {"messages": message, "max_tokens": 64},
        }
        return {"model": self.model, **bodies[path], **more}

    def streamed(self, play: Play, path: str = CHAT, **more: Any) -> dict[str, Any]:
        """A request for a stream, with usage asked for: no gateway has a reason to change it."""
        if path in {CHAT, COMPLETIONS}:
            more = {"stream_options": {"include_usage": True}, **more}
        return self.ask(play, path, stream=True, **more)

    def headers(self, more: Headers = ()) -> list[tuple[str, str]]:
        """Headers with the key, unless they bring one of their own."""
        given = list(more)
        if self.key and not any(name.lower() == "authorization" for name, _ in given):
            given.append(("authorization", f"Bearer {self.key}"))
        return given

    async def client(self, wait_s: float = WAIT_S, url: str | None = None) -> Client:
        """A connection to the gateway; closed when the case is over."""
        client = Client(url or self.url, wait_s=wait_s)
        self._clients.append(client)
        return await client.__aenter__()

    async def post(self, body: Body, path: str = CHAT, headers: Headers = ()) -> Answer:
        """One request on a connection of its own, and its whole answer."""
        return await self.send("POST", path, body, headers)

    async def send(
        self, method: str, path: str, body: Body = None, headers: Headers = ()
    ) -> Answer:
        """One request of any kind on a connection of its own, and its whole answer."""
        client = await self.client()
        try:
            return await client.ask(method, path, body, self.headers(headers))
        finally:
            client.close()

    async def open(self, body: Body, path: str = CHAT) -> tuple[Client, Answer]:
        """Begin a request on a connection of its own: the client, and the answer's head."""
        client = await self.client()
        return client, await client.open("POST", path, body, self.headers())

    async def supports(self, path: str) -> bool:
        """Whether the gateway passes this endpoint on."""
        return (await self.post(self.ask(self.play(), path), path)).status not in UNSUPPORTED

    async def recovered(self, timeout_s: float = RECOVERY_S, *, everywhere: bool = False) -> bool:
        """
        Ask until it works: a breaker, if there is one, may need a moment.

        With ``everywhere``, until each replica has answered.
        """
        plays: list[Play] = []
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            plays.append(self.play())
            if await self._works(plays[-1]) and (not everywhere or self._reached(plays)):
                return True
            await asyncio.sleep(10 * STEP_S)
        return False

    async def _works(self, play: Play) -> bool:
        try:
            return (await self.post(self.ask(play))).status == 200
        except (ConnectionError, TimeoutError, ValueError):
            return False

    def _reached(self, plays: list[Play]) -> bool:
        return len({number for play in plays for number in play.replicas}) == len(self.engines)

    def hang_up(self) -> None:
        """Close what clients a case left open."""
        for client in self._clients:
            client.close()
        self._clients.clear()

    # checks

    def check(self, sent: str, expected: object, seen: object, *, passed: bool) -> bool:
        """Note a check and its evidence."""
        self.checks.append(Check(sent, str(expected)[:SHOWN], str(seen)[:SHOWN], passed))
        return passed

    def equal(self, sent: str, expected: object, seen: object) -> bool:
        """Demand that two things are equal."""
        return self.check(sent, expected, seen, passed=expected == seen)


class Names(Protocol):
    """The names that the gateway was told of."""

    @property
    def model(self) -> str: ...
    @property
    def alias(self) -> str: ...
    @property
    def cold(self) -> str: ...


async def until(true: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
    """
    Wait for something that is seen from outside only.

    Raises: TimeoutError when it does not come true.
    """
    async with asyncio.timeout(timeout_s):
        while not true():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(STEP_S)


async def closed(exchange: Exchange, timeout_s: float = ABORT_S) -> bool:
    """Whether the gateway closes the engine's connection in time."""
    try:
        await exchange.wait_closed(timeout_s)
    except TimeoutError:
        return False
    return True


async def held(exchange: Exchange, go: asyncio.Event, frames: list[bytes]) -> None:
    """Stream the first frame, wait for the word, stream the rest."""
    await exchange.start_stream()
    await exchange.events(frames[0])
    waits = [asyncio.ensure_future(each.wait()) for each in (go, exchange.link.closed)]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    if exchange.peer_closed:
        raise PeerGone
    await exchange.events(*frames[1:])
    await exchange.end_stream()
