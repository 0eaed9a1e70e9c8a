"""feed.py: what comes over ZeroMQ reaches the sink in order, and what does not come is noticed."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import zmq
import zmq.asyncio

from headrace.errors import StartError
from headrace.fleet.feed import END, Feed, Name

WAIT_S = 20.0


class Kept:
    """A sink that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.exact = False

    def stored(
        self, tag: str | None, names: Sequence[Name], parent: Name | None, tokens: int
    ) -> None:
        self.told.append((tag, [*names], parent, tokens))

    def removed(self, names: Sequence[Name]) -> None:
        self.told.append(("gone", *names))

    def cleared(self) -> None:
        self.told.append("cleared")

    def lose(self) -> None:
        self.told.append("lost")


def stored(*names: Name, **more: Any) -> dict[str, Any]:
    """As vLLM 0.32 writes it."""
    return {
        "type": "BlockStored", "block_hashes": names, "parent_block_hash": None,
        "token_ids": [1] * 16 * len(names), "block_size": 16, "lora_id": None, "medium": "GPU",
        "lora_name": None, **more,
    }  # fmt: skip


def removed(*names: Name, **more: Any) -> dict[str, Any]:
    return {"type": "BlockRemoved", "block_hashes": names, "medium": "GPU", **more}


def batch(*events: Any, ts: float | None = None) -> bytes:
    return msgspec.msgpack.encode([time.time() if ts is None else ts, events, 0])


class Engine:
    """A publisher as vLLM's, with copies of what it sent."""

    def __init__(self, context: zmq.asyncio.Context, endpoint: str = "tcp://127.0.0.1:*") -> None:
        self.socket = context.socket(zmq.XPUB)  # a PUB that tells of its subscribers
        self.socket.linger = 0
        try:
            self.socket.bind(endpoint)
        except zmq.ZMQError:
            self.socket.close(0)
            raise
        self.endpoint = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self.router = context.socket(zmq.ROUTER)
        self.router.linger = 0
        self.router.bind("tcp://127.0.0.1:*")
        self.replay = self.router.getsockopt_string(zmq.LAST_ENDPOINT)
        self.copies: dict[int, bytes] = {}
        self.task: asyncio.Task[None] | None = None

    async def subscribed(self) -> None:
        """Somebody listens."""
        async with asyncio.timeout(WAIT_S):
            assert b"\x01" == await self.socket.recv()

    async def send(self, number: int, *events: Any) -> None:
        await self.raw(number.to_bytes(8, "big"), batch(*events))

    async def raw(self, *frames: bytes) -> None:
        await self.socket.send_multipart([b"", *frames])

    async def answer(self) -> None:
        """One request for what was lost, as vLLM answers it."""
        client, _, first = await self.router.recv_multipart()
        for number, payload in self.copies.items():
            if number >= int.from_bytes(first, "big"):
                name = number.to_bytes(8, "big")
                await self.router.send_multipart([client, b"", b"", name, payload])
        await self.router.send_multipart([client, b"", b"", END, b""])

    def close(self) -> None:
        self.socket.close(0)
        self.router.close(0)


@asynccontextmanager
async def followed(*, replay: bool = False) -> AsyncIterator[tuple[Engine, Feed, list[Any]]]:
    """An engine whose events are followed, and what the sink was told."""
    with zmq.asyncio.Context() as context:
        engine, sink = Engine(context), Kept()
        feed = Feed(engine.endpoint, engine.replay if replay else None, sink)
        task = asyncio.create_task(feed.run())
        try:
            await engine.subscribed()
            yield engine, feed, sink.told
        finally:
            task.cancel()
            await asyncio.wait({task})
            engine.close()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not true():  # noqa: ASYNC110 - nobody tells when this comes
            await asyncio.sleep(0.002)


async def sends(*messages: Awaitable[None]) -> None:
    for message in messages:
        await message


async def test_events_in_their_order() -> None:
    """From an engine's first batch on all is known; tags, parents and sizes come through."""
    async with followed() as (engine, feed, told):
        await engine.send(0, stored(1, 2, session_id="t-1"), removed(2))
        await engine.send(1, stored(3, parent_block_hash=1), {"type": "AllBlocksCleared"})
        await until(lambda: feed.batches == 2)

    expected = [
        "cleared", ("t-1", [1, 2], None, 16), ("gone", 2), (None, [3], 1, 16), "cleared",
    ]  # fmt: skip
    assert expected == told
    assert (4, 0, 0) == (feed.events, feed.gaps, feed.malformed)


async def test_other_media_and_layers_do_not_count() -> None:
    """What goes to a CPU's memory, or is one of several kinds of layers, is not the prefix."""
    async with followed() as (engine, feed, told):
        events = stored(1, medium="CPU"), removed(1, medium="CPU"), stored(2, group_idx=1)
        await engine.send(0, *events, stored(b"digest", group_idx=0))
        await until(lambda: feed.batches == 1)

    assert ["cleared", (None, [b"digest"], None, 16)] == told


async def test_a_gap_is_told() -> None:
    """Without a replay address a missing number means that events are lost; the rest goes on."""
    async with followed() as (engine, feed, told):
        await engine.send(0, stored(1))
        await engine.send(2, stored(3))
        await until(lambda: feed.batches == 2)

    assert ["cleared", (None, [1], None, 16), "lost", (None, [3], None, 16)] == told
    assert 1 == feed.gaps


