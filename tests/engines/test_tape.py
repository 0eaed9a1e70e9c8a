"""Record once, replay for ever: through a real gateway, with the official SDKs in front."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from aiohttp import web

from headrace.config.backends import Backend, Model
from headrace.config.schema import Config
from headrace.engines.cassette import Cassette, Chunk, question, save
from headrace.engines.roster import Fronted, Tape
from headrace.engines.tape import Recorder, Replayer
from headrace.errors import StartError
from headrace.gateway.app import Gateway

CHAT: dict[str, Any] = {"model": "ours", "messages": [{"role": "user", "content": "Say hi"}]}
KEY = "sk-secret-of-the-backend"
WORDS = ("Hel", "lo", " wörld")
PAUSE_S = 0.03


class Log:
    """Remembers events."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def event(self, event: str, **fields: object) -> None:
        """Like the gateway's."""
        self.events.append({"event": event, **fields})


class Engine:
    """An upstream that counts, and says what it was asked with."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.status = 200
        self.breaks = False
        self.lingers = False  # after the end of a stream, until the test is over
        self.over = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """A chat completion, streamed or not."""
        body = await request.json()
        self.asked.append({"key": request.headers.get("authorization"), "body": body})
        if self.status != 200:
            return web.json_response({"error": {"message": "no"}}, status=self.status)
        if not body.get("stream"):
            message = {"role": "assistant", "content": "".join(WORDS) + f" {KEY}"}
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            return web.json_response({**self._shell(body), "choices": [choice]})
        answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await answer.prepare(request)
        for word in WORDS:
            choice = {"index": 0, "finish_reason": None, "delta": {"content": word}}
            data = json.dumps({**self._shell(body), "choices": [choice]}, ensure_ascii=False)
            await answer.write(f"data: {data}\n\n".encode())
            await asyncio.sleep(PAUSE_S)
            if self.breaks and request.transport is not None:
                request.transport.abort()
        await answer.write(b"data: [DONE]\n\n")
        if self.lingers:
            await self.over.wait()
        return answer

    def _shell(self, body: dict[str, Any]) -> dict[str, Any]:
        number = len(self.asked)
        return {"id": f"c-{number}", "object": "x", "created": number, "model": body["model"]}


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
async def upstream(engine: Engine) -> AsyncIterator[Backend]:
    """The engine as a backend with a key."""
    app = web.Application()
    app.router.add_post("/{path:.*}", engine.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    values = {"url": url, "name": "b", "serves": {"ours": "theirs"}, "api_key": KEY}
    yield Backend.model_validate(values)
    engine.over.set()
    await runner.cleanup()


Start = Callable[..., Awaitable[str]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts a gateway before a tape; returns its URL."""
    running: list[tuple[Gateway, Tape]] = []

    async def start(tape: Tape, backends: Sequence[Backend], models: Sequence[Model] = ()) -> str:
        config = Config.model_validate({"server": {"port": 0}, "logging": {"requests": False}})
        update = {"backends": tuple(map(tape.front, backends)), "models": tuple(models)}
        gateway = Gateway(config.model_copy(update=update))
        await gateway.start()
        await tape.start(gateway.log)
        running.append((gateway, tape))
        return gateway.url

    yield start
    for gateway, tape in running:
        await gateway.stop(0)
        await tape.stop()


@pytest.fixture
async def replay(start: Start, tmp_path: Path) -> Start:
    """Starts a gateway before what was recorded."""

    async def replay(speed: float = 0) -> str:
        replayer = Replayer(tmp_path, speed)
        return await start(replayer, [replayer.backend], replayer.models([]))

    return replay


async def post(url: str, body: dict[str, Any], path: str = "/v1/chat/completions") -> Any:
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
        return await client.post(url + path, json=body)


async def files(folder: Path, count: int) -> list[str]:
    """The recordings, once there are so many: they are written after the answer."""
    async with asyncio.timeout(30):
        while len(found := texts(folder)) < count:  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.01)
    return found


