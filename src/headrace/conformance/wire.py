"""
A raw HTTP/1.1 client on one socket: exact bytes out, exact bytes in, and it may hang up any time.

It repairs nothing and retries nothing. What it shows of an answer: the head and the body as they
came, the decoded body, its chunks, its server-sent events, and whether it ended as HTTP demands.
"""

import asyncio
import json
import re
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self, TypeAlias
from urllib.parse import urlsplit

Headers: TypeAlias = "Iterable[tuple[str, str]]"
Body: TypeAlias = "bytes | dict[str, Any] | list[Any] | None"

WAIT_S = 20.0  # longest wait for bytes; then TimeoutError
READ_BYTES = 256 * 1024
_FRAME_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LINE_END = re.compile(r"\r\n|\n|\r")


class ConnectionGone(ConnectionError):
    """The server closed or broke the connection before the answer's head was complete."""


@dataclass(frozen=True, slots=True)
class Event:
    """One frame of an event stream: its exact bytes and what they say."""

    raw: bytes
    event: str | None
    data: str | None  # None: no data field, such as a comment

    def json(self) -> Any:
        if self.data is None:
            raise ValueError(f"the frame has no data field: {self.raw!r}")
        return json.loads(self.data)


def parse_event(raw: bytes) -> Event:
    """Read one frame as the SSE standard says."""
    name: str | None = None
    data: list[str] = []
    for line in _LINE_END.split(raw.decode()):
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)
    return Event(raw, name, "\n".join(data) if data else None)


def request(
    method: str, path: str, body: Body = None, headers: Headers = (), *, host: str = "headrace"
) -> bytes:
    """A whole request in wire form; JSON bodies get their content-type, all bodies their length."""
    return _head(method, path, _defaults(body, headers, host)) + encode(body)


def encode(body: Body) -> bytes:
    if body is None:
        return b""
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def _defaults(body: Body, headers: Headers, host: str) -> list[tuple[str, str]]:
    given = list(headers)
    names = {name.lower() for name, _ in given}
    wanted = [("host", host)]
    if body is not None:
        wanted += [("content-type", "application/json"), ("content-length", str(len(encode(body))))]
    if "transfer-encoding" in names:
        names.add("content-length")
    return [(n, v) for n, v in wanted if n not in names] + given


def _head(method: str, path: str, headers: Headers) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


class Answer:
    """An answer that grows while it is read."""

    def __init__(self, client: "Client", head: bytes, method: str) -> None:
        self._client = client
        self.head = head
        status_line, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        self.version, status, *_ = status_line.split(" ", 2)
        self.status = int(status)
        self.headers = [
            (name.lower(), value.strip())
            for name, _, value in (line.partition(":") for line in lines)
        ]
        self.raw = bytearray()  # the body as it came
        self.body = bytearray()  # the body without its framing
        self.chunks: list[bytes] = []
        self.ended = False  # the body ended as its framing says
        self.broken = False  # the connection was lost before that
        self._left = self._framing(method)
        self._cursor = 0
        if self._left == 0:
            self.ended = True

    def __repr__(self) -> str:
        return f"<Answer {self.status} ended={self.ended} {bytes(self.body[-300:])!r}>"

    def header(self, name: str) -> str | None:
        values = [value for key, value in self.headers if key == name]
        return ", ".join(values) if values else None

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Event]:
        """All frames in the body so far; bytes after the last complete frame are not among them."""
        return split_events(bytes(self.body))[0]

    async def event(self, timeout_s: float | None = None) -> Event:
        """
        The next frame, as soon as it is complete.

        Raises: TimeoutError when none comes, EOFError when the answer ends before.
        """
        async with asyncio.timeout(timeout_s or self._client.wait_s):
            while not (end := _FRAME_END.search(self.body, self._cursor)):
                if not await self._more():
                    raise EOFError(bytes(self.body[self._cursor :]))
        raw = bytes(self.body[self._cursor : end.end()])
        self._cursor = end.end()
        return parse_event(raw)

    async def until(self, size: int, timeout_s: float | None = None) -> bytes:
        """Read until the body has this many bytes."""
        async with asyncio.timeout(timeout_s or self._client.wait_s):
            while len(self.body) < size and await self._more():
                pass
        return bytes(self.body)

    async def finish(self, timeout_s: float | None = None) -> Self:
        """Read to the end, whichever way it ends."""
        async with asyncio.timeout(timeout_s or self._client.wait_s):
            while await self._more():
                pass
        return self

    # framing (RFC 9112, 6.3)

    def _framing(self, method: str) -> int | None:
        """Body bytes still to come; None means chunked, -1 until the connection closes."""
        if method == "HEAD" or self.status in {204, 304} or self.status < 200:
            return 0
        if "chunked" in (self.header("transfer-encoding") or ""):
            return None
        length = self.header("content-length")
        return -1 if length is None else int(length)

    async def _more(self) -> bool:
        """Read something more; False when there is no more."""
        while not self.ended and not self.broken:
            if self._take(self._client.buffer):
                return True
            if self.ended:
                return False
            if not await self._client.fill():
                self.ended = self._left == -1 and not self._client.was_reset
                self.broken = not self.ended
        return False

    def _take(self, buffer: bytearray) -> bool:
        """Move what belongs to this answer out of the buffer; True when the body grew."""
        if self._left is None:
            return self._take_chunk(buffer)
        taken = bytes(buffer) if self._left < 0 else bytes(buffer[: self._left])
        del buffer[: len(taken)]
        self.raw += taken
        self.body += taken
        if self._left >= 0:
            self._left -= len(taken)
            self.ended = self._left == 0
        return bool(taken)

    def _take_chunk(self, buffer: bytearray) -> bool:
        line_end = buffer.find(b"\r\n")
        if line_end < 0:
            return False
        size = int(bytes(buffer[:line_end]).split(b";")[0], 16)
        whole = line_end + 2 + size + 2
        if len(buffer) < whole:
            return False
        if buffer[whole - 2 : whole] != b"\r\n":
            raise ValueError("a chunk does not end with CRLF")
        data = bytes(buffer[line_end + 2 : whole - 2])
        self.raw += buffer[:whole]
        del buffer[:whole]
        if size == 0:
            self.ended = True
            return False
        self.chunks.append(data)
        self.body += data
        return True


