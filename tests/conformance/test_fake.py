"""The kit against itself: what the fake engine sends is what the client shows, byte for byte."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from headrace.conformance import answers
from headrace.conformance.fake import Exchange, FakeEngine, chunk, head
from headrace.conformance.ports import RefusingPort, SilentPort
from headrace.conformance.wire import Client, ConnectionGone, request, split_events
from tests.edge.rig import turns

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def engine() -> AsyncIterator[FakeEngine]:
    engine = await FakeEngine(answers.like_vllm).start()
    yield engine
    await engine.stop()


async def test_whole_answer(engine: FakeEngine) -> None:
    """The engine records the request; the client shows the answer; both are exact."""
    async with Client(engine.url) as client:
        answer = await client.post("/v1/chat/completions", CHAT, [("X-One", "1")])

    seen = await engine.exchange()
    assert (200, True, answers.chat_body("m")) == (answer.status, answer.ended, bytes(answer.body))
    assert request("POST", "/v1/chat/completions", CHAT, [("X-One", "1")]) == seen.head + seen.body
    assert "1" == seen.header("x-one")


async def test_stream(engine: FakeEngine) -> None:
    """Frames can be read one at a time, and the stream's end is seen."""
    async with Client(engine.url) as client:
        answer = await client.open("POST", "/v1/chat/completions", CHAT | {"stream": True})
        first = await answer.event()
        await answer.finish()

    assert answers.chat_frames("m")[0] == first.raw
    assert b"".join(answers.chat_frames("m")) == answer.body
    assert answers.chat_frames("m") == answer.chunks == [event.raw for event in answer.events]
    assert answer.ended


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_segments(engine: FakeEngine, size: int) -> None:
    """However the bytes are cut, the same answer is read."""
    body = b"".join(chunk(frame) for frame in answers.chat_frames("m")) + chunk(b"")
    whole = head(200, ("transfer-encoding", "chunked")) + body
    engine.script = lambda exchange: exchange.write_slowly(
        *(whole[start : start + size] for start in range(0, len(whole), size))
    )

    async with Client(engine.url) as client:
        answer = await client.post("/v1/chat/completions", CHAT)

    assert b"".join(answers.chat_frames("m")) == answer.body


async def test_client_that_hangs_up(engine: FakeEngine) -> None:
    """The engine sees at once that its peer closed."""
    engine.script = answers.hangs
    async with Client(engine.url) as client:
        await client.send(request("POST", "/v1/chat/completions", CHAT))
        exchange = await engine.exchange()
        assert not exchange.peer_closed

    await exchange.wait_closed()


@pytest.mark.parametrize("breaks", ["close", "reset"])
async def test_cut_off_answers(engine: FakeEngine, breaks: str) -> None:
    """An answer that stops too early is shown as broken, whether by FIN or RST."""

    async def script(exchange: Exchange) -> None:
        await exchange.write(head(200, ("content-length", "10")) + b"12345")
        await turns(20)
        getattr(exchange, breaks)()

    engine.script = script
    async with Client(engine.url) as client:
        answer = await client.post("/v1/chat/completions", CHAT)

    assert (True, False) == (answer.broken, answer.ended)


async def test_restart_and_reuse(engine: FakeEngine) -> None:
    """A killed engine resets its clients and comes back on its port; connections are numbered."""
    async with Client(engine.url) as client:
        await client.post("/v1/chat/completions", CHAT)
        await client.post("/v1/chat/completions", CHAT)
        await engine.kill()
        with pytest.raises(ConnectionGone):
            await client.answer()
    await engine.start()
    async with Client(engine.url) as client:
        await client.post("/v1/chat/completions", CHAT)

    assert [0, 0, 1] == [exchange.connection for exchange in engine.exchanges]
    assert 0 == engine.pipelined


async def test_pipelining_is_noticed(engine: FakeEngine) -> None:
    """The engine counts requests that came before the last answer was finished."""
    engine.script = answers.hangs
    async with Client(engine.url) as client:
        await client.send(request("POST", "/v1/chat/completions", CHAT))
        await engine.exchange()
        await client.send(request("POST", "/v1/chat/completions", CHAT))
        await engine.exchange(1)

    assert 1 == engine.pipelined


async def test_chunked_requests(engine: FakeEngine) -> None:
    """A chunked request body is decoded."""
    head_bytes = request("POST", "/v1/x", None, [("transfer-encoding", "chunked")])
    async with Client(engine.url) as client:
        await client.send(head_bytes + chunk(b'{"model":') + chunk(b'"m"}') + chunk(b""))
        await (await client.answer()).finish()

    assert {"model": "m"} == engine.exchanges[0].json()


async def test_ports_that_do_not_answer() -> None:
    """One port refuses, the other never finishes a connection."""
    refusing, silent = RefusingPort(), SilentPort()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", refusing.port)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.open_connection("127.0.0.1", silent.port), 0.1)
    refusing.close()
    silent.close()


def test_split_events() -> None:
    """Frames end with an empty line, whatever the line ends; what is left over is told apart."""
    events, rest = split_events(b": ping\n\nevent: a\r\ndata: 1\r\ndata:2\r\n\r\ndata: cut")

    assert [(None, None), ("a", "1\n2")] == [(event.event, event.data) for event in events]
    assert b"data: cut" == rest
