"""KV events: vLLM's shapes, over a real ZeroMQ socket."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import zmq
import zmq.asyncio

from headrace.engines.sim.events import Events, Publisher
from headrace.errors import StartError
from tests.engines.sim.rig import WAIT_S, ask, simulator

WORDS = " ".join(f"word{n}" for n in range(40))


class Sent:
    """A socket that keeps what was sent."""

    def __init__(self) -> None:
        self.batches: list[Any] = []

    def send(self, payload: bytes) -> None:
        self.batches.append(msgspec.msgpack.decode(payload))

    def close(self) -> None:
        """Nothing to close."""


def test_batches_have_vllms_shape() -> None:
    """A batch is an array of time, events and rank; an event is a map that names its type."""
    sent = Sent()
    log = Events(sent, block_size=2)
    log.stored(None, [11, 12], [1, 2, 3, 4])
    log.removed(7)
    log.removed(8)
    log.flush()

    stored = {
        "type": "BlockStored", "block_hashes": [11, 12], "parent_block_hash": None,
        "token_ids": [1, 2, 3, 4], "block_size": 2, "lora_id": None, "medium": "GPU",
        "lora_name": None,
    }  # fmt: skip
    removed = {"type": "BlockRemoved", "block_hashes": [7, 8], "medium": "GPU"}
    assert 1 == len(sent.batches)
    assert [[stored, removed], 0] == sent.batches[0][1:]
    assert sent.batches[0][0] > 1_700_000_000


def test_nothing_happened() -> None:
    """An iteration that changed nothing publishes nothing."""
    sent = Sent()
    Events(sent, 16).flush()

    assert [] == sent.batches


def test_a_reset_is_told_at_once() -> None:
    """After a reset nobody may believe in blocks until the next iteration."""
    sent = Sent()
    Events(sent, 16).cleared()

    assert [[{"type": "AllBlocksCleared"}], 0] == sent.batches[0][1:]


def test_batches_stay_small() -> None:
    """Consumers refuse batches of more than 4,096 events; they are cut long before."""
    sent = Sent()
    log = Events(sent, 16)
    for name in range(2000):
        log.stored(None, [name], [])
    log.flush()

    assert 2000 == sum(len(batch[1]) for batch in sent.batches)
    assert max(len(batch[1]) for batch in sent.batches) <= 4096


@asynccontextmanager
async def subscribed(url: str) -> AsyncIterator[zmq.asyncio.Socket]:
    """A subscriber of a replica's events, found as routers find it."""
    source = (await ask(url, "/kv_event_sources")).json()["0"]
    assert (True, "zmq", "") == (
        source["enable_kv_cache_events"], source["publisher"], source["topic"],
    )  # fmt: skip
    with zmq.asyncio.Context() as context, context.socket(zmq.SUB) as socket:
        socket.linger = 0
        socket.subscribe(b"")
        socket.connect(source["endpoint"])
        yield socket


async def received(socket: zmq.asyncio.Socket) -> tuple[int, list[dict[str, Any]]]:
    """The next message's number and events."""
    async with asyncio.timeout(WAIT_S):
        topic, number, payload = await socket.recv_multipart()
    assert b"" == topic
    return int.from_bytes(number, "big"), msgspec.msgpack.decode(payload)[1]


async def test_a_prompt_is_told_block_by_block() -> None:
    """A prompt's whole blocks are published with the tokens that /tokenize tells."""
    body = {"prompt": WORDS, "max_tokens": 1, "ignore_eos": True}
    async with simulator(surface={"kv_events": True}) as server:
        url = server.urls[0]
        tokens = (await ask(url, "/tokenize", body)).json()["tokens"]
        async with subscribed(url) as socket:
            found, _ = await first(url, socket, body)

    whole = len(tokens) // 16
    assert whole == len(found["block_hashes"])
    assert tokens[: whole * 16] == found["token_ids"]
    assert (None, 16, "GPU") == (found["parent_block_hash"], found["block_size"], found["medium"])


