"""
A fake engine: a raw HTTP/1.1 server whose behaviour is one script per request.

A script is a coroutine that gets the Exchange (what was asked) and writes the answer byte for byte:
"send this, wait for that event, send the rest, reset". What engines usually say: see answers.py.
"""

import asyncio
import contextlib
import json
import socket
import struct
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Self, TypeAlias, cast

Script: TypeAlias = "Callable[[Exchange], Awaitable[None]]"

WAIT_S = 20.0  # longest wait for something that must happen; then TimeoutError
PROBES = frozenset(
    {
        "/health", "/health_generate", "/ping", "/v1/models", "/metrics", "/version", "/load",
        "/get_load", "/server_info", "/get_server_info", "/model_info", "/get_model_info",
    }
)  # fmt: skip
REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    408: "Request Timeout",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


class PeerGone(ConnectionError):
    """The gateway closed the connection while the script was writing."""


def head(status: int = 200, *headers: tuple[str, str]) -> bytes:
    """The head of an answer in wire form, with exactly these headers."""
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def chunk(data: bytes) -> bytes:
    """Data as one chunk of the chunked transfer coding; empty data is the last chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Exchange:
    """One request as the engine saw it, and the pen its answer is written with."""

    def __init__(self, link: "Link", number: int, raw_head: bytes) -> None:
        self.link = link
        self.number = number
        self.head = raw_head
        request_line, *lines = raw_head.decode("latin-1").rstrip("\r\n").split("\r\n")
        self.method, self.target, self.version = request_line.split(" ", 2)
        self.headers = [
            (name.lower(), value.strip())
            for name, _, value in (line.partition(":") for line in lines)
        ]
        self.body = bytearray()
        self.complete = asyncio.Event()
        self.finished = False
        self.sent = 0

    def __repr__(self) -> str:
        return f"<Exchange {self.number}: {self.method} {self.target} on {self.connection}>"

    @property
    def connection(self) -> int:
        """Which connection of the engine it came on, counted from 0."""
        return self.link.number

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def peer_closed(self) -> bool:
        return self.link.closed.is_set()

    def header(self, name: str) -> str | None:
        """The header's value, several joined by comma; None when it was not sent."""
        values = [value for key, value in self.headers if key == name]
        return ", ".join(values) if values else None

    def json(self) -> Any:
        return json.loads(self.body)

    async def write(self, data: bytes) -> None:
        """Send bytes as they are; waits while the gateway does not read."""
        await self.link.write(data)
        self.sent += len(data)

    async def write_slowly(self, *pieces: bytes) -> None:
        """Send each piece as a segment of its own."""
        for piece in pieces:
            await self.write(piece)
            for _ in range(3):  # the gateway, in the same loop, reads before the next piece is sent
                await asyncio.sleep(0)

    async def start_stream(self, *headers: tuple[str, str]) -> None:
        """Send the head of an event stream as vLLM does."""
        kind = ("content-type", "text/event-stream; charset=utf-8")
        await self.write(head(200, kind, ("transfer-encoding", "chunked"), *headers))

    async def events(self, *frames: bytes) -> None:
        """Send each frame as one HTTP chunk."""
        for frame in frames:
            await self.write(chunk(frame))

    async def end_stream(self) -> None:
        await self.write(chunk(b""))

    async def answer(
        self,
        status: int,
        body: bytes,
        *headers: tuple[str, str],
        content_type: str = "application/json",
    ) -> None:
        """Send a whole answer with its length."""
        length = ("content-length", str(len(body)))
        await self.write(head(status, length, ("content-type", content_type), *headers) + body)

    async def wait_closed(self, timeout_s: float = WAIT_S) -> None:
        """
        Wait until the gateway closes this connection.

        Raises: TimeoutError when it does not.
        """
        async with asyncio.timeout(timeout_s):
            await self.link.closed.wait()

    def close(self) -> None:
        """Close the connection in order (FIN), after what was written."""
        self.link.transport.close()

    def reset(self) -> None:
        """Break the connection (RST)."""
        self.link.reset()


