"""
One HTTP/1.1 connection to a replica: one request at a time, never pipelined.

The connection knows framing only. It hands the answer's head to whoever awaits ``send`` and the
body to a ``Sink``; what the bytes mean is not its business. Nothing here awaits during clean-up.
"""

import asyncio
import time
from array import array
from collections.abc import Callable, Sequence
from typing import Protocol, cast

import httptools

# vLLM's answers have heads of some 200 bytes; nginx and Envoy refuse above 32 to 64 KiB.
MAX_HEAD_BYTES = 64 * 1024
# Errors and whole JSON answers are held until they are whole, so that a break is nobody's answer.
MAX_HELD_BYTES = 1024 * 1024

OVERSIZED = "the replica's answer has more than 64 KiB of headers"
GARBAGE = "the replica's answer was not valid HTTP/1.1"

Headers = list[tuple[bytes, bytes]]


def _chunk_heads(longest: int) -> list[bytes]:
    r"""
    For each length of a whole HTTP chunk, framing included, the size line that it must begin with.

    The length tells the size: its hexadecimal digits, two line ends and the body add up in one way
    only. Empty where no chunk has that length (three bytes; 0x10 with one digit more than 0xf).
    """
    heads = [b""] * longest
    for size in range(1, longest):
        head = b"%x\r\n" % size
        if len(head) + size + 2 < longest:
            heads[len(head) + size + 2] = head
    return heads


# What may be spliced: one HTTP chunk that ends with a server-sent event, and reports no usage.
CHUNK_HEADS = _chunk_heads(1024)
FRAME_END = b"\n\n\r\n"
MARK = b'"usage"'


class Splice:
    """
    The short way of a token: from the replica's socket to the client's, HTTP framing and all.

    Tokens mostly come one chunk to a segment, and between two chunks such a segment needs no
    parser: its length tells how it must begin. Only what ends a server-sent event is spliced, so
    that whoever sets this must know that the stream stands between two events. ``times`` (s,
    monotonic), ``size`` (bytes of the body) and ``last`` note what went by.
    """

    __slots__ = ("last", "size", "times", "write")

    def __init__(self, write: Callable[[bytes], None], times: "array[float]") -> None:
        self.write = write
        self.times = times
        self.size = 0
        self.last = b""


