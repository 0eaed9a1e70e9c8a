"""
Bytes back to the client, from the first one on: streams, whole answers, and errors of engines.

The relay is the upstream connection's ``Sink``: chunks pass through it by plain calls, no task
wakes up for them. It settles the exchange in the same turn of the loop in which the answer ends.
"""

import asyncio
import re
from collections.abc import Awaitable
from functools import partial

import msgspec

from headrace.errors import ApiError, EngineError, UpstreamFailed
from headrace.gateway import answers
from headrace.gateway.clocks import now
from headrace.gateway.door.entrance import owned
from headrace.gateway.door.headers import returned
from headrace.gateway.exchange import Exchange
from headrace.gateway.send.stream import NOTHING, Frames, Renamer, find_usage, usage_of
from headrace.routing.stickiness import Stickiness
from headrace.upstream.connection import Reply, Splice

# Of a whole answer that is too large to be looked at in one piece, usage is searched in both ends.
EDGE_BYTES = 8 * 1024

_RESPONSE_ID = re.compile(rb'"id"[ \t]*:[ \t]*"(resp_[A-Za-z0-9_-]{1,200})"')

BROKE = "The replica broke off in the middle of its answer: {reason}."


class Relay:
    """Passes one answer on."""

    __slots__ = (
        "_client", "_done", "_edge", "_ended", "_exchange", "_frames", "_kept", "_pieces",
        "_renamer", "_reply", "_seek", "_splice", "_sticky",
    )  # fmt: skip

    def __init__(
        self, exchange: Exchange, reply: Reply, *, strip_usage: bool, sticky: Stickiness
    ) -> None:
        """
        Look at the answer's head.

        Raises:
            EngineError: it is no stream, but the client's stream has begun.

        """
        self._exchange = exchange
        self._client = exchange.client
        self._reply = reply
        self._done: asyncio.Future[None] | None = None
        self._ended = False
        self._pieces = 0  # that passed through the frames, not by the splice
        self._edge = b""
        self._kept = b""  # of a stream: its end, while its row must be safe first
        self._sticky = sticky
        self._seek: bytes | None = None  # of a stored answer, until its id was found
        self._splice: Splice | None = None
        self._renamer = _renamer(exchange)
        self._frames: Frames | None = None
        if reply.header(b"content-type").startswith(b"text/event-stream") and reply.status < 400:
            self._frames = Frames(strip_usage=strip_usage, renamer=self._renamer)
        elif exchange.begun:
            raise _as_error(reply.status, reply.body)

    def begin(self, chunk_s: float) -> Awaitable[None] | None:
        """
        Begin to relay; return what to await until the end, None when it is there already.

        An interruption (``CancelledError``) leaves the ending to ``stop``.
        """
        exchange, reply = self._exchange, self._reply
        exchange.status = reply.status
        exchange.request.drop()
        if exchange.endpoint.stores:
            self._remember(reply.body)
        if reply.status >= 400 and reply.complete:
            self._error_answer()
        elif self._frames is not None:
            self._begin_stream(chunk_s)
        elif reply.complete:
            self._whole(reply.body)
        else:
            self._begin_pieces()
        if self._ended:
            return None
        reply.connection.attach(self)
        if self._client.choked:
            exchange.pause()
        if not self._ended:
            self._done = asyncio.get_running_loop().create_future()
        return self._done

    def stop(self, error: ApiError) -> None:
        """
        End an answer that has begun: an error frame for a stream, a cut connection for anything
        else.
        """
        if self._ended:
            return
        self._end()
        exchange = self._exchange
        exchange.failed(error)
        if self._frames is not None:
            self._note_stream(self._frames)
            typed = exchange.endpoint.stores
            frames = answers.error_frames(error, exchange.endpoint.dialect, typed=typed)
            exchange.settle()
            self._client.end(self._kept + self._frames.interrupt() + frames)
        else:
            exchange.settle()
            self._client.cut()

    def leave(self) -> None:
        """
        The client has gone: what it was sent still counts, and it may have had all of it. Clients
        hang up at ``[DONE]``, which often comes before the end of the engine's answer.
        """
        if self._ended:
            return
        self._end()
        if self._frames is not None:
            self._note_stream(self._frames)
            if self._frames.finished(self._last()):
                self._exchange.outcome = "completed"

    # --- Sink: called by the upstream connection ------------------------------------------

    def data(self, data: bytes) -> None:
        self._exchange.times.append(now())
        self._pass(data)

    def end(self, data: bytes) -> None:
        frames = self._frames
        if frames is not None:
            data = self._kept + frames.feed(data) + frames.flush()
            self._pieces += 1
            self._exchange.times.append(now())
            self._note_stream(frames)
        else:
            data = self._piece(data)
            if self._renamer is not None:
                data += self._renamer.flush()
            self._exchange.usage = find_usage(self._edge)
        self._exchange.bytes_out += len(data)
        self._settle_well()
        ticket = self._exchange.ticket
        if ticket is None:
            self._client.end(data)
        else:
            ticket.then(partial(self._client.end, data))

    def broken(self, reason: str) -> None:
        if self._frames is not None and self._frames.finished(self._last()):
            self.end(b"")
            return
        self._exchange.blame(reason)
        message = BROKE.format(reason=reason)
        self.stop(UpstreamFailed(message, outcome="upstream_failed_midstream"))

    # --- below -----------------------------------------------------------------------------

    def _begin_stream(self, chunk_s: float) -> None:
        reply = self._reply
        self._exchange.stream(now(), chunk_s)
        if not self._exchange.begun:
            self._client.start(reply.status, self._head(answers.SSE_NAMES) + answers.SSE)
        write = self._client.chunk_writer()
        if write is not None and self._renamer is None and self._exchange.ticket is None:
            self._splice = Splice(write, self._exchange.times)
        if reply.complete:
            self.end(reply.body)
        else:
            self._pass(reply.body)

    def _begin_pieces(self) -> None:
        """A large answer, or one whose end is not yet here: pass it on as it comes."""
        reply = self._reply
        length = reply.header(b"content-length")
        known = int(length) if length and self._renamer is None else None
        self._exchange.streaming = True
        self._exchange.wait("total", self._exchange.total_at)
        self._client.start(reply.status, self._head(), known)
        self._pass(reply.body)

    def _pass(self, data: bytes) -> None:
        frames = self._frames
        if self._seek is not None and data is not self._reply.body:
            self._remember(data)
        if frames is not None:
            data = frames.feed(data)
            self._pieces += 1
            self._reply.connection.splice = self._splice if frames.between else None
            if self._exchange.ticket is not None:
                data = self._keep_end(frames, data)
        else:
            data = self._piece(data)
        self._exchange.bytes_out += len(data)
        self._client.write(data)

    def _keep_end(self, frames: Frames, data: bytes) -> bytes:
        """What may leave at once: that the stream is over is told when its row is safe."""
        if not self._kept and not frames.finished(b""):
            return data
        self._kept += data
        return b""

    def _piece(self, data: bytes) -> bytes:
        """
        Keep both ends of a large answer for its usage; put the client's name for the model in.
        """
        if len(self._edge) > 2 * EDGE_BYTES:
            self._edge = self._edge[:EDGE_BYTES] + self._edge[-EDGE_BYTES:]
        short = len(data) < 2 * EDGE_BYTES
        self._edge += data if short else data[:EDGE_BYTES] + data[-EDGE_BYTES:]
        return data if self._renamer is None else self._renamer.feed(data)

    def _whole(self, body: bytes) -> None:
        """
        The usual answer that is not streamed: all of it came at once, so it leaves in one write.
        """
        exchange = self._exchange
        if self._renamer is not None:
            body = self._renamer.whole(body)
        exchange.usage = usage_of(body)
        exchange.bytes_out = len(body)
        self._settle_well()
        status, head = self._reply.status, self._head()
        if exchange.ticket is None:
            self._client.answer(status, head, body)
        else:
            exchange.ticket.then(partial(self._client.answer, status, head, body))

    def _error_answer(self) -> None:
        """
        An engine's error, passed on once: as it is when the client's SDK can read it, else in that
        shape.
        """
        reply, exchange = self._reply, self._exchange
        headers, body = self._head(), reply.body
        exchange.usage = NOTHING  # refused: no token was spent
        if not _readable(body, exchange.endpoint.dialect):
            error = _as_error(reply.status, body)
            body = answers.error_body(error, exchange.endpoint.dialect)
            headers = self._head(frozenset({b"content-type"})) + answers.JSON
        if reply.status in {429, 503} and not reply.header(b"retry-after"):
            headers += b"retry-after: 1\r\n"
        exchange.bytes_out = len(body)
        self._end()
        exchange.outcome = (
            f"upstream_failed_{reply.status}" if reply.status >= 500 else "rejected_upstream"
        )
        exchange.settle()
        self._client.answer(reply.status, headers, body)

    def _remember(self, piece: bytes) -> None:
        """A stored response can only be continued where it was made; its id may come in pieces."""
        exchange = self._exchange
        seen = (self._seek or b"") + piece
        found = _RESPONSE_ID.search(seen)
        if found is not None and exchange.replica is not None:
            name = owned(exchange.caller, found[1].decode("ascii"))
            self._sticky.remember(name, exchange.served, exchange.replica.name)
        self._seek = seen if found is None and len(seen) < EDGE_BYTES else None

    def _head(self, replaced: frozenset[bytes] = frozenset()) -> bytes:
        limited = bool(self._exchange.lines)
        return returned(self._reply.headers, replaced, limited=limited) + self._ours()

    def _ours(self) -> bytes:
        exchange = self._exchange
        replica = exchange.replica.header if exchange.replica is not None else b""
        return exchange.answer_id + replica

    def _last(self) -> bytes:
        return self._splice.last if self._splice is not None else b""

    def _note_stream(self, frames: Frames) -> None:
        exchange, splice = self._exchange, self._splice
        spliced = len(exchange.times) + exchange.forgotten - self._pieces
        exchange.events = frames.events + spliced  # one event a chunk: an estimate, for aborts
        exchange.usage = frames.usage()
        if splice is not None:
            exchange.bytes_out += splice.size

    def _end(self) -> None:
        self._ended = True
        if self._done is not None and not self._done.done():  # else nobody waits, or no more
            self._done.set_result(None)

    def _settle_well(self) -> None:
        self._end()
        self._exchange.outcome = "completed"
        self._exchange.settle()


def _renamer(exchange: Exchange) -> Renamer | None:
    """Needed when the engine's name for the model is not the one that the client used."""
    replica, asked = exchange.replica, exchange.facts.model or exchange.served
    if replica is None:
        return None
    served = replica.serves.get(exchange.served, asked)
    return None if served == asked else Renamer(served, asked)


def _readable(body: bytes, dialect: answers.Dialect) -> bool:
    """Whether the body is an error in the shape that the dialect's SDKs read."""
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return False
    if not isinstance(decoded, dict) or not isinstance(decoded.get("error"), dict):
        return False
    return dialect == "openai" or decoded.get("type") == "error"


def _as_error(status: int, body: bytes) -> EngineError:
    """
    What an engine said in another shape: FastAPI's ``detail``, another dialect's error, plain text.
    """
    message: object = body[:1000].decode("utf-8", "replace").strip()
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        decoded = None
    if isinstance(decoded, dict):
        inner = decoded.get("error")
        message = inner.get("message") if isinstance(inner, dict) else inner
        message = (
            message or decoded.get("message") or decoded.get("detail") or "The replica refused."
        )
    return EngineError(status, str(message) or f"The replica answered {status}.")