def split_events(body: bytes) -> tuple[list[Event], bytes]:
    """The complete frames of an event stream, and the bytes after them."""
    events, cursor = [], 0
    for end in _FRAME_END.finditer(body):
        events.append(parse_event(body[cursor : end.end()]))
        cursor = end.end()
    return events, body[cursor:]


class Client:
    """One connection to the server under test. Use it with ``async with``."""

    def __init__(
        self, url: str, *, receive_bytes: int | None = None, wait_s: float = WAIT_S
    ) -> None:
        self.wait_s = wait_s
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        self.buffer = bytearray()  # read from the socket, not yet part of an answer
        self.was_reset = False
        self.closed = False
        self._socket = socket.socket()
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_bytes is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout(self.wait_s):
                loop = asyncio.get_running_loop()
                await loop.sock_connect(self._socket, (self.host, self.port))
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    # whole requests

    async def ask(self, method: str, path: str, body: Body = None, headers: Headers = ()) -> Answer:
        """Send a request and read its whole answer."""
        answer = await self.open(method, path, body, headers)
        return await answer.finish()

    async def open(
        self, method: str, path: str, body: Body = None, headers: Headers = ()
    ) -> Answer:
        """Send a request and read the head of its answer."""
        await self.send(request(method, path, body, headers))
        return await self.answer(method)

    async def post(self, path: str, body: Body, headers: Headers = ()) -> Answer:
        return await self.ask("POST", path, body, headers)

    async def get(self, path: str, headers: Headers = ()) -> Answer:
        return await self.ask("GET", path, None, headers)

    # pieces

    async def send(self, data: bytes) -> None:
        """Send exactly these bytes."""
        async with asyncio.timeout(self.wait_s):
            await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def answer(self, method: str = "POST", timeout_s: float | None = None) -> Answer:
        """
        Read the head of the next answer; 1xx answers are answers of their own.

        Raises: ConnectionGone when the connection ends before.
        """
        async with asyncio.timeout(timeout_s or self.wait_s):
            while (end := self.buffer.find(b"\r\n\r\n")) < 0:
                if not await self.fill():
                    raise ConnectionGone(bytes(self.buffer))
        head = bytes(self.buffer[: end + 4])
        del self.buffer[: end + 4]
        return Answer(self, head, method)

    async def read_to_end(self, timeout_s: float | None = None) -> bytes:
        """All bytes until the server closes the connection."""
        async with asyncio.timeout(timeout_s or self.wait_s):
            while await self.fill():
                pass
        return bytes(self.buffer)

    async def fill(self) -> bool:
        """Read once from the socket; False when the connection is over."""
        if self.closed:
            return False
        try:
            data = await asyncio.get_running_loop().sock_recv(self._socket, READ_BYTES)
        except ConnectionError:
            self.was_reset = True
            return False
        self.buffer += data
        return bool(data)

    def close(self) -> None:
        """Hang up in order (FIN)."""
        self.closed = True
        self._socket.close()

    def reset(self) -> None:
        """Hang up rudely (RST)."""
        if not self.closed:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()
