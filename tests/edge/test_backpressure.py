"""A client that does not read slows its own engine down, and nothing else (cases 4, 8, 15)."""

import asyncio
from pathlib import Path

import pytest

from headrace.conformance import answers
from headrace.conformance.fake import WAIT_S, Exchange, chunk, head
from headrace.conformance.wire import request
from tests.edge.rig import CHAT_PATH, Rig, ask, eventually, gather, streamed, turns

MIB = 1024 * 1024
BLOCK = answers.chat_chunk("m", {"content": "x" * 65_536})
BLOCKS = 200 * MIB // len(BLOCK)


def _resident() -> int:
    """Bytes of memory that this process has in use (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


async def _floods(exchange: Exchange) -> None:
    """Try to send 200 MB as fast as they are taken."""
    await exchange.start_stream()
    for _ in range(BLOCKS):
        await exchange.events(BLOCK)
    await exchange.end_stream()


async def _stalls(exchange: Exchange) -> int:
    """Wait until the engine gets rid of no more bytes; gives how many it did."""
    before = -1
    async with asyncio.timeout(WAIT_S):
        while exchange.sent != before:
            before = exchange.sent
            await turns(100)
    return before


@pytest.mark.parametrize("body", [streamed(), ask(stream=True)], ids=["plain", "counted"])
async def test_backpressure_pauses_the_engine(rig: Rig, body: dict[str, object]) -> None:
    """An engine with 200 MB for a client that does not read is stalled after a few of them."""
    engine = await rig.engine(_floods)
    await rig.gateway()
    before = _resident()
    async with rig.client(receive_bytes=4096) as client:
        answer = await client.open("POST", CHAT_PATH, body)
        await answer.event()

        sent = await _stalls(await engine.exchange())

        assert sent < 24 * MIB
        assert _resident() - before < 32 * MIB
    await engine.exchanges[0].wait_closed()


async def test_backpressure_of_whole_answers(rig: Rig) -> None:
    """It is the same for an answer that is not streamed."""

    async def script(exchange: Exchange) -> None:
        await exchange.write(head(200, ("content-length", str(200 * MIB))))
        for _ in range(200):
            await exchange.write(bytes(MIB))

    engine = await rig.engine(script)
    await rig.gateway()
    async with rig.client(receive_bytes=4096) as client:
        await client.open("POST", "/v1/embeddings", ask("/v1/embeddings"))

        assert await _stalls(await engine.exchange()) < 24 * MIB
    await engine.exchanges[0].wait_closed()


async def test_backpressure_does_not_stop_others(rig: Rig) -> None:
    """While one client does not read, the others' streams run as ever."""
    engine = await rig.engine(answers.like_vllm)
    engine.queue.append(_floods)
    await rig.gateway()
    async with rig.client(receive_bytes=4096) as client:
        answer = await client.open("POST", CHAT_PATH, streamed())
        await answer.event()
        await _stalls(await engine.exchange())

        seen = await gather(*(rig.post(streamed()) for _ in range(20)))

    expected = b"".join(answers.chat_frames("m", usage=True))
    assert [expected] * 20 == [bytes(each.body) for each in seen]


@pytest.mark.parametrize("body", [streamed(), ask(stream=True)], ids=["plain", "counted"])
async def test_backpressure_loses_nothing(rig: Rig, body: dict[str, object]) -> None:
    """A client that reads late and slowly gets every byte, in order."""
    frames = [
        answers.chat_chunk("m", {"content": f"{number} " + "y" * 20_000}) for number in range(300)
    ]
    engine = await rig.engine(answers.streams(*frames, answers.DONE))
    await rig.gateway()
    async with rig.client(receive_bytes=4096) as client:
        answer = await client.open("POST", CHAT_PATH, body)
        await _stalls(await engine.exchange())
        for _ in range(20):
            await answer.event()
            await asyncio.sleep(0.002)
        await answer.finish()

    assert b"".join([*frames, answers.DONE]) == answer.body
    assert answer.ended


async def test_backpressure_sees_the_client_leave(rig: Rig) -> None:
    """A paused stream notices that its client left, also by a reset."""
    engine = await rig.engine(_floods)
    await rig.gateway()
    for number, how in enumerate(("close", "reset")):
        client = await rig.client(receive_bytes=4096).__aenter__()
        answer = await client.open("POST", CHAT_PATH, streamed())
        await answer.event()
        await _stalls(await engine.exchange(number))

        getattr(client, how)()

        await engine.exchanges[number].wait_closed()
    await rig.idle()


async def test_backpressure_does_not_grow_with_one_huge_event(rig: Rig) -> None:
    """An event that never ends does not fill our memory: it is cut off, or passed on unfinished."""

    async def script(exchange: Exchange) -> None:
        await exchange.start_stream()
        await exchange.write(chunk(b'data: {"model":"m","x":"'))
        for _ in range(300):
            await exchange.write(chunk(b"z" * MIB))
        await exchange.link.closed.wait()

    engine = await rig.engine(script)
    await rig.gateway(timeouts={"chunk_s": 20, "first_byte_s": 20})
    before = _resident()
    client = await rig.client(receive_bytes=4096).__aenter__()
    await client.send(request("POST", CHAT_PATH, streamed()))
    await _stalls(await engine.exchange())
    grown = _resident() - before
    client.close()

    assert grown < 64 * MIB
    await eventually(lambda: engine.exchanges[0].peer_closed)
