"""
One connection from a client: HTTP/1.1 parsing, keep-alive, limits on what comes in, and writing.

A raw asyncio protocol, not ASGI: the price per chunk and per request is that of a C proxy
(docs/decisions/0001-raw-protocol.md). It knows framing and sizes; what a request means is the
handler's.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import cast

import httptools

from headrace.errors import (
    ApiError,
    BadRequest,
    BodyTimeout,
    BodyTooLarge,
    HeadersTooLarge,
    Overloaded,
)
from headrace.gateway.answers import LAST_CHUNK, status_line
from headrace.gateway.clocks import NEVER, now
from headrace.gateway.door.request import Handler, Listener, Request

# Pipelined requests wait in order behind the one being answered; more than this end the connection.
MAX_PIPELINED = 16
# A refused body this small is read to its end, so that the connection can be used again.
SMALL_BODY = 64 * 1024
# After refusing a large body, keep reading this long, or the client never sees the answer (a
# reset).
LINGER_S = 2.0
# A chunk of one byte is framed by five; what is framed by more is no honest body.
MAX_FRAMING = 8
# Above this many unsent bytes the replica is no longer read.
HIGH_WATER = 64 * 1024


class Client(asyncio.Protocol):
    """The protocol object that the event loop drives."""

    __slots__ = (
        "_active", "_chunked", "_fed", "_handler", "_head", "_headers", "_in_head", "_incoming",
        "_limits", "_lingering", "_listener", "_loop", "_parser", "_queue", "_target",
        "_transport", "choked", "deadline",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, handler: Handler) -> None:
        self._loop = loop
        self._handler = handler
        self._limits = handler.limits
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._headers: dict[bytes, bytes] = {}
        self._target = b""
        self._fed = 0
        self._in_head = True
        self._incoming: Request | None = None  # its body is being read
        self._active: Request | None = None  # it is being answered
        self._queue: deque[Request] = deque()  # pipelined behind it
        self._listener: Listener | None = None
        self._head = b""  # of an answer that has begun, until its first piece
        self._chunked = False
        self._lingering = False
        self.choked = False  # the client does not read what was written
        self.deadline = NEVER

    # --- what the gateway calls -----------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a request is being answered or read."""
        return self._active is not None or self._incoming is not None or bool(self._queue)

    def listen(self, listener: Listener) -> None:
        """Tell ``listener`` about this client until the answer ends."""
        self._listener = listener

    def answer(self, status: int, headers: bytes, body: bytes) -> None:
        """Write a whole answer. ``headers`` are complete lines; the length is added here."""
        if self._transport is not None:
            length = len(body)
            if self._active is not None and self._active.method == "HEAD":
                body = b""
            self._transport.write(
                b"%bcontent-length: %d\r\n%b%b\r\n%b"
                % (status_line(status), length, headers, self._closing(), body)
            )
        self._finish()

    def start(self, status: int, headers: bytes, length: int | None = None) -> None:
        """Begin an answer whose body follows; without a ``length`` it is sent in chunks."""
        request = self._active
        old = request is not None and request.old
        if old and request is not None and length is None:
            request.keep_alive = (
                False  # HTTP/1.0 knows no chunks: the end of the connection is the end
            )
        self._chunked = length is None and not old
        if self._chunked:
            framing = b"transfer-encoding: chunked\r\n"
        else:
            framing = b"" if length is None else b"content-length: %d\r\n" % length
        self._head = b"%b%b%b%b\r\n" % (status_line(status), headers, framing, self._closing())

    def write(self, data: bytes) -> None:
        """Write a piece of the body, at once; the first takes the head along, even if empty."""
        transport = self._transport
        if transport is None:
            return
        if data and self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        if self._head:
            data, self._head = self._head + data, b""
        if data:
            transport.write(data)

    def chunk_writer(self) -> Callable[[bytes], None] | None:
        """A way to write bytes that are HTTP chunks already; None when this answer has none."""
        if self._transport is None or not self._chunked:
            return None
        return self._transport.write

    def end(self, data: bytes) -> None:
        """Write the last piece of a body that ``start`` began, in one go with its end."""
        if self._transport is not None:
            if self._chunked:
                piece = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
                data = piece + LAST_CHUNK
            head, self._head = self._head, b""
            self._transport.write(head + data)
        self._finish()

    def cut(self) -> None:
        """
        End the connection without a clean end, so that the client sees that the body is incomplete.
        """
        if self._transport is not None:
            self._transport.abort()

    def close_when_idle(self) -> None:
        """While draining: close now if there is nothing to answer, else after the answer."""
        if not self.busy and self._transport is not None:
            self._transport.close()

    def expire(self, _now: float) -> None:
        """
        The deadline passed: close an idle connection, answer 408 to a client that stopped sending.
        """
        incoming = self._incoming
        if incoming is not None and self._active is None:
            self._refuse(incoming, BodyTimeout("The request did not arrive in time."))
        elif self._transport is not None:
            self._transport.abort()

    # --- asyncio.Protocol -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER)
        self._handler.clients.add(self)
        self.deadline = now() + self._limits.keep_alive_s

    def connection_lost(self, _exc: Exception | None) -> None:
        self._transport = None
        del self._parser  # it holds this object, and the two would wait for the collector
        self._handler.clients.discard(self)
        listener, self._listener = self._listener, None
        for request in (self._incoming, *self._queue):
            if request is not None:
                request.drop()
        self._incoming = None
        self._queue.clear()
        if listener is not None:
            listener.gone()

    def data_received(self, data: bytes) -> None:
        if self._lingering:
            return
        if self._in_head:
            self._fed += len(data)
            if self._fed == len(data):  # the first bytes of a request: its head must come in time
                self.deadline = now() + self._limits.read_s
        else:
            self._fed += len(data)
            self.deadline = now() + self._limits.read_s
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # answered as plain HTTP/1.1; inspect saw that the connection must close
        except httptools.HttpParserError as error:
            if not self._lingering:  # else it is refused already, by its head
                self._garbage(error)
            return
        if self._is_padded():
            self._garbage(None)
        if self._active is not None:
            self.deadline = NEVER  # the request being answered has clocks of its own

    def eof_received(self) -> None:
        return None

    def pause_writing(self) -> None:
        self.choked = True
        if self._listener is not None:
            self._listener.pause()

    def resume_writing(self) -> None:
        self.choked = False
        if self._listener is not None:
            self._listener.resume()

    # --- httptools callbacks --------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._headers = {}
        self._target = b""
        self._in_head = True

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # else it is a trailer, which nobody reads
            name, headers = name.lower(), self._headers
            if name not in headers:
                headers[name] = value
            elif len(headers[name]) <= self._limits.max_header_bytes:  # else it is refused anyway
                headers[name] = b"%b, %b" % (headers[name], value)

    def on_headers_complete(self) -> None:
        if self._lingering:
            return
        parser = self._parser
        request = Request(
            parser.get_method().decode("ascii"), self._target, self._headers, self._handler.budget
        )
        fed, self._fed = self._fed, 0
        self._in_head = False
        self._incoming = request
        version = parser.get_http_version()
        request.old = version == "1.0"
        request.keep_alive = parser.should_keep_alive() and not parser.should_upgrade()
        chunked = b"transfer-encoding" in request.headers
        try:
            if chunked or version != "1.1":
                request.check_framing(version)
            self._handler.inspect(request)
            if fed > self._limits.max_header_bytes:
                self._check_head(request)
            self._check_sizes(request)
        except ApiError as error:
            request.refusal = error
            if request.expects or chunked or error.status == 413 or request.length > SMALL_BODY:
                self._refuse(request, error)
            return
        if request.expects and self._active is None and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        request = self._incoming
        if request is None or request.refusal is not None:
            return
        request.take(body)
        if request.size > request.length:  # chunked: its size shows only now
            try:
                self._check_sizes(request)
            except ApiError as error:
                self._refuse(request, error)

    def on_message_complete(self) -> None:
        request, self._incoming = self._incoming, None
        self._in_head = True
        self._fed = 0
        if request is None or self._lingering:
            return
        if self._active is None:
            self._begin(request)
            return
        self._queue.append(request)
        if len(self._queue) > MAX_PIPELINED:
            self.cut()  # not pause_reading: a paused connection does not show that its client left

    # --- below -----------------------------------------------------------------------------

    def _is_padded(self) -> bool:
        """Whether far more came than body: a head, trailers or chunk extensions without end."""
        body = self._incoming.size if self._incoming is not None else 0
        reading = self._in_head or self._incoming is not None
        return reading and self._fed > self._limits.max_header_bytes + MAX_FRAMING * body

    def _check_head(self, request: Request) -> None:
        """
        Refuse a head that is over the limit.

        Raises:
            HeadersTooLarge: the bytes of its names and values are.

        """
        limit = self._limits.max_header_bytes
        size = sum(len(name) + len(value) for name, value in request.headers.items())
        if len(request.target) + size > limit:
            raise HeadersTooLarge(f"The request's head is larger than {limit} bytes.")

    def _check_sizes(self, request: Request) -> None:
        """
        Refuse a body that is over the limit, or that does not fit beside what is held already.

        Raises:
            BodyTooLarge: now or by its own content-length.
            Overloaded: over all clients.

        """
        size = max(request.length, request.size)
        limit = self._limits.max_body_bytes
        if size > limit:
            raise BodyTooLarge(f"The request body is larger than {limit} bytes.")
        budget = self._handler.budget
        if budget.used + size - request.size > budget.limit:
            raise Overloaded("Too many request bytes are in flight.", retry_after_s=1)

    def _begin(self, request: Request) -> None:
        self._active = request
        self.deadline = NEVER
        if request.refusal is not None:
            self._handler.refuse(request, self, request.refusal)
        else:
            self._handler.handle(request, self)

    def _refuse(self, request: Request, error: ApiError) -> None:
        """Answer before the body has come, then read and forget the rest for a moment."""
        request.refusal = error
        request.keep_alive = False
        request.drop()
        self._incoming = None
        self._lingering = True
        if self._active is None:
            self._begin(request)
        else:
            self._queue.append(request)

    def _garbage(self, error: httptools.HttpParserError | None) -> None:
        request = self._incoming or Request("GET", b"", {}, self._handler.budget)
        if error is None:
            limit = self._limits.max_header_bytes
            self._refuse(
                request, HeadersTooLarge(f"The request's head is larger than {limit} bytes.")
            )
        else:
            self._refuse(request, BadRequest("The request is not valid HTTP/1.1.", code="bad_http"))

    def _closing(self) -> bytes:
        request = self._active
        if request is not None and self._handler.draining:
            request.keep_alive = False
        return b"" if request is None or request.keep_alive else b"connection: close\r\n"

    def _finish(self) -> None:
        """The answer is written: close, or turn to the next request."""
        request, self._active = self._active, None
        self._listener = None
        transport = self._transport
        if transport is None:
            return
        moment = now()
        if request is not None and not request.keep_alive:
            self._leave(transport)
            return
        if self._queue:
            self._begin_next()
        elif self._incoming is None and not self._fed:
            self.deadline = moment + self._limits.keep_alive_s
        else:
            self.deadline = moment + self._limits.read_s

    def _leave(self, transport: asyncio.Transport) -> None:
        if not self._lingering:
            transport.close()
        elif transport.can_write_eof() and not transport.is_closing():
            transport.write_eof()
            self.deadline = now() + LINGER_S

    def _begin_next(self) -> None:
        request = self._queue.popleft()
        self._loop.call_soon(self._begin_if_open, request)
        self._active = request

    def _begin_if_open(self, request: Request) -> None:
        if self._transport is None:
            request.drop()
        else:
            self._begin(request)