def texts(folder: Path) -> list[str]:
    return [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.yaml"))]


async def test_the_sdk_gets_the_same_again(
    start: Start, replay: Start, upstream: Backend, engine: Engine, tmp_path: Path
) -> None:
    """Whole answers and streams, word by word, without the engine."""

    async def say(url: str) -> list[Any]:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client:
            whole = await client.chat.completions.create(**CHAT)
            stream = await client.chat.completions.create(**CHAT, stream=True)
            return [whole, *[chunk async for chunk in stream]]

    recorded = await say(await start(Recorder(tmp_path), [upstream]))
    await files(tmp_path, 2)
    count = len(engine.asked)
    replayed = await say(await replay())

    assert [chunk.choices[0].delta.content for chunk in recorded[1:]] == [*WORDS]
    assert replayed[1:] == recorded[1:]
    assert replayed[0].id == recorded[0].id
    assert len(engine.asked) == count == 2


async def test_bytes_are_kept(
    start: Start, replay: Start, upstream: Backend, tmp_path: Path
) -> None:
    """What was recorded is what is answered, each time."""
    body = {**CHAT, "stream": True}
    recorded = (await post(await start(Recorder(tmp_path), [upstream]), body)).content
    await files(tmp_path, 1)
    url = await replay()

    assert [(await post(url, body)).content for _ in range(3)] == [recorded] * 3


async def test_the_pace(replay: Start, tmp_path: Path) -> None:
    """At once by default; in the recorded pace, or a multiple of it, when asked for."""
    asked = question("POST", "/v1/chat/completions", "", json.dumps(CHAT).encode())
    chunks = tuple(Chunk(300, b"data: x\n\n") for _ in range(2))
    save(tmp_path, Cassette(asked, ("ours",), 200, "text/event-stream", chunks))
    took_s = []
    for speed in (0, 0, 0, 0, 0, 2, 1):
        url = await replay(speed)
        began = time.monotonic()
        await post(url, {**CHAT, "model": "ours"})
        took_s.append(time.monotonic() - began)

    assert min(took_s[:5]) < 0.3  # the best of several: the machine may be busy
    assert took_s[5] >= 0.3
    assert took_s[6] >= 0.6


async def test_no_secret_is_kept(
    start: Start, upstream: Backend, engine: Engine, tmp_path: Path
) -> None:
    """The engine gets the backend's key; no file has it, nor the client's, nor one in the body."""
    url = await start(Recorder(tmp_path), [upstream])
    body = {**CHAT, "tools": [{"type": "mcp", "authorization": "client-token"}]}
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
        headers = {"authorization": "Bearer client-key"}
        await client.post(f"{url}/v1/chat/completions", json=body, headers=headers)

    (text,) = await files(tmp_path, 1)
    assert engine.asked[0]["key"] == f"Bearer {KEY}"
    assert engine.asked[0]["body"]["tools"][0]["authorization"] == "client-token"
    assert [word for word in (KEY, "client-key", "client-token") if word in text] == []


async def test_the_fleets_own_questions_are_not_kept(
    start: Start, upstream: Backend, engine: Engine, tmp_path: Path
) -> None:
    """A warm-up is no question of an application."""
    recorder = Recorder(tmp_path)
    await start(recorder, [])
    front = recorder.front(upstream)
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
        for agent in ("headrace", "somebody else"):
            body = {**CHAT, "seed": len(agent)}
            headers = {"user-agent": agent}
            await client.post(f"{front.url}/v1/chat/completions", json=body, headers=headers)

    (text,) = await files(tmp_path, 1)
    assert len(engine.asked) == 2
    assert f"seed: {len('somebody else')}" in text


async def test_hanging_up_at_done_is_no_abort(
    start: Start, upstream: Backend, engine: Engine, tmp_path: Path
) -> None:
    """A client that closes when the stream says that it is over leaves a whole recording."""
    engine.lingers = True
    recorder = Recorder(tmp_path)
    await start(recorder, [])
    front = recorder.front(upstream)
    body = {**CHAT, "stream": True}
    async with (
        httpx2.AsyncClient(trust_env=False, timeout=30) as client,
        client.stream("POST", f"{front.url}/v1/chat/completions", json=body) as answer,
    ):
        async for line in answer.aiter_lines():
            if line == "data: [DONE]":
                break

    assert 1 == len(await files(tmp_path, 1))


@pytest.mark.parametrize(("status", "kept"), [(400, 1), (401, 0), (429, 0), (500, 0)])
async def test_which_errors_are_kept(
    status: int, kept: int, start: Start, upstream: Backend, engine: Engine, tmp_path: Path
) -> None:
    """What says something about the request is; what says something about the moment is not."""
    engine.status = status
    url = await start(Recorder(tmp_path), [upstream])

    refused = await post(url, CHAT)
    engine.status = 200
    await post(url, {**CHAT, "seed": 1})

    assert refused.status_code == status
    assert len(await files(tmp_path, 1 + kept)) == 1 + kept


async def test_a_broken_stream_is_not_kept(
    start: Start, upstream: Backend, engine: Engine, tmp_path: Path
) -> None:
    """The client sees it break, as it would without the recorder; half an answer is no answer."""
    url = await start(Recorder(tmp_path), [upstream])
    engine.breaks = True
    broken = await post(url, {**CHAT, "stream": True})
    engine.breaks = False
    await post(url, {**CHAT, "seed": 1})

    (text,) = await files(tmp_path, 1)
    assert b"upstream_failed" in broken.content
    assert "seed" in text


async def test_an_engine_that_is_away(start: Start, tmp_path: Path, unused_tcp_port: int) -> None:
    """The recorder answers 502, as a proxy does."""
    away = Backend.model_validate(
        {"url": f"http://127.0.0.1:{unused_tcp_port}", "serves": ["ours"]}
    )
    url = await start(Recorder(tmp_path), [away])

    assert (await post(url, CHAT)).status_code == 502
    assert texts(tmp_path) == []


async def test_a_miss_in_both_dialects(
    start: Start, replay: Start, upstream: Backend, tmp_path: Path
) -> None:
    """404 with the SDK's own error; it names the closest recording and what differs."""
    await post(await start(Recorder(tmp_path), [upstream]), CHAT)
    await files(tmp_path, 1)
    url = await replay()
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client:
        with pytest.raises(openai.NotFoundError) as missed:
            await client.chat.completions.create(**CHAT, seed=1)
    async with anthropic.AsyncAnthropic(base_url=url, api_key="x", max_retries=0) as claude:
        with pytest.raises(anthropic.NotFoundError) as missed_too:
            await claude.messages.create(**CHAT, max_tokens=5)

    assert missed.value.code == "recording_not_found"
    assert "differs in seed (none recorded, 1 asked)." in missed.value.message
    assert "chat-completions-" in missed.value.message
    assert missed_too.value.body["error"]["type"] == "not_found_error"  # type: ignore[index]
    assert "path (/v1/chat/completions recorded, /v1/messages asked)" in str(missed_too.value)


async def test_models_are_those_recorded(start: Start, upstream: Backend, tmp_path: Path) -> None:
    """A declared one keeps its aliases; one that was never recorded is not there."""
    await post(await start(Recorder(tmp_path), [upstream]), CHAT)
    await files(tmp_path, 1)
    declared = [Model(name="ours", aliases=("x",)), Model(name="other")]

    replayer = Replayer(tmp_path, 0)
    url = await start(replayer, [replayer.backend], replayer.models(declared))

    assert replayer.models(declared) == (declared[0],)
    assert (await post(url, {**CHAT, "model": "x"})).status_code == 200


async def test_an_engine_that_comes_later_is_recorded_too(
    start: Start, upstream: Backend, tmp_path: Path
) -> None:
    """One that the supervisor has started again listens elsewhere; its front follows."""
    recorder = Recorder(tmp_path)
    added: list[Backend] = []

    class Roster:
        """Remembers."""

        def add(self, backend: Backend, *, trusted: bool | None = None) -> None:
            """Like a fleet."""
            added.append(backend)

        def remove(self, name: str, reason: str) -> None:
            """Like a fleet."""
            added.clear()

    await start(recorder, [])
    fleet = Fronted(Roster(), recorder)
    fleet.add(upstream)

    assert (added[0].name, added[0].key()) == ("b", "")
    assert (await post(added[0].url, CHAT)).status_code == 200
    fleet.remove("b", "gone")
    assert added == []


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    """One sentence before anything starts."""
    (tmp_path / "file").touch()

    with pytest.raises(StartError, match="cannot be made"):
        Recorder(tmp_path / "file")