async def first(
    url: str, socket: zmq.asyncio.Socket, body: dict[str, Any]
) -> tuple[dict[str, Any], str]:
    """
    The first event that is seen, and the salt of its prompt.

    A subscription takes a moment to reach the publisher: there are new prompts until it has.
    """
    for number in range(100):
        salt = f"s{number}"
        await ask(url, "/v1/completions", {**body, "cache_salt": salt})
        if await socket.poll(100):
            _, told = await received(socket)
            return next(event for event in told if event["type"] == "BlockStored"), salt
    raise AssertionError("no event")


async def test_a_second_prompt_names_its_parent() -> None:
    """Only what is new is told, and which known block it stands behind; numbers have no gap."""
    async with simulator(surface={"kv_events": True}) as server:
        url = server.urls[0]
        async with subscribed(url) as socket:
            body = {"prompt": WORDS, "max_tokens": 1, "ignore_eos": True}
            before, salt = await first(url, socket, body)
            longer = {**body, "prompt": f"{WORDS} {WORDS}", "cache_salt": salt}
            await ask(url, "/v1/completions", longer)
            number, told = await received(socket)

    assert before["block_hashes"][-1] == told[0]["parent_block_hash"]
    assert number > 0


async def gone(socket: zmq.asyncio.Socket) -> set[int]:
    """Blocks that are told to be removed, until nothing more is told."""
    found: set[int] = set()
    while await socket.poll(50):
        _, told = await received(socket)
        for event in told:
            found |= set(event["block_hashes"]) if event["type"] == "BlockRemoved" else set()
    return found


async def test_evicted_blocks_are_told() -> None:
    """A cache that is too small for both prompts publishes what it had to forget."""
    small = {"kv_tokens": 128, "max_model_len": 128, "surface": {"kv_events": True}}
    async with simulator(**small) as server:
        url = server.urls[0]
        async with subscribed(url) as socket:
            body = {"prompt": WORDS, "max_tokens": 1, "ignore_eos": True}
            stored = set((await first(url, socket, body))[0]["block_hashes"])
            for salt in range(100, 105):
                await ask(url, "/v1/completions", {**body, "cache_salt": f"s{salt}"})
            removed = await gone(socket)

    assert stored <= removed


async def test_scaled_blocks_are_told_in_tokens_of_text() -> None:
    """With a scale, events and rendered prompts count in the same tokens."""
    body = {"prompt": WORDS, "max_tokens": 1, "ignore_eos": True}
    settings = {"block_size": 64, "surface": {"kv_events": True, "token_scale": 8}}
    async with simulator(**settings) as server:
        url = server.urls[0]
        rendered = (await ask(url, "/v1/completions/render", body)).json()[0]["token_ids"]
        async with subscribed(url) as socket:
            found, _ = await first(url, socket, body)

    assert 8 == found["block_size"]
    assert rendered[: len(found["token_ids"])] == found["token_ids"]


async def test_no_events() -> None:
    """Without the setting there are no sources, as with vLLM."""
    async with simulator() as server:
        found = await ask(server.urls[0], "/kv_event_sources")

    assert {} == found.json()


async def test_busy_port() -> None:
    """A port that somebody has is told before anything listens."""
    publisher = Publisher("127.0.0.1", 0)
    port = int(publisher.endpoint.rpartition(":")[2])
    try:
        with pytest.raises(StartError, match=f"Port {port} on 127.0.0.1 cannot be used"):
            async with simulator(surface={"kv_events": True, "kv_events_port": port}):
                pass
    finally:
        publisher.close()


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who wants events without pyzmq is told what to install."""
    monkeypatch.setitem(sys.modules, "zmq", None)
    with pytest.raises(StartError, match="pip install 'headrace\\[kv-events\\]'"):
        Publisher("127.0.0.1", 0)
