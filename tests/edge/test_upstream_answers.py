"""Answers of engines in every framing of HTTP/1.1, and those that are no HTTP (cases 2, 10)."""

import re

import pytest

from headrace.conformance import answers
from headrace.conformance.fake import Exchange, chunk, head
from tests.edge.rig import Rig, ask, ends_with_error, openai_error, streamed, turns

BODY = answers.chat_body("m")
JSON = ("content-type", "application/json")
SSE = ("content-type", "text/event-stream")
CHUNKED = ("transfer-encoding", "chunked")
LENGTH = ("content-length", str(len(BODY)))
STREAM = b"".join(answers.chat_frames("m"))

FRAMINGS = {
    "length": head(200, JSON, LENGTH) + BODY,
    "chunks": head(200, JSON, CHUNKED) + chunk(BODY[:9]) + chunk(BODY[9:]) + chunk(b""),
    "close": head(200, JSON, ("connection", "close")) + BODY,
    "no reason": head(200, JSON, LENGTH).replace(b"200 OK", b"200 ") + BODY,
    "chunk extension": head(200, JSON, CHUNKED) + b"%x;a=b\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY),
    "trailer": head(200, JSON, CHUNKED) + chunk(BODY) + b"0\r\nx-trailer: 1\r\n\r\n",
    "zeros": head(200, JSON, CHUNKED) + b"000%X\r\n%b\r\n0000\r\n\r\n" % (len(BODY), BODY),
    "100 first": b"HTTP/1.1 100 Continue\r\n\r\n" + head(200, JSON, LENGTH) + BODY,
    "102 and 103 first": b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\n"
    b"link: </a>\r\n\r\n" + head(200, JSON, LENGTH) + BODY,
    "odd case": head(200, ("CONTENT-TYPE", "application/json"), ("Content-LENGTH", LENGTH[1]))
    + BODY,
}


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_upstream_framings(rig: Rig, framing: str) -> None:
    """Whatever the framing, and however it is cut, the client gets the same whole body."""
    data = FRAMINGS[framing]

    async def byte_by_byte(exchange: Exchange) -> None:
        await exchange.write_slowly(*(bytes([byte]) for byte in data))
        if framing == "close":
            exchange.close()

    engine = await rig.engine(byte_by_byte)
    await rig.gateway()
    slow = await rig.post(ask())
    engine.script = answers.raw(data, close=framing == "close")
    fast = await rig.post(ask())

    for answer in (slow, fast):
        assert (200, BODY, True) == (answer.status, bytes(answer.body), answer.ended)
        assert answer.header("x-trailer") is None


@pytest.mark.parametrize("framing", ["length", "chunks", "close"])
async def test_upstream_framings_of_streams(rig: Rig, framing: str) -> None:
    """Streams come whole in each framing, too."""
    data = {
        "length": head(200, SSE, ("content-length", str(len(STREAM)))) + STREAM,
        "chunks": head(200, SSE, CHUNKED) + chunk(STREAM) + chunk(b""),
        "close": head(200, SSE) + STREAM,
    }[framing]
    await rig.engine(answers.raw(data, close=framing == "close"))
    await rig.gateway()

    assert STREAM == (await rig.post(streamed())).body


@pytest.mark.parametrize("status", [204, 304])
async def test_upstream_answers_without_a_body(rig: Rig, status: int) -> None:
    """204 and 304 have no body and end with their head."""
    await rig.engine(answers.raw(head(status)))
    await rig.gateway()
    async with rig.client() as client:
        first = await client.post("/v1/completions", ask("/v1/completions"))
        second = await client.get("/v1/models")

    assert (status, b"", 200) == (first.status, bytes(first.body), second.status)
    assert first.header("transfer-encoding") is None


async def test_upstream_empty_body(rig: Rig) -> None:
    """A body of length 0 is a whole answer."""
    await rig.engine(answers.says(200, b""))
    await rig.gateway()

    answer = await rig.post(ask())

    assert (200, b"", True) == (answer.status, bytes(answer.body), answer.ended)


GARBAGE = {
    "html": b"<html><body>it works</body></html>\r\n\r\n",
    "ssh": b"SSH-2.0-OpenSSH_9.6\r\n",
    "zeros": bytes(1000),
    "no version": b"200 OK\r\n\r\n",
    "version": b"HTTP/3.7 200 OK\r\n\r\n",
    "status": b"HTTP/1.1 abc OK\r\n\r\n",
    "status too long": b"HTTP/1.1 2000 OK\r\n\r\n",
    "header": b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
    "length": head(200, ("content-length", "-5")),
    "length text": head(200, ("content-length", "ten")),
    "two lengths": head(200, ("content-length", "5"), ("content-length", "6")) + b"hello!",
    "switching": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
    "only 100": b"HTTP/1.1 100 Continue\r\n\r\n",
    "nothing": b"",
    "half a head": b"HTTP/1.1 200 OK\r\ncontent-ty",
}


