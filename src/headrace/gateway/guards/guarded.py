"""
The relay of an answer that guards look at: streams are made anew frame by frame, whole answers are
held until they were looked at. All other answers go through relay.py as they are.
"""

import asyncio
import itertools
from collections.abc import Awaitable
from functools import partial
from typing import Any

import msgspec

from headrace.errors import ApiError, Unguarded
from headrace.gateway import answers
from headrace.gateway.clocks import now
from headrace.gateway.exchange import Exchange
from headrace.gateway.guards.guarding import blocked
from headrace.gateway.guards.watch import Watch
from headrace.gateway.send.relay import Relay
from headrace.gateway.send.stream import usage_of
from headrace.guard import refusal, walk
from headrace.guard.screen import Refused
from headrace.guard.stream import Stream
from headrace.guard.types import Unavailable
from headrace.routing.stickiness import Stickiness
from headrace.upstream.connection import Reply

# A whole answer must be held to be looked at; a larger one is no model's.
MAX_WHOLE_BYTES = 32 * 1024 * 1024
# Above this the replica is not read until the guards have caught up.
HIGH_WATER = 256 * 1024
DONE = b"data: [DONE]\n\n"


def relaying(exchange: Exchange, reply: Reply, *, strip_usage: bool, sticky: Stickiness) -> Relay:
    """
    Who relays an answer: the short way, unless guards look at it.

    Raises:
        EngineError: it is no stream, but the client's stream has begun.

    """
    watch = exchange.watch
    if watch is None or not watch.outputs:
        return Relay(exchange, reply, strip_usage=strip_usage, sticky=sticky)
    return Guarded(exchange, reply, watch, strip_usage=strip_usage, sticky=sticky)


