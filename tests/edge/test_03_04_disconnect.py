"""Cases 3 and 4: a client that hangs up stops the engine, in every phase and on every endpoint."""

import asyncio

import pytest

from headrace.conformance import answers
from headrace.conformance.fake import Exchange
from headrace.conformance.wire import Client, request
from tests.edge.rig import (
    CHAT_PATH,
    ENDPOINTS,
    STREAMS,
    Rig,
    ask,
    eventually,
    form,
    streamed,
    turns,
)

ENDS = ["close", "reset"]


def _hang_up(client: Client, how: str) -> None:
    getattr(client, how)()


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("path", ENDPOINTS)
async def test_case_03_disconnect_before_first_byte(rig: Rig, path: str, how: str) -> None:
    """While the engine is silent, a client that leaves closes the engine's connection at once."""
    engine = await rig.engine(answers.hangs)
    await rig.gateway()
    bodies = [ask(path), *([streamed(path)] if path in STREAMS else [])]
    for number, body in enumerate(bodies):
        client = await rig.client().__aenter__()
        await client.send(request("POST", path, body))
        exchange = await engine.exchange(number)

        _hang_up(client, how)

        await exchange.wait_closed()
        await rig.idle()


@pytest.mark.parametrize("how", ENDS)
async def test_case_03_disconnect_between_head_and_first_byte(rig: Rig, how: str) -> None:
    """Engines send their head early and then work for a minute: leaving then stops them too."""
    engine = await rig.engine(answers.streams_then(then=answers.hangs))
    await rig.gateway()
    client = await rig.client().__aenter__()
    await client.send(request("POST", CHAT_PATH, streamed()))
    exchange = await engine.exchange()
    await turns(30)

    _hang_up(client, how)

    await exchange.wait_closed()


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("path", STREAMS)
async def test_case_04_disconnect_mid_stream(rig: Rig, path: str, how: str) -> None:
    """A client that leaves in the middle of a stream closes the engine's connection at once."""
    first = answers.stream_for(path.removeprefix("/v1/"), "m")[0]
    engine = await rig.engine(answers.streams_then(first, then=answers.hangs))
    await rig.gateway()
    client = await rig.client().__aenter__()
    answer = await client.open("POST", path, streamed(path))
    await answer.event()

    _hang_up(client, how)

    await (await engine.exchange()).wait_closed()
    await rig.idle()


@pytest.mark.parametrize("how", ENDS)
async def test_case_04_disconnect_in_half_a_body(rig: Rig, how: str) -> None:
    """A whole answer that is half there is abandoned when the client leaves."""

    async def script(exchange: Exchange) -> None:
        body = answers.chat_body("m")
        length = str(len(body)).encode()
        start = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: "
        await exchange.write(start + length + b"\r\n\r\n" + body[:50])
        await answers.hangs(exchange)

    engine = await rig.engine(script)
    await rig.gateway()
    client = await rig.client().__aenter__()
    await client.send(request("POST", CHAT_PATH, ask()))
    exchange = await engine.exchange()
    await turns(30)

    _hang_up(client, how)

    await exchange.wait_closed()


@pytest.mark.parametrize("how", ENDS)
async def test_case_04_disconnect_while_held(rig: Rig, how: str) -> None:
    """A request that waits for a replica is forgotten: the replica that comes never sees it."""
    await rig.gateway(urls=[])
    engine = await rig.engine()
    client = await rig.client().__aenter__()
    await client.send(request("POST", CHAT_PATH, ask()))
    await eventually(lambda: rig.gateway_now.buffered_bytes > 0)

    _hang_up(client, how)
    await rig.idle()
    rig.gateway_now.fleet.add(rig.backend(engine))

    assert 200 == (await rig.post(ask("/v1/completions"), "/v1/completions")).status
    assert ["/v1/completions"] == [exchange.path for exchange in engine.exchanges]


@pytest.mark.parametrize("how", ENDS)
async def test_case_04_disconnect_while_connecting(rig: Rig, how: str) -> None:
    """A client that leaves while a connection is being opened leaves no lease behind."""
    await rig.gateway(urls=[rig.silent().url], timeouts={"connect_s": 30})
    client = await rig.client().__aenter__()
    await client.send(request("POST", CHAT_PATH, ask()))
    await eventually(lambda: rig.gateway_now.fleet.inflight_requests == 1)

    _hang_up(client, how)

    await rig.idle()


