"""The engine behind its address: what it tells, when its tokens come, and how it fails."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from headrace.config.backends import Backend
from headrace.engines.calibrate.target import Load, Refused, Target
from headrace.errors import StartError
from tests.engines.sim.rig import simulator

Answering = Callable[[str, dict[str, Any]], tuple[int, str]]
MODELS = '{"data": [{"id": "a"}, {"id": "b"}]}'


def target(url: str, **fields: Any) -> Target:
    return Target(Backend(url=url, name="x", serves={"any": "any"}, **fields))


@asynccontextmanager
async def engine(answering: Answering, heads: list[str]) -> AsyncIterator[str]:
    """An engine that answers (status, body) by path and JSON body, and notes the heads."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                lengths = [x[15:] for x in head.lower().split("\r\n") if x.startswith("content-l")]
                body = await reader.readexactly(int(lengths[0])) if lengths else b""
                heads.append(head)
                status, text = answering(head.split()[1], json.loads(body or b"{}"))
                kind = "text/event-stream" if text.startswith("data:") else "application/json"
                writer.write(
                    f"HTTP/1.1 {status} x\r\ncontent-type: {kind}\r\n"
                    f"content-length: {len(text)}\r\n\r\n{text}".encode()
                )

    async def tracked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        work = asyncio.ensure_future(serve(reader, writer))
        connections.append((work, writer))
        await work

    connections: list[tuple[asyncio.Future[None], asyncio.StreamWriter]] = []
    server = await asyncio.start_server(tracked, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for work, writer in connections:
            await work
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


def events(*values: object) -> str:
    return "".join(f"data: {json.dumps(value)}\n\n" for value in values) + "data: [DONE]\n\n"


async def test_a_vllm_tells_what_it_is() -> None:
    """Model, version, longest prompt, cache; and what it works on."""
    async with (
        simulator(model="m", kv_tokens=20_000, max_model_len=4000) as server,
        target(server.urls[0]) as asked,
    ):
        facts = await asked.facts()
        load = await asked.load()

    assert ("vllm", "0.32.0", "m") == (facts.kind, facts.version, facts.model)
    assert (4000, 20_000, 16) == (facts.max_model_len, facts.kv_tokens, facts.block_size)
    assert Load(0, 0, 0) == load


async def test_tokens_have_their_moments() -> None:
    """Each token of an answer with the moment it came; the prompt as the engine counted it."""
    async with (
        simulator(speed=10, preset="l4-8b") as server,
        target(server.urls[0]) as asked,
    ):
        await asked.facts()
        answer = await asked.complete("the water runs down", 5)
        load = await asked.load()

    moments = [moment for moment, _ in answer.arrivals]
    assert [1, 2, 3, 4, 5] == [count for _, count in answer.arrivals][-5:]
    assert sorted(moments) == moments
    assert answer.sent < answer.first < answer.last
    assert (4, 0) == (answer.prompt_tokens, answer.cached_tokens)
    assert answer.ttft_ms >= 4  # 51 ms of an L4, ten times as fast
    assert Load(0, 0, 1) == load


async def test_an_engine_that_is_no_vllm() -> None:
    """Without metrics, and without vLLM's own fields, whose chunks count one token each."""
    asked_for: list[dict[str, Any]] = []

    def answering(path: str, body: dict[str, Any]) -> tuple[int, str]:
        asked_for.append(body)
        if path == "/v1/models":
            return 200, MODELS
        if path != "/v1/completions":
            return 404, "{}"
        if "ignore_eos" in body:
            return 400, '{"error": {"message": "unknown field"}}'
        token = {"choices": [{"text": "x"}]}
        return 200, events(token, token, {"choices": [], "usage": {"prompt_tokens": 7}})

    async with engine(answering, []) as url, target(url) as asked:
        facts = await asked.facts("b")
        answers = [await asked.complete("x", 2) for _ in range(2)]
        load = await asked.load()

    assert ("openai", "b", None, None) == (
        facts.kind, facts.model, facts.max_model_len, facts.kv_tokens,
    )  # fmt: skip
    assert [2, 2] == [answer.arrivals[-1][1] for answer in answers]
    assert [7, 7] == [answer.prompt_tokens for answer in answers]
    assert load is None
    assert [True, False, False] == ["ignore_eos" in body for body in asked_for if "prompt" in body]


@pytest.mark.parametrize(
    ("status", "text", "told"),
    [
        (400, '{"error": {"message": "too long"}}', "400: too long"),
        (500, "oops", "500: oops"),
        (200, 'data: {"error": {"message": "broken"}}\n\n', "200: broken"),
        (200, "data: {x\n\n", "200: its stream is no JSON"),
        (200, "data: [DONE]\n\n", "200: its stream has no tokens"),
    ],
)
async def test_refusals_have_the_engines_words(status: int, text: str, told: str) -> None:
    """Whatever is no answer says why, and 400 is asked again without vLLM's fields only once."""

    def answering(path: str, body: dict[str, Any]) -> tuple[int, str]:
        return (200, MODELS) if path == "/v1/models" else (status, text)

    async with engine(answering, []) as url, target(url) as asked:
        with pytest.raises(Refused, match=told):
            await asked.complete("x", 2)

    assert not asked.plain


async def test_who_cannot_be_asked() -> None:
    """Nobody there, no OpenAI API, no such model, no right key: one sentence each."""
    async with target("http://127.0.0.1:9") as asked:
        with pytest.raises(StartError, match="does not answer as an OpenAI API does"):
            await asked.facts()
        with pytest.raises(StartError, match="broke off: no connection"):
            await asked.complete("x", 1)
    async with engine(lambda *_: (200, "[]"), []) as url, target(url) as asked:
        with pytest.raises(StartError, match="does not answer as an OpenAI API does"):
            await asked.facts()
    async with engine(lambda *_: (200, MODELS), []) as url, target(url) as asked:
        with pytest.raises(StartError, match="has no model 'c'; it has a, b"):
            await asked.facts("c")
    async with engine(lambda *_: (401, "{}"), []) as url, target(url) as asked:
        with pytest.raises(StartError, match=r"does not take our key .* --api-key-file"):
            await asked.facts()


async def test_the_key_is_sent(tmp_path: Path) -> None:
    """With every request, as a bearer token."""
    file = tmp_path / "key"
    file.write_text("s3cret\n", encoding="ascii")
    heads: list[str] = []
    async with (
        engine(lambda *_: (500, ""), heads) as url,
        target(url, api_key_file=file) as asked,
    ):
        with pytest.raises(Refused):
            await asked.complete("x", 1)
        with pytest.raises(StartError):
            await asked.facts()

    assert 2 == len(heads)
    assert all("authorization: bearer s3cret\r\n" in head.lower() for head in heads)