@pytest.mark.parametrize("kind", GARBAGE)
async def test_upstream_garbage_is_502(rig: Rig, kind: str) -> None:
    """What is no HTTP answer is 502 upstream_failed; nothing of it reaches the client."""
    engine = await rig.engine(answers.raw(GARBAGE[kind], close=True))
    await rig.gateway()

    openai_error(await rig.post(streamed()), 502, "upstream_failed")
    openai_error(await rig.post(ask()), 502, "upstream_failed")
    assert 2 == len(engine.exchanges)


@pytest.mark.parametrize("endless", [True, False])
async def test_upstream_head_has_a_limit(rig: Rig, endless: bool) -> None:
    """A head of megabytes is 502, whether it ends or not; the engine's connection is closed."""

    async def script(exchange: Exchange) -> None:
        await exchange.write(b"HTTP/1.1 200 OK\r\nx-big: ")
        for _ in range(64):
            await exchange.write(b"b" * 65_536)
        await exchange.write(b"b" if endless else b"\r\ncontent-length: 0\r\n\r\n")
        await exchange.link.closed.wait()

    engine = await rig.engine(script)
    await rig.gateway()

    answer = await rig.post(ask())

    openai_error(answer, 502, "upstream_failed")
    await engine.exchanges[0].wait_closed()


async def test_upstream_many_headers_have_a_limit(rig: Rig) -> None:
    """A head of very many small headers is 502, too."""
    many = [(f"x-{number}", "v") for number in range(50_000)]
    await rig.engine(answers.raw(head(200, *many, ("content-length", "0"))))
    await rig.gateway()

    openai_error(await rig.post(ask()), 502, "upstream_failed")


CUT = {
    "length": head(200, JSON, ("content-length", "1000")) + BODY[:100],
    "chunk": head(200, JSON, CHUNKED) + b"64\r\n" + BODY[:50],
    "between chunks": head(200, JSON, CHUNKED) + chunk(BODY[:100]),
    "chunk size": head(200, JSON, CHUNKED) + chunk(BODY[:100]) + b"zz\r\n",
    "chunk end": head(200, JSON, CHUNKED) + b"3\r\nabcdef\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("kind", CUT)
async def test_upstream_cut_answer_does_not_end_well(rig: Rig, kind: str) -> None:
    """A whole answer that is cut short is never shown as complete: 502, or a broken connection."""

    async def script(exchange: Exchange) -> None:
        await exchange.write(CUT[kind])
        await turns(30)
        exchange.close()

    await rig.engine(script)
    await rig.gateway()
    async with rig.client() as client:
        answer = await client.post("/v1/completions", ask("/v1/completions"))
        rest = await client.read_to_end() if answer.broken else b""

    assert answer.broken or answer.status == 502, answer
    assert b"HTTP/1.1" not in rest


@pytest.mark.parametrize("kind", ["length", "between chunks", "chunk size"])
async def test_upstream_cut_stream_gets_an_error_frame(rig: Rig, kind: str) -> None:
    """A stream that is cut short ends with an error frame, in each framing."""
    frame = answers.chat_frames("m")[0]
    data = {
        "length": head(200, SSE, ("content-length", "100000")) + frame,
        "between chunks": head(200, SSE, CHUNKED) + chunk(frame),
        "chunk size": head(200, SSE, CHUNKED) + chunk(frame),
    }[kind]

    async def script(exchange: Exchange) -> None:
        await exchange.write(data)
        await turns(30)
        if kind == "chunk size":
            await exchange.write(b"zz\r\n")
            await turns(30)
        exchange.close()

    await rig.engine(script)
    await rig.gateway()

    answer = await rig.post(streamed())

    assert frame == answer.events[0].raw
    ends_with_error(answer)


async def test_upstream_header_with_line_break_is_not_passed(rig: Rig) -> None:
    """A bare line break in a header of the engine never becomes a header of the answer."""
    bad = b"HTTP/1.1 200 OK\r\nx-a: 1\nset-cookie: evil=1\r\ncontent-length: 2\r\n\r\n{}"
    await rig.engine(answers.raw(bad))
    await rig.gateway()

    answer = await rig.post(ask())

    assert answer.status in {200, 502}
    assert not re.search(rb"[^\r]\n", answer.head)


async def test_upstream_answer_to_a_client_that_sends_more(rig: Rig) -> None:
    """An engine that ends a stream in order frees its connection for the next request."""
    engine = await rig.engine()
    await rig.gateway()
    async with rig.client() as client:
        for _ in range(3):
            await client.post("/v1/chat/completions", streamed())

    assert [0, 0, 0] == [exchange.connection for exchange in engine.exchanges]
