"""Case 8: five clocks; each names itself when it runs out, and none runs when it should not."""

import asyncio
import time

import pytest

from headrace.config.schema import Timeouts
from headrace.conformance import answers
from headrace.conformance.fake import Exchange, head
from tests.edge.rig import (
    CHAT_PATH,
    Rig,
    ask,
    check_anthropic,
    ends_with_error,
    openai_error,
    retry_after,
    streamed,
    turns,
)

FRAME = answers.chat_chunk("m", {"content": "Hi"})


def _named(message: str, *words: str) -> None:
    """Demand that the message names the clock that ran out."""
    assert any(word in message.lower().replace("_", " ") for word in words), message


async def test_case_08_connect_clock(rig: Rig) -> None:
    """A connection that is not opened within connect_s is given up; the error says so."""
    await rig.gateway(urls=[rig.silent().url], timeouts={"connect_s": 0.2})
    started = time.monotonic()

    answer = await rig.post(ask())

    assert answer.status in {502, 504}, answer
    _named(openai_error(answer, answer.status)["message"], "connect")
    assert time.monotonic() - started < Timeouts().connect_s


async def test_case_08_queue_clock(rig: Rig) -> None:
    """A declared model without a replica is held for queue_s; then it is 503 with Retry-After."""
    await rig.gateway(urls=[], timeouts={"queue_s": 0.3})
    started = time.monotonic()

    answer = await rig.post(ask())

    message = openai_error(answer, 503, "no_replica")["message"]
    assert "within 0.3 s" in message
    retry_after(answer)
    assert 0.2 < time.monotonic() - started < Timeouts().queue_s


@pytest.mark.parametrize("sends_head", [True, False])
async def test_case_08_first_byte_clock(rig: Rig, sends_head: bool) -> None:
    """A stream without a first byte of its body within first_byte_s is 504; the engine is told."""
    silent = answers.streams_then(then=answers.hangs) if sends_head else answers.hangs
    engine = await rig.engine(silent)
    await rig.gateway(timeouts={"first_byte_s": 0.2})

    answer = await rig.post(streamed())

    _named(openai_error(answer, 504, "timeout")["message"], "first byte")
    await engine.exchanges[0].wait_closed()


async def test_case_08_chunk_clock(rig: Rig) -> None:
    """A stream that pauses for longer than chunk_s ends with an error frame; the engine is told."""
    engine = await rig.engine(answers.streams_then(FRAME, then=answers.hangs))
    await rig.gateway(timeouts={"chunk_s": 0.2})

    answer = await rig.post(streamed())

    assert FRAME == answer.events[0].raw
    _named(ends_with_error(answer)["message"], "chunk")
    await engine.exchanges[0].wait_closed()


async def test_case_08_chunk_clock_on_messages(rig: Rig) -> None:
    """On /v1/messages the clock ends the stream with Anthropic's error event."""
    await rig.engine(answers.streams_then(answers.message_frames("m")[0], then=answers.hangs))
    await rig.gateway(timeouts={"chunk_s": 0.2})

    answer = await rig.post(streamed("/v1/messages"), "/v1/messages")

    assert "error" == answer.events[-1].event
    check_anthropic(answer.events[-1].json())


async def test_case_08_chunk_clock_starts_again(rig: Rig) -> None:
    """A stream that is longer than chunk_s, but never pauses for so long, is not touched."""
    frames: list[bytes] = []

    async def script(exchange: Exchange) -> None:
        await exchange.start_stream()
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            frames.append(FRAME)
            await exchange.events(FRAME)
            await asyncio.sleep(0.06)
        await exchange.events(answers.DONE)
        await exchange.end_stream()

    await rig.engine(script)
    await rig.gateway(timeouts={"chunk_s": 0.8, "first_byte_s": 0.8})

    answer = await rig.post(streamed())

    assert b"".join([*frames, answers.DONE]) == answer.body


