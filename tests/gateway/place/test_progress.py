"""progress.py: what running requests show of their replicas."""

import asyncio

from headrace.conformance import answers
from headrace.conformance.fake import Exchange
from headrace.conformance.wire import request
from headrace.gateway.clocks import now
from headrace.gateway.place.progress import progress
from tests.edge.rig import CHAT_PATH, Rig, ask, eventually, streamed


async def test_streams_and_waiting_prompts(rig: Rig) -> None:
    """Streams, the last byte, and the longest prompt that has none yet."""
    go = asyncio.Event()

    async def rest(exchange: Exchange) -> None:
        await go.wait()
        await exchange.end_stream()

    engine = await rig.engine(
        answers.streams_then(answers.chat_chunk("m", {"content": "a"}), then=rest)
    )
    gateway = await rig.gateway()
    (replica,) = gateway.fleet.replicas.values()
    started = now()
    async with rig.client() as first, rig.client() as second:
        stream = await first.open("POST", CHAT_PATH, streamed())
        await stream.event()
        engine.script = answers.after(go, answers.like_vllm)
        long = ask(messages=[{"role": "user", "content": "word " * 4000}])
        await second.send(request("POST", CHAT_PATH, long))
        await eventually(lambda: replica.inflight_requests == 2)
        seen = progress(gateway._active, now())
        go.set()
        await stream.finish()
        await (await second.answer()).finish()
    await rig.idle()

    assert [replica] == [*seen]
    assert 1 == seen[replica].streams
    assert started < seen[replica].byte_at < now()
    assert seen[replica].waiting_prompt > 2000
    assert {} == progress(gateway._active, now())


async def test_a_slow_client_is_no_silence(rig: Rig) -> None:
    """While a client does not read, its replica cannot show bytes, and is not held to it."""
    piece = answers.chat_chunk("m", {"content": "x" * 60_000})

    async def pours(exchange: Exchange) -> None:
        await exchange.start_stream()
        while True:
            await exchange.events(piece)

    await rig.engine(pours)
    gateway = await rig.gateway()
    (replica,) = gateway.fleet.replicas.values()
    client = await rig.client().__aenter__()
    await client.send(request("POST", CHAT_PATH, streamed()))
    await eventually(lambda: any(each.client.choked for each in gateway._active), timeout_s=5)
    seen = progress(gateway._active, 12345.0)
    client.close()

    assert 12345.0 == seen[replica].byte_at
