"""One request against a server that does as it is told, and what is measured of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import msgspec
import pytest

from headrace.bench.client import Client, Record, Target
from headrace.bench.plan import Job
from headrace.errors import ConfigError

Script = Callable[[asyncio.StreamWriter], Awaitable[None]]
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
JOB = Job(0, 0.0, "hello", 3)


def token(text: str = "a") -> bytes:
    return b'data: {"choices":[{"delta":{"content":"%b"}}]}\n\n' % text.encode()


USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":3}}\n\n'
DONE = b"data: [DONE]\n\n"


@asynccontextmanager
async def server(script: Script) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that answers each request by the script; its URL, and the requests that came."""
    seen: list[bytes] = []
    busy: set[asyncio.StreamWriter] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")),
            0,
        )
        seen.append(head + await reader.readexactly(length))
        busy.add(writer)
        with suppress(asyncio.CancelledError):
            await script(writer)
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}", seen
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in busy:
            with suppress(OSError):
                await writer.wait_closed()


async def ask(script: Script, **changes: object) -> tuple[Record, list[bytes]]:
    async with server(script) as (url, seen):
        client = Client(Target(url, "m", **changes))  # type: ignore[arg-type]
        try:
            return await client.send(JOB, 0.0), seen
        finally:
            client.close()


async def test_first_token_and_gaps_are_when_they_came() -> None:
    """TTFT ends with the first text, not with the head or the role; gaps are between texts."""

    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b'data: {"choices":[{"delta":{"role":"assistant"}}]}\n\n')
        for pause_s in (0.1, 0.05, 0.05):
            await asyncio.sleep(pause_s)
            writer.write(token())
        writer.write(USAGE + DONE)

    record, _ = await ask(script)

    assert record.good
    assert record.ttft_s is not None
    assert record.ttft_s >= 0.095
    assert 2 == len(record.gaps_s)
    assert min(record.gaps_s) >= 0.04
    assert record.latency_s >= record.ttft_s + sum(record.gaps_s)
    assert (11, 3) == (record.prompt_tokens, record.output_tokens)


async def test_a_request_says_what_was_asked_for() -> None:
    """Model, text, length, usage, and for vLLM that answers are as long as asked."""

    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + token() + USAGE + DONE)

    _, (sent,) = await ask(script, api_key="secret")
    head, _, body = sent.partition(b"\r\n\r\n")

    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    assert b"authorization: Bearer secret" in head
    assert {
        "model": "m",
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 3,
        "stream": True,
        "stream_options": {"include_usage": True},
        "ignore_eos": True,
    } == msgspec.json.decode(body)


async def test_without_usage_events_are_counted() -> None:
    """A server that tells no usage has as many tokens as events with text."""

    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + token() + token() + DONE)

    record, _ = await ask(script)

    assert 2 == record.output_tokens


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (HEAD + token(), "without [DONE]"),
        (HEAD + DONE, "without output"),
        (b"HTTP/1.1 429 No\r\ncontent-length: 9\r\n\r\ntry later", "429: try later"),
        (b"", "closed"),
    ],
)
async def test_what_is_no_answer_is_a_failure(sent: bytes, told: str) -> None:
    """Cut, empty and refused answers are failures with a reason, never fast successes."""

    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(sent)

    record, _ = await ask(script)

    assert not record.good
    assert told in record.error


async def test_an_answer_that_takes_too_long_is_given_up() -> None:
    """A request ends at its time-out, and the run goes on."""

    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + token())
        await asyncio.sleep(5)

    record, _ = await ask(script, timeout_s=0.2)

    assert "within 0.2 s" in record.error


async def test_the_first_model_is_asked_for() -> None:
    """The endpoint says which models it has."""

    async def script(writer: asyncio.StreamWriter) -> None:
        body = b'{"object":"list","data":[{"id":"qwen"},{"id":"other"}]}'
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))

    async with server(script) as (url, _):
        client = Client(Target(url + "/v1", ""))
        assert ["qwen", "other"] == await client.models()
        client.close()


@pytest.mark.parametrize("url", ["ftp://host", "http://", "://"])
def test_what_is_no_address_is_told(url: str) -> None:
    """A wrong URL says what would be right."""
    with pytest.raises(ConfigError, match=r"--url: .*write http://host:port"):
        Client(Target(url, "m"))
