"""HTTP/1.1 on the wire: keep-alive, framing, and requests that are none."""

import asyncio

import pytest

from headrace.engines.sim import wire
from tests.engines.sim.rig import WAIT_S, Client, ask, chat, simulator


async def raw(data: bytes) -> bytes:
    """All that comes back for some bytes, until the server closes."""
    async with simulator() as server:
        client = await Client.to(server.urls[0])
        client.writer.write(data)
        async with asyncio.timeout(WAIT_S):
            found = await client.reader.read()
        await client.close()
    return found


async def test_connections_are_kept() -> None:
    """Answers of all forms leave the connection usable."""
    async with simulator() as server:
        client = await Client.to(server.urls[0])
        for body in (chat(), chat(stream=True), b"oops", chat()):
            client.send("/v1/chat/completions", body)
            found = await client.answer()
            assert "whole" == found.ended
        await client.close()


async def test_many_pipelined_requests() -> None:
    """Hundreds of requests behind a slow one are answered, in order."""
    async with simulator() as server:
        client = await Client.to(server.urls[0])
        client.send("/v1/chat/completions", chat(max_tokens=20))
        for _ in range(500):
            client.send("/version")
        statuses = [(await client.answer()).status for _ in range(501)]
        await client.close()

    assert [200] * 501 == statuses


async def test_close_is_obeyed() -> None:
    """``Connection: close`` and HTTP/1.0 end the connection behind the answer."""
    head = b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"

    assert (await raw(head)).startswith(b"HTTP/1.1 200 OK\r\n")
    assert (await raw(b"GET /health HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("data", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nbad header\r\n\r\n"])
async def test_what_is_no_http_is_refused(data: bytes) -> None:
    """400, and the connection closes."""
    assert (await raw(data)).startswith(b"HTTP/1.1 400 Bad Request\r\n")


async def test_upgrades_are_refused() -> None:
    """A WebSocket is not spoken here."""
    head = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"

    assert b"\r\nconnection: close\r\n" in await raw(head)


async def test_bodies_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body above the limit is 413 before it is whole."""
    monkeypatch.setattr(wire, "MAX_BODY_BYTES", 1000)
    head = b"POST /tokenize HTTP/1.1\r\nhost: x\r\ncontent-length: 5000\r\n\r\n"

    assert (await raw(head + b"x" * 1500)).startswith(b"HTTP/1.1 413 ")


async def test_expect_continue() -> None:
    """A client that waits for leave to send its body gets it."""
    async with simulator() as server:
        client = await Client.to(server.urls[0])
        body = b'{"prompt":"a"}'
        client.writer.write(
            b"POST /tokenize HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n"
            b"content-length: %d\r\n\r\n" % len(body)
        )
        assert 100 == (await client.head()).status
        client.writer.write(body)
        assert 1 == (await client.answer()).json()["count"]
        await client.close()


async def test_chunked_bodies_are_read() -> None:
    """A request may come in chunks."""
    async with simulator() as server:
        client = await Client.to(server.urls[0])
        client.writer.write(
            b"POST /tokenize HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
            b'e\r\n{"prompt":"a"}\r\n0\r\n\r\n'
        )
        assert 1 == (await client.answer()).json()["count"]
        await client.close()


async def test_stop_breaks_open_streams() -> None:
    """A server that stops leaves no connection and no port behind."""
    async with simulator(speed=1) as server:
        client = await Client.to(server.urls[0])
        client.send("/v1/chat/completions", chat(stream=True, max_tokens=4000))
        await client.head()
    with pytest.raises(ConnectionRefusedError):
        await ask(server.urls[0], "/health")
    try:
        async with asyncio.timeout(WAIT_S):
            rest = await client.reader.read()
    except ConnectionResetError:
        rest = b""
    await client.close()

    assert not rest.endswith(b"0\r\n\r\n")