async def test_a_gap_is_filled() -> None:
    """Missing batches are asked for, applied once and in order; nothing is lost."""
    async with followed(replay=True) as (engine, feed, told):
        await engine.send(0, stored(1))
        engine.copies = {number: batch(stored(number + 1)) for number in range(4)}
        await engine.send(3, stored(4))
        await engine.answer()
        await engine.send(4, stored(5))
        await until(lambda: told[-1:] == [(None, [5], None, 16)])

    assert ["cleared", *((None, [name], None, 16) for name in range(1, 6))] == told
    assert (0, 3) == (feed.gaps, feed.replayed)


async def test_copies_that_are_too_young() -> None:
    """An engine that keeps fewer copies than are missing cannot fill a gap."""
    async with followed(replay=True) as (engine, feed, told):
        await engine.send(0, stored(1))
        engine.copies = {5: batch(stored(6)), 6: batch(stored(7))}
        await engine.send(6, stored(7))
        await engine.answer()
        await until(lambda: feed.batches == 2)

    assert ["cleared", (None, [1], None, 16), "lost", (None, [7], None, 16)] == told


async def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay that does not come in time is a gap, and the feed goes on."""
    monkeypatch.setattr("headrace.fleet.feed.REPLAY_S", 0.05)
    async with followed(replay=True) as (engine, feed, told):
        await engine.send(0, stored(1))
        await engine.send(2, stored(3))
        await until(lambda: feed.batches == 2)

    assert "lost" in told
    assert 1 == feed.gaps


async def test_the_beginning_was_missed() -> None:
    """Who comes late cannot know what is there."""
    async with followed() as (engine, feed, told):
        await engine.send(7, stored(8))
        await until(lambda: feed.batches == 1)

    assert ["lost", (None, [8], None, 16)] == told


async def test_an_engine_starts_anew() -> None:
    """A number that begins again at 0 is another engine with an empty cache."""
    async with followed() as (engine, feed, told):
        await sends(*(engine.send(number, stored(number)) for number in (0, 1, 0)))
        await until(lambda: feed.batches == 3)

    assert ["cleared", (None, [0], None, 16)] == told[-2:]
    assert 0 == feed.gaps


async def test_an_engine_starts_anew_unheard() -> None:
    """A smaller number than before: its cache was emptied, and its first events are lost."""
    async with followed() as (engine, feed, told):
        await sends(*(engine.send(number, stored(number)) for number in (0, 1, 2, 1)))
        await until(lambda: feed.batches == 4)

    assert ["cleared", "lost", (None, [1], None, 16)] == told[-3:]


async def test_the_publisher_comes_back() -> None:
    """The same address after a restart is followed again without anybody doing anything."""
    with zmq.asyncio.Context() as context:
        first, sink = Engine(context), Kept()
        task = asyncio.create_task(Feed(first.endpoint, None, sink).run())
        try:
            await first.subscribed()
            await first.send(0, stored(1))
            await until(lambda: len(sink.told) == 2)
            first.close()
            second = await again(context, first.endpoint)
            await second.subscribed()
            await second.send(0, stored(9))
            await until(lambda: len(sink.told) == 4)
            second.close()
        finally:
            task.cancel()
            await asyncio.wait({task})

    assert ["cleared", (None, [9], None, 16)] == sink.told[-2:]


async def again(context: zmq.asyncio.Context, endpoint: str) -> Engine:
    """Bind where another has just closed, which takes a moment."""
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                return Engine(context, endpoint)
            except zmq.ZMQError:
                await asyncio.sleep(0.01)


NONSENSE = [
    [b"short", batch()],
    [(1).to_bytes(8, "big")],
    [(1).to_bytes(8, "big"), b"\xc1 no MessagePack"],
    [(1).to_bytes(8, "big"), msgspec.msgpack.encode({"ts": 1})],
    [(1).to_bytes(8, "big"), batch({"type": "BlockMelted"})],
    [(1).to_bytes(8, "big"), batch(stored(1, block_size=0))],
    [(1).to_bytes(8, "big"), batch(stored("text"))],  # type: ignore[arg-type]
    [(1).to_bytes(8, "big"), batch() + b"more"],
]


@pytest.mark.parametrize("frames", NONSENSE, ids=range(len(NONSENSE)))
async def test_messages_that_cannot_be_read(frames: list[bytes]) -> None:
    """They count as lost events, whatever is wrong with them, and the feed goes on."""
    async with followed() as (engine, feed, told):
        await engine.send(0, stored(1))
        await engine.raw(*frames)
        await engine.send(2, stored(3))
        await until(lambda: feed.batches == 2)

    assert "lost" in told
    assert (None, [3], None, 16) == told[-1]
    assert 1 == feed.malformed


async def test_the_lag_is_measured() -> None:
    """How late a batch is applied is seen, by the engine's clock and ours."""
    async with followed() as (engine, feed, _):
        await engine.raw((0).to_bytes(8, "big"), batch(stored(1), ts=time.time() - 3))
        await until(lambda: feed.batches == 1)

    assert 3 <= feed.lag_s < 3 + WAIT_S
    assert 0 <= time.monotonic() - feed.heard_at < WAIT_S


async def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who wants events without pyzmq is told what to install."""
    monkeypatch.setitem(sys.modules, "zmq.asyncio", None)
    with pytest.raises(StartError, match="pip install 'headrace\\[kv-events\\]'"):
        await Feed("tcp://127.0.0.1:9", None, Kept()).run()
