"""Cases 20 and 21: going down without cutting anyone off, and requests for what is not up yet."""

import asyncio
import contextlib
import time

import pytest

from headrace.config.schema import Server
from headrace.conformance import answers
from headrace.conformance.fake import Exchange, Script
from headrace.conformance.wire import Client, ConnectionGone, request
from tests.edge.rig import (
    CHAT_PATH,
    Rig,
    ask,
    check_anthropic,
    ends_with_error,
    eventually,
    gather,
    openai_error,
    retry_after,
    streamed,
    turns,
)

FRAMES = answers.chat_frames("m")
LONG_S = 40.0  # a drain that ends sooner has not waited for its deadline


def _waits(go: asyncio.Event) -> Script:
    """A stream that begins, waits, and goes on."""

    async def rest(exchange: Exchange) -> None:
        await go.wait()
        await exchange.events(*FRAMES[1:])
        await exchange.end_stream()

    return answers.streams_then(FRAMES[0], then=rest)


async def _refused(url: str) -> None:
    """Wait until new connections are refused."""
    with contextlib.suppress(ConnectionError):
        for _ in range(200):
            async with Client(url):
                await turns(10)
        pytest.fail("new connections are still accepted")


async def test_case_20_running_stream_finishes(rig: Rig) -> None:
    """On stop a running stream goes on to its end; new connections are refused meanwhile."""
    go = asyncio.Event()
    await rig.engine(_waits(go))
    gateway = await rig.gateway()
    async with rig.client() as client:
        answer = await client.open("POST", CHAT_PATH, streamed())
        await answer.event()
        stopping = asyncio.create_task(gateway.stop(drain_s=LONG_S))
        await _refused(gateway.url)
        assert not stopping.done()
        go.set()
        await answer.finish()
        async with asyncio.timeout(LONG_S / 2):
            await stopping

    assert (b"".join(FRAMES), True) == (bytes(answer.body), answer.ended)


async def test_case_20_running_whole_answer_finishes(rig: Rig) -> None:
    """A whole answer in the making is finished too, and says that the connection ends."""
    go = asyncio.Event()
    engine = await rig.engine(answers.after(go, answers.like_vllm))
    gateway = await rig.gateway()
    async with rig.client() as client:
        await client.send(request("POST", CHAT_PATH, ask()))
        await engine.exchange()
        stopping = asyncio.create_task(gateway.stop(drain_s=LONG_S))
        await _refused(gateway.url)
        go.set()
        answer = await (await client.answer()).finish()

        assert b"" == await client.read_to_end()
    await stopping
    assert (200, "close") == (answer.status, answer.header("connection"))
    assert answers.chat_body("m") == answer.body


async def test_case_20_ready_fails_first(rig: Rig) -> None:
    """During the grace /ready is 503, while requests are still taken, and asked to reconnect."""
    await rig.engine()
    gateway = await rig.gateway(server={"drain_grace_s": LONG_S, "drain_s": 1.0})
    assert 200 == (await rig.get("/ready")).status
    kept = await rig.client().__aenter__()
    assert 200 == (await kept.get("/ready")).status
    stopping = asyncio.create_task(gateway.stop())
    await eventually(lambda: gateway.draining)

    ready, health = await rig.get("/ready"), await rig.get("/health")
    kept_ready = await kept.get("/ready")
    answer = await rig.post(ask())

    assert [503, 503] == [ready.status, kept_ready.status]
    assert 200 == health.status
    assert (200, answers.chat_body("m")) == (answer.status, bytes(answer.body))
    assert ["close"] * 3 == [seen.header("connection") for seen in (ready, kept_ready, answer)]
    stopping.cancel()
    await asyncio.gather(stopping, return_exceptions=True)


async def test_case_20_after_the_grace_it_goes_down(rig: Rig) -> None:
    """A stop without a time of its own waits for the grace, and then refuses."""
    await rig.engine()
    gateway = await rig.gateway(server={"drain_grace_s": 0.1, "drain_s": 1.0})

    await gateway.stop()

    await _refused(gateway.url)


