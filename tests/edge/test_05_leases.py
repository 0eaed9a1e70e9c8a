"""Case 5: after any storm of aborts, resets and deaths no lease, byte, task or socket is left."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from headrace.conformance import answers
from headrace.conformance.fake import Exchange, FakeEngine, PeerGone, Script, head
from headrace.conformance.wire import Client, request
from tests.edge.rig import CHAT_PATH, STREAMS, Rig, ask, eventually, gather, streamed

REQUESTS = 150
AT_ONCE = 25


def _sockets() -> int:
    """How many sockets this process has open (Linux)."""
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            count += str(entry.readlink()).startswith("socket:")
    return count


def _moods(chance: random.Random) -> Script:
    """An engine that behaves differently on each request."""

    async def slow_stream(exchange: Exchange) -> None:
        await exchange.start_stream()
        for frame in answers.chat_frames("m", usage=True):
            await exchange.events(frame)
            await asyncio.sleep(chance.random() * 0.004)
        await exchange.end_stream()

    async def cut_stream(exchange: Exchange) -> None:
        await exchange.start_stream()
        await exchange.events(*answers.chat_frames("m")[: chance.randrange(4)])
        await asyncio.sleep(chance.random() * 0.01)
        chance.choice([exchange.close, exchange.reset])()

    async def cut_head(exchange: Exchange) -> None:
        await exchange.write(head(200, ("content-length", "10"))[: chance.randrange(40)])
        exchange.reset()

    async def hangs_a_while(exchange: Exchange) -> None:
        with contextlib.suppress(TimeoutError):
            await exchange.wait_closed(0.1)
        await answers.like_vllm(exchange)

    moods: list[Callable[[Exchange], Awaitable[None]]] = [
        *[answers.like_vllm] * 4,
        *[slow_stream] * 4,
        cut_stream,
        cut_head,
        hangs_a_while,
        answers.resets,
        answers.says(503, answers.error(503), ("retry-after", "1")),
        answers.says(400, answers.ERR_CONTEXT),
        answers.raw(b"nonsense\r\n\r\n", close=True),
    ]

    async def any_mood(exchange: Exchange) -> None:
        await chance.choice(moods)(exchange)

    return any_mood


async def _visit(rig: Rig, chance: random.Random) -> None:
    """One client: asks for something and leaves at some moment, or stays."""
    path = chance.choice([CHAT_PATH, CHAT_PATH, *STREAMS])
    body = streamed(path) if chance.random() < 0.6 else ask(path)
    if chance.random() < 0.2:
        body["user"] = "u" * chance.choice([10, 10_000, 200_000])
    whole = request("POST", path, body)
    client = rig.client()
    with contextlib.suppress(ConnectionError, TimeoutError, EOFError):
        async with client:
            await _talk(client, whole, chance)
    client.close()


async def _talk(client: Client, whole: bytes, chance: random.Random) -> None:
    leave = chance.choice([client.close, client.reset])
    moment = chance.randrange(7)
    if moment == 0:
        await client.send(whole[: chance.randrange(len(whole))])
        await asyncio.sleep(chance.random() * 0.01)
        return leave()
    await client.send(whole)
    if moment in {1, 2}:
        await asyncio.sleep(chance.random() * 0.02)
        return leave()
    answer = await client.answer()
    if moment == 3:
        return leave()
    if moment == 4:
        for _ in range(chance.randrange(4)):
            await answer.event()
        return leave()
    await answer.finish()
    if moment == 5:
        await client.send(whole * 2)
        await (await client.answer()).finish()
    return None


async def _havoc(rig: Rig, chance: random.Random, engines: list[FakeEngine]) -> None:
    """Kill engines, bring them back, and take them in and out of the fleet."""
    fleet = rig.gateway_now.fleet
    while True:
        await asyncio.sleep(chance.random() * 0.04)
        engine = chance.choice(engines)
        if chance.random() < 0.5:
            await engine.kill()
            await asyncio.sleep(chance.random() * 0.02)
            await engine.start()
        else:
            fleet.remove(f"127.0.0.1:{engine.port}")
            await asyncio.sleep(chance.random() * 0.02)
            fleet.add(rig.backend(engine))


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_case_05_leases_survive_any_storm(seed: int) -> None:
    """Clients abort at random moments, engines die and come back: in the end all sums are 0."""
    chance = random.Random(seed)
    sockets = _sockets()
    rig = Rig()
    engines = [await rig.engine(_moods(chance)) for _ in range(3)]
    gateway = await rig.gateway(
        timeouts={"queue_s": 0.3, "first_byte_s": 1, "chunk_s": 1, "total_s": 3, "connect_s": 0.5}
    )
    havoc = asyncio.create_task(_havoc(rig, chance, engines))
    for _ in range(REQUESTS // AT_ONCE):
        await gather(*(_visit(rig, chance) for _ in range(AT_ONCE)))
    havoc.cancel()
    failed = await asyncio.gather(havoc, return_exceptions=True)

    await rig.idle()

    assert isinstance(failed[0], asyncio.CancelledError), failed
    assert (0, 0, 0) == (
        gateway.fleet.inflight_requests,
        gateway.fleet.inflight_tokens,
        gateway.buffered_bytes,
    )
    await rig.close()  # also demands that no task is left
    await eventually(lambda: _sockets() <= sockets, lambda: f"{_sockets()} sockets, not {sockets}")


async def test_case_05_gateway_works_after_a_storm(rig: Rig) -> None:
    """After a hundred aborts in all phases the gateway and its replica serve as before."""
    chance = random.Random(9)
    engine = await rig.engine(_moods(chance))
    await rig.gateway(timeouts={"queue_s": 0.3, "first_byte_s": 1, "chunk_s": 1})
    for _ in range(4):
        await gather(*(_visit(rig, chance) for _ in range(AT_ONCE)))
    await rig.idle()
    engine.script = answers.like_vllm

    await rig.recovery()

    assert [200] * 5 == [(await rig.post(ask())).status for _ in range(5)]


async def test_case_05_lease_while_running(rig: Rig) -> None:
    """While a request runs it is counted once, with its tokens; afterwards it is not."""
    engine = await rig.engine(answers.streams_then(answers.chat_frames("m")[0], then=answers.hangs))
    gateway = await rig.gateway()
    async with rig.client() as client:
        answer = await client.open("POST", CHAT_PATH, streamed(max_tokens=50))
        await answer.event()
        running = (gateway.fleet.inflight_requests, gateway.fleet.inflight_tokens)
        await engine.kill()
        await answer.finish()

    assert 1 == running[0]
    assert running[1] > 0
    await rig.idle()


async def test_case_05_removed_replica_takes_its_leases_along(rig: Rig) -> None:
    """A replica that is removed and added again under its name does not inherit or lose counts."""
    go = asyncio.Event()
    engine = await rig.engine(answers.after(go, answers.like_vllm))
    gateway = await rig.gateway()
    async with rig.client() as client:
        await client.send(request("POST", CHAT_PATH, ask()))
        await engine.exchange()
        gateway.fleet.remove(f"127.0.0.1:{engine.port}")
        gateway.fleet.add(rig.backend(engine))
        go.set()

        assert 200 == (await (await client.answer()).finish()).status
    await rig.idle()
    assert 200 == (await rig.post(ask())).status
    await rig.idle()


async def test_case_05_error_paths_release_too(rig: Rig) -> None:
    """Refusals, timeouts and broken answers release what they took, with nobody leaving."""
    scripts: list[Script] = [
        answers.says(400, answers.ERR_CONTEXT),
        answers.says(503, answers.error(503)),
        answers.resets,
        answers.hangs,
        answers.raw(b"nonsense\r\n\r\n", close=True),
        answers.streams_then(answers.DONE, then=answers.resets),
        answers.streams_then(answers.chat_frames("m")[0], then=answers.hangs),
    ]
    engine = await rig.engine()
    await rig.gateway(timeouts={"first_byte_s": 0.2, "chunk_s": 0.2, "queue_s": 0.2})
    for script in scripts:
        engine.script = script
        with contextlib.suppress(PeerGone):
            await rig.post(streamed())
        await rig.idle()
