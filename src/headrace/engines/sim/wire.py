"""
HTTP/1.1 as the look-alike speaks it, on bare transports so that it can also be done wrong.

What is asked and answered is not known here; parsing is httptools'.
"""

import asyncio
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import cast

import httptools

JSON = "application/json"
EVENTS = "text/event-stream; charset=utf-8"
MAX_BODY_BYTES = 64 * 1024 * 1024
_REASONS = {status.value: status.phrase for status in HTTPStatus}
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: closing sends RST

Pairs = Iterable[tuple[str, str]]


@dataclass(slots=True)
class Request:
    """A request as it came; header names are lower case."""

    method: str = ""
    path: str = ""
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


Handler = Callable[[Request, "Reply"], None]


class Reply:
    """
    The answer to one request: whole, or opened and ended; or broken in one of many ways.

    ``on_gone`` is called once when the client leaves before the end.
    """

    __slots__ = ("_connection", "_transport", "done", "on_gone", "opened")

    def __init__(self, connection: "Connection", transport: asyncio.Transport) -> None:
        self._connection = connection
        self._transport = transport
        self.opened = False
        self.done = False
        self.on_gone: Callable[[], None] | None = None

    def whole(self, status: int, body: bytes, kind: str = JSON, headers: Pairs = ()) -> None:
        """Answer at once."""
        if not self.done:
            head = _head(status, [("content-length", str(len(body))), ("content-type", kind)])
            head += b"vary: Origin\r\n"
            self._transport.write(head + _lines(headers) + b"\r\n" + body)
            self._finish()

    def open(self, kind: str = EVENTS) -> None:
        """Begin a body whose length is not known."""
        self.opened = True
        head = _head(200, [("content-type", kind)])
        self._transport.write(head + b"vary: Origin\r\ntransfer-encoding: chunked\r\n\r\n")

    def frame(self, data: bytes) -> None:
        """A piece of an opened body."""
        if not self.done:
            self._transport.write(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self, data: bytes = b"") -> None:
        """The last piece of an opened body."""
        if not self.done:
            last = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            self._transport.write(last + b"0\r\n\r\n")
            self._finish()

    # --- and how it goes wrong ----------------------------------------------------------------

    def misstate(self, body: bytes, length: int, kind: str) -> None:
        """A whole answer that says another length than it has; then the connection closes."""
        if not self.done:
            head = _head(200, [("content-length", str(length)), ("content-type", kind)])
            self._transport.write(head + b"\r\n" + body)
            self.drop()

    def drop(self) -> None:
        """Close in the middle, as a process that dies does (FIN)."""
        self.done = True
        self._transport.close()

    def reset(self) -> None:
        """Break the connection (RST)."""
        self.done = True
        # uvloop and asyncio both hand out a socket that knows setsockopt, under other types.
        sock = cast(socket.socket, self._transport.get_extra_info("socket"))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

    def freeze(self) -> Callable[[], None]:
        """Say nothing more, hear nothing more, keep the socket; what is returned ends that."""
        self.done = True
        self._transport.pause_reading()
        return self._transport.abort

    def _finish(self) -> None:
        self.done = True
        self._connection.next()


class Connection(asyncio.Protocol):
    """One client's connection: requests in, one answer at a time, in order."""

    def __init__(self, handler: Handler, alive: set["Connection"]) -> None:
        self._handler = handler
        self._alive = alive
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._request = Request()
        self._parts: list[bytes] = []
        self._size = 0
        self._queue: deque[tuple[Request, bool]] = deque()
        self._reply: Reply | None = None
        self._keep = True
        self._draining = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._alive.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        self._alive.discard(self)
        self._queue.clear()
        reply, self._reply = self._reply, None
        if reply is not None:
            reply.done = True
            gone, reply.on_gone = reply.on_gone, None
            if gone is not None:
                gone()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(400, "Invalid HTTP request received.")
        except httptools.HttpParserError:
            self._refuse(400, "Invalid HTTP request received.")

    def close(self) -> None:
        """The server stops."""
        if self._transport is not None:
            self._transport.abort()

    def next(self) -> None:
        """The answer is complete: go on with what the client sent meanwhile."""
        self._reply = None
        if not self._keep and self._transport is not None:
            self._transport.close()
        elif not self._draining:  # else the loop below is under way, further up the stack
            self._draining = True
            while self._queue and self._reply is None:
                self._answer(*self._queue.popleft())
            self._draining = False

    # --- httptools calls these ----------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._request = Request()
        self._parts = []
        self._size = 0

    def on_url(self, url: bytes) -> None:
        self._request.path += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._request.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._request.method = self._parser.get_method().decode()
        if self._request.headers.get("expect", "").lower() == "100-continue" and self._transport:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > MAX_BODY_BYTES:
            self._refuse(413, "Request body too large.")
        else:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        request, keep = self._request, self._parser.should_keep_alive()
        request.body = b"".join(self._parts)
        request.path, _, request.query = request.path.partition("?")
        if self._reply is None:
            self._answer(request, keep)
        else:
            self._queue.append((request, keep))

    # --- below --------------------------------------------------------------------------------

    def _answer(self, request: Request, keep: bool) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._keep = keep
        self._reply = reply = Reply(self, self._transport)
        self._handler(request, reply)

    def _refuse(self, status: int, text: str) -> None:
        if self._transport is not None and not self._transport.is_closing():
            body = text.encode()
            head = _head(status, [("content-length", str(len(body)))])
            self._transport.write(head + b"connection: close\r\n\r\n" + body)
            self._transport.close()


@lru_cache(maxsize=1)
def _date(second: int) -> bytes:
    """The Date header, made once a second."""
    return f"date: {formatdate(second, usegmt=True)}\r\n".encode()


def _head(status: int, headers: Pairs) -> bytes:
    line = f"HTTP/1.1 {status} {_REASONS.get(status, '')}\r\n".encode()
    return line + _date(int(time.time())) + b"server: headrace-sim\r\n" + _lines(headers)


def _lines(headers: Pairs) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in headers).encode("latin-1")