async def test_case_20_rest_gets_an_error_frame(rig: Rig) -> None:
    """A stream that outlives the deadline ends with an error frame, and its engine is told."""
    engine = await rig.engine(answers.streams_then(FRAMES[0], then=answers.hangs))
    gateway = await rig.gateway()
    async with rig.client() as client:
        answer = await client.open("POST", CHAT_PATH, streamed())
        await answer.event()
        started = time.monotonic()
        await gateway.stop(drain_s=0.2)
        took = time.monotonic() - started
        await answer.finish()

    ends_with_error(answer)
    assert answer.ended
    assert 0.1 < took < LONG_S
    await engine.exchanges[0].wait_closed()


async def test_case_20_rest_gets_an_error_event_on_messages(rig: Rig) -> None:
    """On /v1/messages it is Anthropic's error event."""
    await rig.engine(answers.streams_then(answers.message_frames("m")[0], then=answers.hangs))
    gateway = await rig.gateway()
    async with rig.client() as client:
        answer = await client.open("POST", "/v1/messages", streamed("/v1/messages"))
        await answer.event()
        await gateway.stop(drain_s=0.1)
        await answer.finish()

    assert "error" == answer.events[-1].event
    check_anthropic(answer.events[-1].json())


@pytest.mark.parametrize("stream", [True, False])
async def test_case_20_rest_without_a_byte_gets_a_status(rig: Rig, stream: bool) -> None:
    """A request that has no byte of an answer at the deadline gets a real status."""
    engine = await rig.engine(answers.hangs)
    gateway = await rig.gateway()
    async with rig.client() as client:
        await client.send(request("POST", CHAT_PATH, streamed() if stream else ask()))
        await engine.exchange()
        await gateway.stop(drain_s=0.1)
        answer = await (await client.answer()).finish()

    openai_error(answer, 503)
    retry_after(answer)
    await engine.exchanges[0].wait_closed()


async def test_case_20_held_request_gets_a_status(rig: Rig) -> None:
    """A request that is held for a replica is answered 503 at the deadline at the latest."""
    gateway = await rig.gateway(urls=[])
    async with rig.client() as client:
        await client.send(request("POST", CHAT_PATH, ask()))
        await eventually(lambda: gateway.buffered_bytes > 0)
        await gateway.stop(drain_s=0.1)
        answer = await (await client.answer()).finish()

    openai_error(answer, 503)
    retry_after(answer)


async def test_case_20_idle_connections_are_closed_at_once(rig: Rig) -> None:
    """Idle clients, and clients that have sent half a head, do not hold up a stop."""
    await rig.engine()
    gateway = await rig.gateway()
    idle, half = await rig.client().__aenter__(), await rig.client().__aenter__()
    await idle.post(CHAT_PATH, ask())
    await half.send(b"POST /v1/comp")
    started = time.monotonic()

    await gateway.stop(drain_s=LONG_S)

    assert time.monotonic() - started < LONG_S / 2
    assert b"" == await idle.read_to_end()


async def test_case_20_half_sent_request_does_not_hold_up_a_stop(rig: Rig) -> None:
    """A request that is never sent to its end does not outlive the deadline."""
    await rig.engine()
    gateway = await rig.gateway()
    async with rig.client() as client:
        await client.send(request("POST", CHAT_PATH, ask())[:-1])
        await eventually(lambda: gateway.buffered_bytes > 0)
        started = time.monotonic()

        await gateway.stop(drain_s=0.2)

        assert time.monotonic() - started < Server().read_s
        with contextlib.suppress(ConnectionGone):
            assert (await client.answer()).status in {408, 503}


async def test_case_20_stop_twice(rig: Rig) -> None:
    """A second stop does nothing; a stop during a stop waits for the same end."""
    await rig.engine()
    gateway = await rig.gateway()
    await rig.post(ask())

    async with asyncio.timeout(LONG_S):
        await asyncio.gather(gateway.stop(drain_s=0.1), gateway.stop(drain_s=0.1))
        await gateway.stop(drain_s=0.1)