@pytest.mark.parametrize("how", ENDS)
async def test_case_04_disconnect_while_sending(rig: Rig, how: str) -> None:
    """A client that leaves in the middle of its own request never reaches an engine."""
    engine = await rig.engine()
    await rig.gateway()
    client = await rig.client().__aenter__()
    whole = request("POST", CHAT_PATH, ask(user="u" * 5000))
    await client.send(whole[:-1000])
    await eventually(lambda: rig.gateway_now.buffered_bytes > 0)

    _hang_up(client, how)

    await rig.idle()
    assert [] == engine.exchanges


async def test_case_04_disconnect_of_an_upload(rig: Rig) -> None:
    """Leaving during a transcription stops the engine too."""
    engine = await rig.engine(answers.hangs)
    await rig.gateway()
    body, kind = form("m", b"\x00\xff" * 500)
    client = await rig.client().__aenter__()
    await client.send(request("POST", "/v1/audio/transcriptions", body, [kind]))
    exchange = await engine.exchange()

    client.close()

    await exchange.wait_closed()


@pytest.mark.parametrize("stream", [True, False])
async def test_case_04_disconnect_with_a_pipelined_request(rig: Rig, stream: bool) -> None:
    """Bytes of a next request do not hide that the client left."""
    engine = await rig.engine(answers.hangs)
    await rig.gateway()
    client = await rig.client().__aenter__()
    await client.send(request("POST", CHAT_PATH, streamed() if stream else ask()))
    exchange = await engine.exchange()
    await client.send(request("POST", CHAT_PATH, ask()))
    await turns(20)

    client.close()

    await exchange.wait_closed()
    await rig.idle()
    assert 1 == len(engine.exchanges)


async def test_case_04_disconnect_between_two_attempts(rig: Rig) -> None:
    """A client that left is not tried again on another replica."""
    left = asyncio.Event()
    refused = answers.says(503, answers.error(503))
    engines = [await rig.engine(answers.after(left, refused)) for _ in range(2)]
    await rig.gateway()
    client = await rig.client().__aenter__()
    await client.send(request("POST", CHAT_PATH, ask()))
    await eventually(lambda: sum(len(engine.exchanges) for engine in engines) == 1)

    client.close()
    left.set()
    await rig.idle()

    assert 1 == sum(len(engine.exchanges) for engine in engines)


async def test_case_04_disconnect_hurts_nobody_else(rig: Rig) -> None:
    """Ten clients leave in mid-stream; the eleventh gets its whole answer."""
    go = asyncio.Event()
    frames = answers.chat_frames("m")
    engine = await rig.engine(
        answers.streams_then(frames[0], then=lambda e: _rest_after(e, go, frames[1:]))
    )
    await rig.gateway()
    clients = [await rig.client().__aenter__() for _ in range(11)]
    opened = [await client.open("POST", CHAT_PATH, streamed()) for client in clients]
    for answer in opened:
        await answer.event()

    for client in clients[1:]:
        client.close()
    for exchange in engine.exchanges[1:]:
        await exchange.wait_closed()
    go.set()

    assert b"".join(frames) == (await opened[0].finish()).body


async def _rest_after(exchange: Exchange, go: asyncio.Event, frames: list[bytes]) -> None:
    await go.wait()
    await exchange.events(*frames)
    await exchange.end_stream()


async def test_case_04_aborted_request_is_on_record(rig: Rig) -> None:
    """The record of an aborted request says so: it is no success."""
    engine = await rig.engine(answers.hangs)
    gateway = await rig.gateway()
    client = await rig.client().__aenter__()
    await client.send(request("POST", CHAT_PATH, ask(), [("x-request-id", "left-early")]))
    await engine.exchange()

    client.close()
    await rig.idle()

    await eventually(lambda: len(gateway.records) == 1)
    record = gateway.records[-1]
    assert "left-early" == record.request_id
    assert record.outcome not in {"ok", "completed", "success"}, record