async def test_case_08_chunk_clock_does_not_count_a_slow_client(rig: Rig) -> None:
    """While a client does not read, the engine is not to blame: only its own pauses count."""
    block = answers.chat_chunk("m", {"content": "x" * 60_000})
    frames = [block] * 100
    await rig.engine(answers.streams(*frames))
    await rig.gateway(timeouts={"chunk_s": 0.2})
    async with rig.client(receive_bytes=4096) as client:
        answer = await client.open("POST", CHAT_PATH, streamed())
        await asyncio.sleep(0.6)

        await answer.finish()

    assert b"".join(frames) == answer.body


async def test_case_08_total_clock_of_a_stream(rig: Rig) -> None:
    """A stream that never ends is ended by total_s with an error frame, however lively it is."""

    async def script(exchange: Exchange) -> None:
        await exchange.start_stream()
        while True:
            await exchange.events(FRAME)
            await turns(20)

    engine = await rig.engine(script)
    await rig.gateway(timeouts={"total_s": 0.4})

    answer = await rig.post(streamed())

    _named(ends_with_error(answer)["message"], "total")
    await engine.exchanges[0].wait_closed()


async def test_case_08_total_clock_of_a_whole_answer(rig: Rig) -> None:
    """A whole answer that does not come within total_s is 504; the engine is told."""
    engine = await rig.engine(answers.hangs)
    await rig.gateway(timeouts={"total_s": 0.3})

    answer = await rig.post(ask())

    _named(openai_error(answer, 504, "timeout")["message"], "total")
    await engine.exchanges[0].wait_closed()


async def test_case_08_total_clock_covers_the_hold(rig: Rig) -> None:
    """The total clock also ends a request that is held for a replica."""
    await rig.gateway(urls=[], timeouts={"queue_s": 30, "total_s": 0.3})

    answer = await rig.post(ask())  # the client itself waits for less than queue_s

    openai_error(answer, answer.status)
    assert answer.status in {503, 504}, answer


async def test_case_08_long_generation_is_not_killed(rig: Rig) -> None:
    """Not streamed: neither the first-byte nor the chunk clock runs, however long it takes."""
    body = answers.chat_body("m")
    length = ("content-length", str(len(body)))

    async def script(exchange: Exchange) -> None:
        await asyncio.sleep(0.4)
        await exchange.write(head(200, length, ("content-type", "application/json")) + body[:100])
        await asyncio.sleep(0.4)
        await exchange.write(body[100:])

    await rig.engine(script)
    await rig.gateway(timeouts={"first_byte_s": 0.1, "chunk_s": 0.1})

    answer = await rig.post(ask())

    assert (200, body) == (answer.status, bytes(answer.body))


async def test_case_08_slow_request_is_408(rig: Rig) -> None:
    """A client that stops in the middle of its request gets 408 after server.read_s."""
    engine = await rig.engine()
    await rig.gateway(server={"read_s": 0.3})
    async with rig.client() as client:
        await client.send(
            b"POST /v1/completions HTTP/1.1\r\nhost: h\r\ncontent-length: 99\r\n\r\n{"
        )
        answer = await (await client.answer()).finish()

    openai_error(answer, 408, "request_timeout")
    assert [] == engine.exchanges


async def test_case_08_slow_head_is_ended(rig: Rig) -> None:
    """A client that never finishes its head does not hold a connection for ever (slowloris)."""
    await rig.gateway(urls=[], server={"read_s": 0.3})
    async with rig.client() as client:
        await client.send(b"POST /v1/completions HTTP/1.1\r\nhost: h\r\n")
        seen = await client.read_to_end()

    assert seen == b"" or seen.startswith(b"HTTP/1.1 408 ")


async def test_case_08_idle_client_connection_is_closed(rig: Rig) -> None:
    """An idle client connection is closed after server.keep_alive_s, without a word."""
    await rig.engine()
    await rig.gateway(server={"keep_alive_s": 0.3})
    async with rig.client() as client:
        await client.post(CHAT_PATH, ask())

        assert b"" == await client.read_to_end()