async def test_case_20_pipelined_request_is_not_started_while_draining(rig: Rig) -> None:
    """The answer that says `Connection: close` is the last one on its connection."""
    go = asyncio.Event()
    engine = await rig.engine(answers.after(go, answers.like_vllm))
    gateway = await rig.gateway()
    async with rig.client() as client:
        await client.send(request("POST", CHAT_PATH, ask()) * 2)
        await engine.exchange()
        stopping = asyncio.create_task(gateway.stop(drain_s=LONG_S))
        await _refused(gateway.url)
        go.set()
        answer = await (await client.answer()).finish()
        rest = await client.read_to_end()
    await stopping

    assert (200, "close", b"") == (answer.status, answer.header("connection"), rest)
    assert 1 == len(engine.exchanges)


async def test_case_21_request_is_held_until_a_replica_comes(rig: Rig) -> None:
    """A declared model without a replica: the request waits, and is served when one comes."""
    gateway = await rig.gateway(urls=[], timeouts={"queue_s": 10})
    engine = await rig.engine()
    held = [asyncio.create_task(rig.post(streamed() if n % 2 else ask())) for n in range(20)]
    await eventually(lambda: gateway.buffered_bytes > 0)

    gateway.fleet.add(rig.backend(engine))

    assert [200] * 20 == [answer.status for answer in await gather(*held)]
    assert 20 == len(engine.exchanges)


async def test_case_21_declared_is_never_404(rig: Rig) -> None:
    """Declared but not served now, by name or alias: 503 with Retry-After."""
    engine = await rig.engine()
    models = [{"name": "m"}, {"name": "asleep", "aliases": ["nap"]}]
    await rig.gateway(models=models, timeouts={"queue_s": 0.2})

    for name in ("asleep", "nap"):
        answer = await rig.post(ask(model=name))
        openai_error(answer, 503, "no_replica")
        retry_after(answer)
    assert [] == engine.exchanges


async def test_case_21_undeclared_is_404_at_once(rig: Rig) -> None:
    """What is not declared is 404 without a wait: no replica will ever come for it."""
    await rig.gateway(urls=[], timeouts={"queue_s": 60})

    openai_error(await rig.post(ask(model="unknown")), 404, "model_not_found")


async def test_case_21_other_models_are_not_held_up(rig: Rig) -> None:
    """Requests that wait for one model do not keep those for another one waiting."""
    await rig.engine()
    gateway = await rig.gateway(models=[{"name": "m"}, {"name": "asleep"}])
    waiting = [await rig.client().__aenter__() for _ in range(20)]
    for client in waiting:
        await client.send(request("POST", CHAT_PATH, ask(model="asleep")))
    await eventually(lambda: gateway.buffered_bytes > 0)

    assert 200 == (await rig.post(ask())).status


async def test_case_21_to_zero_and_back(rig: Rig) -> None:
    """When the last replica is removed its streams go on, new requests wait for the next one."""
    go = asyncio.Event()
    engine = await rig.engine(_waits(go))
    gateway = await rig.gateway(timeouts={"queue_s": 10})
    async with rig.client() as client:
        answer = await client.open("POST", CHAT_PATH, streamed())
        await answer.event()
        gateway.fleet.remove(f"127.0.0.1:{engine.port}")
        held = asyncio.create_task(rig.post(ask()))
        await eventually(lambda: gateway.buffered_bytes > 0)
        assert 1 == len(engine.exchanges)
        go.set()
        await answer.finish()
        other = await rig.engine()
        gateway.fleet.add(rig.backend(other))
        seen = await held

    assert b"".join(FRAMES) == answer.body
    assert (200, 1) == (seen.status, len(other.exchanges))


async def test_case_21_held_bytes_are_bounded(rig: Rig) -> None:
    """What is held for a sleeping model counts against the limit of bytes in flight."""
    gateway = await rig.gateway(urls=[], server={"max_inflight_bytes": 1024 * 1024})
    body = ask(user="u" * 400_000)
    for _ in range(2):
        client = await rig.client().__aenter__()
        await client.send(request("POST", CHAT_PATH, body))
    await eventually(lambda: gateway.buffered_bytes >= 800_000)

    refused = await rig.post(body)

    openai_error(refused, 503, "overloaded")
    retry_after(refused)