class Link(asyncio.Protocol):
    """One connection from the gateway: reads requests, runs their scripts one after the other."""

    transport: asyncio.Transport

    def __init__(self, engine: "FakeEngine") -> None:
        self._engine = engine
        self.number = -1
        self.exchanges: list[Exchange] = []
        self.closed = asyncio.Event()
        self.closed_at: float | None = None
        self.pipelined = 0
        self._buffer = bytearray()
        self._reading: Exchange | None = None
        self._body_left: int | None = None  # None: chunked
        self._writable = asyncio.Event()
        self._writable.set()
        self._tasks: set[asyncio.Task[None]] = set()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.number = len(self._engine.links)
        self._engine.links.append(self)

    def data_received(self, data: bytes) -> None:
        if self.exchanges and not self.exchanges[-1].finished and self._reading is None:
            self.pipelined += 1
        self._buffer += data
        while self._advance():
            pass

    def eof_received(self) -> bool:
        self._mark_closed()
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._mark_closed()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # for exchanges and the engine

    async def write(self, data: bytes) -> None:
        if self.closed.is_set() or self.transport.is_closing():
            raise PeerGone
        self.transport.write(data)
        if not self._writable.is_set():
            await self._writable.wait()
        if self.closed.is_set():
            raise PeerGone

    def reset(self) -> None:
        if not self.transport.is_closing():
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    async def stop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        self.reset()
        await asyncio.gather(*tasks, return_exceptions=True)

    # parsing

    def _mark_closed(self) -> None:
        if not self.closed.is_set():
            self.closed_at = time.monotonic()
            self.closed.set()
            self._engine.tell()

    def _advance(self) -> bool:
        """Take one step through the buffer; False when more bytes are needed."""
        if self._reading is None:
            return self._read_head()
        if self._body_left is None:
            return self._read_chunk(self._reading)
        taken = self._buffer[: self._body_left]
        del self._buffer[: len(taken)]
        self._reading.body += taken
        self._body_left -= len(taken)
        if self._body_left:
            return False
        self._finish_request(self._reading)
        return bool(self._buffer)

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        exchange = Exchange(self, self._engine.count(), bytes(self._buffer[: end + 4]))
        del self._buffer[: end + 4]
        self.exchanges.append(exchange)
        self._reading = exchange
        chunked = "chunked" in (exchange.header("transfer-encoding") or "")
        self._body_left = None if chunked else int(exchange.header("content-length") or 0)
        self._engine.note(exchange)
        if self._engine.early:
            self._run(exchange)
        return True

    def _read_chunk(self, exchange: Exchange) -> bool:
        line, found, _ = bytes(self._buffer[:64]).partition(b"\r\n")
        if not found:
            return False
        size = int(line.split(b";")[0], 16)
        start = len(line) + 2
        if len(self._buffer) < start + size + 2:
            return False
        exchange.body += self._buffer[start : start + size]
        del self._buffer[: start + size + 2]
        if size == 0:
            self._finish_request(exchange)
        return True

    def _finish_request(self, exchange: Exchange) -> None:
        self._reading = None
        exchange.complete.set()
        self._engine.tell()
        if not self._engine.early:
            self._run(exchange)

    def _run(self, exchange: Exchange) -> None:
        task = asyncio.get_running_loop().create_task(self._play(exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _play(self, exchange: Exchange) -> None:
        with contextlib.suppress(PeerGone):
            await self._engine.script_for(exchange)(exchange)
        exchange.finished = True


class FakeEngine:
    """An engine that records every request and answers it as its script says."""

    def __init__(self, script: "Script", *, probe: "Script | None" = None) -> None:
        self.script = script
        self.probe = probe or _well
        self.queue: deque[Script] = deque()  # scripts for the next requests, before `script`
        self.early = False  # start scripts at the request's head, not at its end
        self.host = "127.0.0.1"
        self.port = 0
        self.exchanges: list[Exchange] = []
        self.probes: list[Exchange] = []
        self.links: list[Link] = []
        self._server: asyncio.Server | None = None
        self._numbers = 0
        self._news = asyncio.Condition()
        self._telling: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def open_links(self) -> list[Link]:
        return [link for link in self.links if not link.closed.is_set()]

    @property
    def pipelined(self) -> int:
        """How often bytes of a next request came before the last answer was finished."""
        return sum(link.pipelined for link in self.links)

    async def start(self) -> Self:
        """Listen; after stop() or kill() on the same port as before."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Link(self), self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def kill(self) -> None:
        """Die as a process does: no more connections, every open one reset."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for link in self.links:
            await link.stop()
        for task in list(self._telling):
            await task

    stop = kill

    async def exchange(self, number: int = 0, timeout_s: float = WAIT_S) -> Exchange:
        """
        The request with this number (from 0; probes do not count), once it is complete.

        Raises: TimeoutError when it does not come.
        """
        await self.until(lambda: len(self.exchanges) > number, timeout_s)
        async with asyncio.timeout(timeout_s):
            await self.exchanges[number].complete.wait()
        return self.exchanges[number]

    async def until(self, true: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
        """Wait until a condition on what this engine saw holds."""
        async with asyncio.timeout(timeout_s), self._news:
            await self._news.wait_for(true)

    # for links

    def count(self) -> int:
        self._numbers += 1
        return self._numbers - 1

    def note(self, exchange: Exchange) -> None:
        (self.probes if _is_probe(exchange) else self.exchanges).append(exchange)
        self.tell()

    def tell(self) -> None:
        """Wake those who wait for news."""
        task = asyncio.get_running_loop().create_task(self._tell())
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    def script_for(self, exchange: Exchange) -> Script:
        if _is_probe(exchange):
            return self.probe
        return self.queue.popleft() if self.queue else self.script

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()


def _is_probe(exchange: Exchange) -> bool:
    return exchange.method == "GET" and exchange.path in PROBES


async def _well(exchange: Exchange) -> None:
    """What a healthy engine answers to a probe."""
    await exchange.answer(200, b'{"object":"list","data":[]}' if "models" in exchange.path else b"")