class Guarded(Relay):
    """Passes on one answer as far as guards let it, in the request's own task."""

    __slots__ = ("_arrived", "_fault", "_over", "_size", "_stream", "_waiter", "_watch")

    def __init__(
        self, exchange: Exchange, reply: Reply, watch: Watch, *, strip_usage: bool,
        sticky: Stickiness,
    ) -> None:  # fmt: skip
        super().__init__(exchange, reply, strip_usage=strip_usage, sticky=sticky)
        self._watch = watch
        self._arrived: list[bytes] = []
        self._size = 0  # of what has arrived and was not looked at
        self._over = False
        self._fault = ""
        self._waiter: asyncio.Future[None] | None = None
        texts = [guard for guard in watch.outputs if guard.policy.kind != "json_schema"]
        self._stream = Stream(
            lambda *segment: watch.looks.judged(texts, segment, watch.tally),
            by_sentence=any(guard.by_sentence for guard in texts),
        )
        if len(texts) < len(watch.outputs):
            self._stream.judge_whole(self._check)

    def begin(self, chunk_s: float) -> "Awaitable[None] | None":
        """Begin; an engine's error is passed on as it is."""
        exchange, reply = self._exchange, self._reply
        if reply.status >= 400:
            return super().begin(chunk_s)
        exchange.status = reply.status
        exchange.request.drop()
        if exchange.endpoint.stores:
            self._remember(reply.body)
        if self._frames is not None:
            exchange.stream(now(), chunk_s)
            if not exchange.begun:
                self._client.start(reply.status, self._head(answers.SSE_NAMES) + answers.SSE)
        if reply.complete:
            self.end(reply.body)
        else:
            self._take(reply.body)
            reply.connection.attach(self)
        return self._work()

    def stop(self, error: ApiError) -> None:
        """End it with an error: a whole answer was not begun, and can still be one."""
        if self._frames is not None or self._ended:
            super().stop(error)
            return
        self._end()
        exchange = self._exchange
        exchange.failed(error)
        exchange.status = error.status
        exchange.settle()
        headers = answers.error_headers(error) + exchange.answer_id
        body = answers.error_body(error, exchange.endpoint.dialect)
        self._client.answer(error.status, headers, body)

    # --- Sink: called by the upstream connection ------------------------------------------

    def data(self, data: bytes) -> None:
        self._exchange.times.append(now())
        if self._seek is not None:
            self._remember(data)
        self._take(data)

    def end(self, data: bytes) -> None:
        self._over = True
        self._take(data)

    def broken(self, reason: str) -> None:
        if self._frames is not None and self._frames.finished(b""):
            self.end(b"")
            return
        self._exchange.blame(reason)
        self._fault = reason
        self._wake()

    # --- below -----------------------------------------------------------------------------

    def _take(self, data: bytes) -> None:
        frames = self._frames
        if frames is not None:
            data = frames.feed(data) + (frames.flush() if self._over else b"")
            self._pieces += 1
        if data:
            self._arrived.append(data)
            self._size += len(data)
            if self._size > HIGH_WATER and frames is not None and not self._over:
                self._reply.connection.pause()
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def _work(self) -> None:
        try:
            if self._frames is not None:
                await self._stream_out()
            else:
                await self._whole_out()
        except Refused as refused:
            self._refuse(refused)
        except Unavailable as error:
            raise Unguarded(f"The answer could not be looked at: {error}.") from None

    async def _next(self) -> bytes:
        """What has arrived since; empty when the answer is over."""
        while not self._arrived and not self._over and not self._fault:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        data = b"".join(self._arrived)
        self._arrived = []
        held, self._size = self._size, 0
        if held > HIGH_WATER and not self._over and not self._client.choked:
            self._reply.connection.resume()
        return data

    async def _stream_out(self) -> None:
        stream = self._stream
        while data := await self._next():
            made = await stream.feed(data)
            self._exchange.bytes_out += len(made)
            self._client.write(made)
        if self._fault:
            super().broken(self._fault)
            return
        last = await stream.finish()
        frames = self._frames
        assert frames is not None  # noqa: S101 - the caller looked
        self._note_stream(frames)
        self._exchange.bytes_out += len(last)
        self._settle_well()
        self._leave(partial(self._client.end, last))

    async def _whole_out(self) -> None:
        parts, size = [], 0
        while data := await self._next():
            parts.append(data)
            size += len(data)
            if size > MAX_WHOLE_BYTES:
                raise Unavailable(f"it has more than {MAX_WHOLE_BYTES} bytes")
        if self._fault:
            super().broken(self._fault)
            return
        body = b"".join(parts)
        if self._renamer is not None:
            body = self._renamer.whole(body)
        self._exchange.usage = usage_of(body)
        body = await self._looked_at(body)
        self._exchange.bytes_out = len(body)
        if self._exchange.error:  # a guard's
            self._end()
            self._exchange.settle()
        else:
            self._settle_well()
        self._leave(partial(self._client.answer, self._reply.status, self._head(), body))

    def _leave(self, write: "partial[None]") -> None:
        """Write the end of the answer, once its row is safe."""
        ticket = self._exchange.ticket
        if ticket is None:
            write()
        else:
            ticket.then(write)

    async def _looked_at(self, body: bytes) -> bytes:
        """A whole answer without what must not leave; the same bytes where there is no such."""
        if self._exchange.endpoint.path == "/v1/embeddings" or not body:
            return body
        tree = _decoded(body)
        watch, tally = self._watch, self._watch.tally
        texts = [guard for guard in watch.outputs if guard.policy.kind != "json_schema"]
        try:
            await self._check(_said(tree))
            silenced = walk.silenced(tree) if texts else False
            changed = await watch.looks.screened(texts, tree, "output", tally)
        except Refused as refused:
            if not refusal.emptied(tree):
                raise
            self._exchange.failed(blocked(refused, "this answer"))
            return msgspec.json.encode(tree)
        if not changed and not silenced:
            return body
        return msgspec.json.encode(tree) if _WHOLE not in tree else tree[_WHOLE]["text"].encode()

    async def _check(self, said: list[str]) -> None:
        """Hold the texts of an answer against the schema that they are to follow."""
        watch = self._watch
        held = [guard for guard in watch.outputs if guard.policy.kind == "json_schema"]
        for guard, text in itertools.product(held, said):
            fault = await watch.looks.fault(guard, watch.schema, text, watch.tally)
            if fault:
                watch.tally.add(guard.policy.name, guard.policy.mode, [fault])
                if guard.policy.mode == "block":
                    raise Refused(guard.policy.name, [fault])

    def _refuse(self, refused: Refused) -> None:
        """End an answer by policy; the replica's connection is closed with it."""
        if self._frames is None:
            self.stop(blocked(refused, "this answer"))
            return
        self._end()
        exchange = self._exchange
        exchange.failed(blocked(refused, "this answer"))
        self._note_stream(self._frames)
        last = self._stream.stopped()
        if exchange.endpoint.usage_option:
            last += DONE
        exchange.bytes_out += len(last)
        exchange.settle()
        self._client.end(last)


# What is not JSON is one text.
_WHOLE = "\0"


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        tree = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        tree = None
    if isinstance(tree, dict):
        return tree
    return {_WHOLE: {"text": body.decode("utf-8", "replace")}}


def _said(tree: dict[str, Any]) -> list[str]:
    """The texts of a whole answer that a schema is about."""
    choices = tree.get("choices")
    if isinstance(choices, list):
        found = [each.get("message", each) for each in choices if isinstance(each, dict)]
        said = [each.get("content", each.get("text")) for each in found]
    else:
        parts = [part for each in tree.get("output") or [tree] if isinstance(each, dict)
                 for part in each.get("content") or []]  # fmt: skip
        said = [each.get("text") for each in parts if isinstance(each, dict)]
    return [text for text in said if isinstance(text, str) and text]