class Broken(Exception):
    """
    The connection failed before the answer's head was complete.

    ``untouched`` says that not one byte of an answer had come, and ``reused`` that the connection
    had answered before: together they mean that it was closed while idle, so the request may be
    sent again.
    """

    def __init__(self, reason: str, *, untouched: bool = False, reused: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.untouched = untouched
        self.reused = reused


class TakenBack(Broken):
    """The replica did not break it: we ended the wait, since the replica is stuck or drained."""


class ConnectTimeout(Broken):
    """The replica's address did not answer the attempt to connect in time."""


class Sink(Protocol):
    """Where an answer's body goes. Called on the event loop, never after ``end`` or ``broken``."""

    def data(self, data: bytes) -> None: ...

    def end(self, data: bytes) -> None:
        """Take the last piece, which may be empty: the body is complete."""

    def broken(self, reason: str) -> None: ...


class Reply:
    """The head of an answer, and as much of its body as came with it."""

    __slots__ = ("body", "complete", "connection", "headers", "status")

    def __init__(
        self, connection: "Connection", status: int, headers: Headers, body: bytes, complete: bool
    ) -> None:
        self.connection = connection
        self.status = status
        self.headers = headers
        self.body = body
        self.complete = complete

    def header(self, name: bytes) -> bytes:
        """The value of a header (``name`` in lower case), empty when it is absent."""
        for key, value in self.headers:
            if key == name:
                return value
        return b""


class Connection(asyncio.Protocol):
    """The protocol object that the event loop drives."""

    __slots__ = (
        "_between_chunks",
        "_complete",
        "_extra",
        "_fed",
        "_head_done",
        "_headers",
        "_keep",
        "_loop",
        "_on_idle",
        "_on_lost",
        "_parser",
        "_parts",
        "_sink",
        "_status",
        "_transport",
        "_waiter",
        "answered",
        "idle_since",
        "sent_at",
        "splice",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_idle: Callable[["Connection"], None],
        on_lost: Callable[["Connection"], None],
    ) -> None:
        self._loop = loop
        self._on_idle = on_idle
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Reply] | None = None
        self._sink: Sink | None = None
        self.answered = False
        self.idle_since = 0.0
        self.sent_at = 0.0  # when the latest request was written (s, monotonic)
        self.splice: Splice | None = None  # set by the sink while a stream may be spliced
        self._reset()

    def _reset(self) -> None:
        self._headers: Headers = []
        self._parts: list[bytes] = []
        self._status = 0
        self._fed = 0
        self._head_done = False
        self._complete = False
        self._extra = False
        self._between_chunks = False
        self.splice = None
        self._keep = False

    # --- what the pool and the relay call -------------------------------------------------

    async def send(self, head: bytes, body: Sequence[bytes | memoryview]) -> Reply:
        """
        Send a request; return once the head of the answer and its first body bytes are there.

        Raises:
            Broken: the connection failed, or the answer was not HTTP, before that.

        """
        transport = self._transport
        if transport is None or transport.is_closing():
            raise Broken("the connection was closed", untouched=True, reused=self.answered)
        waiter: asyncio.Future[Reply] = self._loop.create_future()
        self._waiter = waiter
        if len(body) == 1 and len(body[0]) < MAX_HEAD_BYTES:
            transport.write(head + body[0])
        else:
            transport.write(head)
            for part in body:
                transport.write(part)
        self.sent_at = time.monotonic()
        try:
            return await waiter
        except BaseException:
            self.abort()
            raise
        finally:
            self._waiter = None
            del waiter  # its exception holds this frame: the two would wait for the collector

    def fail(self, error: Exception) -> None:
        """Make the pending ``send`` raise this error; nothing happens when none is pending."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    def attach(self, sink: Sink) -> None:
        """Hand the rest of the body to ``sink``, what has already come included."""
        self._sink = sink
        self._deliver()

    def release(self) -> None:
        """Give the connection back after a complete answer; close it if it cannot serve again."""
        self._sink = None
        if self._complete and self._keep and self._transport is not None:
            self._reset()
            self.answered = True
            self.idle_since = time.monotonic()
            self._on_idle(self)
        else:
            self.abort()

    def abort(self) -> None:
        """
        Close at once, so that the engine stops generating. Safe to call at any time, twice too.
        """
        self._sink = self.splice = None
        if self._transport is not None:
            self._transport.abort()

    def cut(self, reason: str) -> None:
        """End whatever runs on it as broken, for this reason."""
        self.splice = None
        self.fail(TakenBack(reason))
        self._break(reason)

    def discard(self) -> None:
        """Let go of a transport that was opened for nobody; the loop may never say it is lost."""
        self.abort()
        self.connection_lost(None)

    def pause(self) -> None:
        """Stop reading: the client is slower than the engine."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    # --- asyncio.Protocol -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._parser = httptools.HttpResponseParser(self)

    def data_received(self, data: bytes) -> None:
        splice = self.splice
        if splice is not None and self._between_chunks and len(data) < len(CHUNK_HEADS):
            head = CHUNK_HEADS[len(data)]
            if head and data.startswith(head) and data.endswith(FRAME_END) and MARK not in data:
                splice.times.append(time.monotonic())
                splice.size += len(data) - len(head) - 2
                splice.last = data
                splice.write(data)
                return
        if self._waiter is None and self._sink is None and not self._head_done:
            self.abort()  # nothing was asked: whatever this is, it is not an answer
            return
        if not self._head_done:
            self._fed += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._keep = False
            if not self._complete:
                self._break(OVERSIZED if _size(self._headers) > MAX_HEAD_BYTES else GARBAGE)
                return
        if not self._head_done and self._fed > MAX_HEAD_BYTES:
            self._break(OVERSIZED)
            return
        self._deliver()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is None:
            return
        self._transport = None
        del self._parser  # it holds this object, and the two would wait for the collector
        self._on_lost(self)
        if exc is None and self._head_done and not self._complete and not self._is_framed():
            self._complete = True  # neither length nor chunks: the end of the connection is the end
            self._deliver()
            return
        self._break(f"the replica closed the connection{f' ({exc})' if exc else ''}")

    # --- httptools callbacks --------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._complete:  # an answer that nobody asked for
            self._extra, self._keep = True, False

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_done:  # else it is a trailer
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._extra:
            return
        self._status = self._parser.get_status_code()
        if self._status < 200:
            self._headers.clear()  # 100 Continue, 103 Early Hints: the real answer follows
            return
        if self._fed > MAX_HEAD_BYTES and _size(self._headers) > MAX_HEAD_BYTES:
            raise ValueError(OVERSIZED)  # the parser stops, and data_received ends the connection
        self._head_done = True
        self._keep = self._parser.should_keep_alive()

    def on_chunk_header(self) -> None:
        self._between_chunks = False

    def on_chunk_complete(self) -> None:
        self._between_chunks = True

    def on_body(self, body: bytes) -> None:
        if not self._extra:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        if self._head_done:
            self._complete = True

    # --- below -----------------------------------------------------------------------------

    def _deliver(self) -> None:
        sink = self._sink
        if sink is not None:
            data = b"".join(self._parts)
            self._parts.clear()
            if self._complete:
                self._sink = None
                sink.end(data)
            elif data:
                sink.data(data)
            return
        waiter = self._waiter
        if waiter is None or waiter.done() or not self._head_done:
            return
        if self._complete or (self._parts and not self._is_held()):
            body = b"".join(self._parts)
            self._parts.clear()
            waiter.set_result(Reply(self, self._status, self._headers, body, self._complete))

    def _is_framed(self) -> bool:
        """Whether the answer said where it ends; else it ends with the connection."""
        names = {name for name, _ in self._headers}
        return not names.isdisjoint({b"content-length", b"transfer-encoding"})

    def _is_held(self) -> bool:
        """
        Whether the body waits until it is whole, so that another replica can be tried if it breaks.
        """
        if sum(map(len, self._parts)) > MAX_HELD_BYTES:
            return False
        return self._status >= 400 or (b"content-type", b"application/json") in self._headers

    def _break(self, reason: str) -> None:
        waiter, sink = self._waiter, self._sink
        self._sink = None
        if self._transport is not None:
            self._transport.abort()
        if waiter is not None and not waiter.done():
            untouched = not self._fed
            waiter.set_exception(Broken(reason, untouched=untouched, reused=self.answered))
        elif sink is not None:
            sink.broken(reason)


def _size(headers: Headers) -> int:
    return sum(len(name) + len(value) for name, value in headers)
