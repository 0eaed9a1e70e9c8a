"""Cases 10 and 11: the engine's bytes reach the client untouched, and as soon as they are whole."""

import asyncio
import random

import pytest

from headrace.conformance import answers
from headrace.conformance.fake import Exchange, chunk
from tests.edge.rig import CHAT_PATH, Rig, ask, streamed

# A stream with everything the standard allows, and characters of one to four bytes.
RICH = (
    ": ping\n\n"
    'data: {"model":"m","choices":[{"index":0,"delta":{"content":"aä€😀"}}]}\n\n'
    "event: something.unknown\nid: 7\nretry: 100\ndata:no space\ndata: second line\n\n"
    ":\n\n"
    'data: {"model":"m","choices":[{"index":0,"delta":{"content":"\\ud83d\\ude00"}}]}\n\n'
    "data\n\n"
    "data: [DONE]\n\n"
).encode()


def _cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("size", [1, 2, 3, 17, 100_000])
async def test_case_10_stream_is_relayed_byte_for_byte(
    rig: Rig, size: int, line_end: bytes
) -> None:
    """Comments, unknown events, odd fields, split characters: nothing is changed or reordered."""
    sent = RICH.replace(b"\n", line_end)

    async def script(exchange: Exchange) -> None:
        await exchange.start_stream()
        await exchange.write_slowly(*map(chunk, _cut(sent, size)))
        await exchange.end_stream()

    await rig.engine(script)
    await rig.gateway()

    answer = await rig.post(streamed())

    assert (sent, True) == (bytes(answer.body), answer.ended)


