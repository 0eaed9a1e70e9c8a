"""
Follows what one engine publishes about its prefix cache: vLLM's KV events over ZeroMQ. What they
mean for routing is routing/ledger.py's.

Each message is a topic, a number (8 bytes) and a batch in MessagePack; the shapes are those of
https://github.com/vllm-project/vllm/blob/main/vllm/distributed/kv_events.py (0.32). Missing numbers
are asked for again where there is a replay address; else the sink is told that events were lost.
"""

import asyncio
import importlib
import time
from collections.abc import Sequence
from typing import Annotated, Any, Protocol

import msgspec

from headrace.errors import StartError

# Batches that wait here at most: more are lost, which their numbers show.
MOST_WAITING = 10_000
# Events that are applied in one go, before others may run: about half a millisecond.
TURN = 256
# An engine answers a request for lost batches between two of its own, ten times a second.
REPLAY_S = 2.0
# Of more missing batches than this an engine keeps no copies (vLLM's `buffer_steps`).
MOST_REPLAYED = 10_000
END = (-1).to_bytes(8, "big", signed=True)

Name = int | bytes


class Stored(msgspec.Struct, frozen=True, tag="BlockStored"):
    """Blocks that can be found from now on. Their tokens are not read."""

    block_hashes: list[Name]
    parent_block_hash: Name | None
    block_size: Annotated[int, msgspec.Meta(gt=0)]
    medium: str | None = None
    group_idx: int | None = None
    session_id: str | None = None


class Removed(msgspec.Struct, frozen=True, tag="BlockRemoved"):
    """Blocks that are gone."""

    block_hashes: list[Name]
    medium: str | None = None
    group_idx: int | None = None


class Cleared(msgspec.Struct, frozen=True, tag="AllBlocksCleared"):
    """The cache was reset."""


class Batch(msgspec.Struct, array_like=True, frozen=True):
    """What one step changed; ``ts`` is in seconds since 1970."""

    ts: float
    events: list[Stored | Removed | Cleared]


class Sink(Protocol):
    """Who wants to know. ``lose``: events are missing from here on."""

    exact: bool

    def stored(
        self, tag: str | None, names: Sequence[Name], parent: Name | None, tokens: int
    ) -> None: ...

    def removed(self, names: Sequence[Name]) -> None: ...

    def cleared(self) -> None: ...

    def lose(self) -> None: ...


_batch = msgspec.msgpack.Decoder(Batch)


def library() -> Any:
    """
    The package pyzmq.

    Raises:
        StartError: it is not installed.

    """
    try:
        return importlib.import_module("zmq.asyncio")
    except ImportError:
        raise StartError(
            "A backend has `kv_events`, which needs pyzmq; install it with"
            " `pip install 'headrace[kv-events]'`."
        ) from None


class Feed:
    """
    One engine's events; ``run`` ends only by being cancelled.

    ``lag_s`` is how long the last batch took from the engine to here (their clocks must agree),
    ``heard_at`` when that was (monotonic, s; 0: never).
    """

    def __init__(self, endpoint: str, replay: str | None, sink: Sink) -> None:
        self.sink = sink
        self.batches = self.events = self.gaps = self.malformed = self.replayed = 0
        self.lag_s = self.heard_at = 0.0
        self._endpoint = endpoint
        self._replay = replay
        self._next: int | None = None
        self._again = False  # what was replayed may come a second time

    async def run(self) -> None:
        """
        Apply what comes.

        Raises:
            StartError: pyzmq is not installed.

        """
        zmq = library()
        context = zmq.Context()
        socket = context.socket(importlib.import_module("zmq").SUB)
        try:
            socket.linger = 0
            socket.set_hwm(MOST_WAITING)
            socket.subscribe(b"")
            socket.connect(self._endpoint)
            done = 0
            while True:
                done += await self._message(await socket.recv_multipart(), context)
                if done >= TURN:
                    done = 0
                    await asyncio.sleep(0)
        finally:
            socket.close(0)
            context.term()

    # --- below ------------------------------------------------------------------------------

    async def _message(self, frames: list[bytes], context: Any) -> int:
        """Apply one message, after those that are missing before it; how many events it had."""
        if len(frames) != 3 or len(frames[1]) != 8:
            self._spoil()
            return 1
        number = int.from_bytes(frames[1], "big")
        if number != self._next:
            if self._next is not None and number < self._next and self._again:
                return 1
            await self._jump(number, context)
            if self._next is not None and number < self._next:
                return 1  # it was among the replayed
        else:
            self._again = False
        self._next = number + 1
        return self._apply(frames[2])

    def _apply(self, payload: bytes) -> int:
        try:
            batch = _batch.decode(payload)
        except msgspec.MsgspecError:
            self._spoil()
            return 1
        sink = self.sink
        for event in batch.events:
            if isinstance(event, Stored):
                if _counts(event):
                    sink.stored(
                        event.session_id, event.block_hashes, event.parent_block_hash,
                        event.block_size,
                    )  # fmt: skip
            elif isinstance(event, Removed):
                if _counts(event):
                    sink.removed(event.block_hashes)
            else:
                sink.cleared()
        self.batches += 1
        self.events += len(batch.events)
        self.lag_s = max(0.0, time.time() - batch.ts)
        self.heard_at = time.monotonic()
        return 1 + len(batch.events)

    def _spoil(self) -> None:
        """A message that cannot be read has events that are not known."""
        self.malformed += 1
        self.sink.lose()

    async def _jump(self, number: int, context: Any) -> None:
        """Another number than the next: the engine has started anew, or batches are missing."""
        expected, self._next = self._next, None
        anew = expected is None or number < expected
        if anew:
            if expected is not None or not number:
                self.sink.cleared()
            expected = 0
            if not number:
                return
        if expected is not None and await self._catch_up(expected, number, context):
            self._again = True
            return
        self._next = None
        self.gaps += 1
        self.sink.lose()

    async def _catch_up(self, first: int, before: int, context: Any) -> bool:
        """Get the missing batches from the engine; whether all of them came."""
        if self._replay is None or before - first > MOST_REPLAYED:
            return False
        socket = context.socket(importlib.import_module("zmq").DEALER)
        socket.linger = 0
        try:
            async with asyncio.timeout(REPLAY_S):
                socket.connect(self._replay)
                await socket.send_multipart([b"", first.to_bytes(8, "big")])
                return await self._take(socket, first) >= before
        except TimeoutError:
            return False
        finally:
            socket.close(0)

    async def _take(self, socket: Any, number: int) -> int:
        """Apply replayed batches in order; the number that would have to come next."""
        while True:
            frames = await socket.recv_multipart()
            if len(frames) != 4 or frames[2] == END:
                return number
            if int.from_bytes(frames[2], "big") != number:
                return number  # the oldest are not kept any more
            self._apply(frames[3])
            number += 1
            self.replayed += 1
            self._next = number
            if not number % TURN:
                await asyncio.sleep(0)


def _counts(event: Stored | Removed) -> bool:
    """Whether it is about the GPU's cache, and of several kinds of layers about the first."""
    return event.medium in {None, "GPU"} and not event.group_idx