@pytest.mark.parametrize("seed", range(3))
async def test_case_10_any_segmentation_of_the_whole_answer(rig: Rig, seed: int) -> None:
    """Head, chunk sizes and events may be cut anywhere by TCP."""
    chance = random.Random(seed)
    sent = RICH * 3
    cuts = sorted(chance.sample(range(len(sent)), 20))
    parts = [sent[a:b] for a, b in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
    start = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    whole = start + b"".join(map(chunk, parts)) + chunk(b"")
    cuts = sorted(chance.sample(range(len(whole)), 60))
    segments = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    await rig.engine(lambda exchange: exchange.write_slowly(*segments))
    await rig.gateway()

    answer = await rig.post(streamed())

    assert (sent, True) == (bytes(answer.body), answer.ended)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
async def test_case_10_whole_frames_are_released_at_once(rig: Rig, line_end: bytes) -> None:
    """A frame that is complete does not wait for the next one, not even for half of it."""
    frames = [frame.replace(b"\n", line_end) for frame in answers.chat_frames("m")[:3]]
    go = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.start_stream()
        await exchange.events(frames[0] + frames[1][:20])
        await go.wait()
        await exchange.events(frames[1][20:] + frames[2])
        await exchange.end_stream()

    await rig.engine(script)
    await rig.gateway()
    async with rig.client() as client:
        answer = await client.open("POST", CHAT_PATH, streamed())
        first = await answer.event(1.0)
        go.set()
        await answer.finish()

    assert frames[0] == first.raw
    assert b"".join(frames) == answer.body


async def test_case_10_comment_is_released_at_once(rig: Rig) -> None:
    """A ping keeps the client's connection alive only when it is not held back."""
    await rig.engine(answers.streams_then(b": ping\n\n", then=answers.hangs))
    await rig.gateway()
    async with rig.client() as client:
        answer = await client.open("POST", CHAT_PATH, ask(stream=True))

        assert b": ping\n\n" == (await answer.event(1.0)).raw


@pytest.mark.parametrize("body", [streamed(), ask(stream=True)], ids=["plain", "counted"])
@pytest.mark.parametrize("rest", [b"data: [DONE]", b"data: [DONE]\n", b": bye", b"data: \xf0\x9f"])
async def test_case_10_rest_at_the_end_is_flushed(rig: Rig, rest: bytes, body: object) -> None:
    """What is left when the engine ends in order, without a last empty line, is not lost."""
    frames = answers.chat_frames("m")[:2]
    await rig.engine(answers.streams(*frames, rest))
    await rig.gateway()
    assert isinstance(body, dict)

    answer = await rig.post(body)

    assert b"".join([*frames, rest]) == answer.body
    assert answer.ended


async def test_case_10_stream_that_ends_with_its_connection(rig: Rig) -> None:
    """A stream without length or chunks ends when the engine closes; that is no error."""
    start = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    await rig.engine(answers.raw(start + RICH, close=True))
    await rig.gateway()

    answer = await rig.post(streamed())

    assert RICH == answer.body


async def test_case_10_long_event(rig: Rig) -> None:
    """An event of some megabytes, as with images or logprobs, passes whole."""
    frames = [answers.chat_chunk("m", {"content": "x" * 3_000_000}), answers.DONE]
    await rig.engine(answers.streams(*frames))
    await rig.gateway()

    assert b"".join(frames) == (await rig.post(streamed())).body


async def test_case_10_whole_answer_is_relayed_byte_for_byte(rig: Rig) -> None:
    """JSON keeps its spaces, key order and escapes."""
    body = b'{ "b" : 1.00,\n "a":"\\u00e4\\/", "model"  :"m", "n": 1e400, "a": 2 }\n'
    await rig.engine(answers.says(200, body))
    await rig.gateway()

    answer = await rig.post(ask())

    assert body == answer.body
    assert "application/json" == answer.header("content-type")


async def test_case_10_binary_answer_is_relayed(rig: Rig) -> None:
    """An answer that is not text, such as embeddings as bytes, passes as it is."""
    kind, numbers = "application/octet-stream", random.Random(1).randbytes(700_000)
    await rig.engine(answers.says(200, numbers, content_type=kind))
    await rig.gateway()

    answer = await rig.post(ask("/v1/embeddings", encoding_format="bytes"), "/v1/embeddings")

    assert (200, kind) == (answer.status, answer.header("content-type"))
    assert numbers == answer.body


async def test_case_10_request_is_relayed_byte_for_byte(rig: Rig) -> None:
    """Without a reason to rewrite, the request reaches the engine as the client wrote it."""
    engine = await rig.engine()
    await rig.gateway()
    body = b'{"messages":[ {"role":"user","content":"\\u0068i \xe2\x82\xac"}] ,\t"model" : "m"}\n'

    await rig.post(body)

    assert body == engine.exchanges[0].body
    assert str(len(body)) == engine.exchanges[0].header("content-length")


async def test_case_10_target_keeps_its_query(rig: Rig) -> None:
    """The query string reaches the engine."""
    engine = await rig.engine()
    await rig.gateway()

    await rig.post(ask(), "/v1/chat/completions?beta=true&x=%20")

    assert "/v1/chat/completions?beta=true&x=%20" == engine.exchanges[0].target


async def test_case_11_headers_against_buffering(rig: Rig) -> None:
    """Event streams tell proxies in front not to buffer, cache or compress them."""
    engine = await rig.engine()
    await rig.gateway()

    answer = await rig.post(streamed(), accept_encoding="gzip, br")

    assert "no" == answer.header("x-accel-buffering")
    assert "no-cache" in (answer.header("cache-control") or "")
    assert (answer.header("content-type") or "").startswith("text/event-stream")
    assert answer.header("content-encoding") is None
    assert engine.exchanges[0].header("accept-encoding") in {None, "identity"}


async def test_case_11_first_chunk_is_not_batched(rig: Rig) -> None:
    """Each event is passed on before the next one exists."""
    frames = answers.chat_frames("m")
    steps = [asyncio.Event() for _ in frames]

    async def script(exchange: Exchange) -> None:
        await exchange.start_stream()
        for frame, step in zip(frames, steps, strict=True):
            await exchange.events(frame)
            await step.wait()
        await exchange.end_stream()

    await rig.engine(script)
    await rig.gateway()
    async with rig.client() as client:
        answer = await client.open("POST", CHAT_PATH, streamed())
        for frame, step in zip(frames, steps, strict=True):
            assert frame == (await answer.event(1.0)).raw
            step.set()
        await answer.finish()

    assert answer.ended


async def test_case_11_request_is_not_held_back(rig: Rig) -> None:
    """A whole answer's first bytes are passed on too, before the rest exists."""
    go = asyncio.Event()
    body = b"x" * 1000

    async def script(exchange: Exchange) -> None:
        start = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"
        await exchange.write(start + body[:500])
        await go.wait()
        await exchange.write(body[500:])

    await rig.engine(script)
    await rig.gateway()
    async with rig.client() as client:
        answer = await client.open("POST", "/v1/embeddings", ask("/v1/embeddings"))
        assert body[:500] == await answer.until(500, 1.0)
        go.set()

        assert body == (await answer.finish()).body
