"""Cases 15 and 24: large requests, and URLs that an engine would be made to fetch."""

import asyncio
from typing import Any

from headrace.conformance import shapes
from headrace.conformance.fake import chunk
from headrace.conformance.stage import CHAT, MESSAGES, Stage
from headrace.conformance.wire import Answer, request

MIB = 1024 * 1024
FITS_MIB = 20
LIMIT_MIB = 32  # the wiring sets every gateway's limit to this
DECLARED = 1024 * MIB
PIXEL = "data:image/png;base64,iVBORw0KGgo="
PRIVATE_URLS = (
    "http://169.254.169.254/latest/meta-data/",
    "http://127.0.0.1:1/internal",
    "http://localhost/internal",
    "http://10.0.0.1/internal",
    "http://[::1]/internal",
)


async def large(stage: Stage) -> None:
    """A body within the limit passes; one above it is 413, told before it is sent."""
    play = stage.play()
    body = stage.ask(play)
    body["messages"][0]["content"] += "u" * (FITS_MIB * MIB)
    answer = await stage.post(body)
    stage.equal(f"body of {FITS_MIB} MiB: status", 200, answer.status)
    size = max((len(exchange.body) for exchange in play.exchanges), default=0)
    stage.check(f"body of {FITS_MIB} MiB: bytes at the engine", f"over {FITS_MIB} MiB", size,
                passed=size > FITS_MIB * MIB)  # fmt: skip
    await _declared(stage)
    await _chunked(stage)


async def _declared(stage: Stage) -> None:
    """Only a head, which declares a gigabyte; what would follow is never sent."""
    told = "a head that declares 1 GiB, and no body"
    client = await stage.client(5.0)
    given = stage.headers([("content-length", str(DECLARED)), ("content-type", "application/json")])
    await client.send(request("POST", CHAT, None, given))
    try:
        answer = await (await client.answer()).finish()
    except TimeoutError:
        stage.check(told, "413 at once", "no answer within 5 s", passed=False)
        return
    shapes.openai_error(stage, told, answer, {413})


async def _chunked(stage: Stage) -> None:
    told = f"chunked body of {LIMIT_MIB + 8} MiB, whose length is not declared"
    play = stage.play()
    client = await stage.client()
    given = stage.headers([("transfer-encoding", "chunked"), ("content-type", "application/json")])
    writing = asyncio.ensure_future(_write(client.send, request("POST", CHAT, None, given)))
    try:
        answer = await (await client.answer()).finish()
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
    shapes.openai_error(stage, told, answer, {413})
    stage.equal(f"{told}: requests at the engine", 0, len(play.exchanges))


async def _write(send: Any, head: bytes) -> None:
    await send(head + chunk(b'{"user":"'))
    for _ in range(LIMIT_MIB + 8):
        await send(chunk(b"u" * MIB))
    await send(chunk(b'"}') + chunk(b""))


async def private_urls(stage: Stage) -> None:
    """URLs of private addresses in media parts are refused; data in place is not."""
    for url in PRIVATE_URLS:
        play = stage.play()
        answer = await stage.post(_image(stage.ask(play), {"url": url}))
        _refused(stage, f"image_url {url}", answer, len(play.exchanges))
    for kind in ("audio_url", "video_url"):
        play = stage.play()
        answer = await stage.post(_image(stage.ask(play), {"url": PRIVATE_URLS[0]}, kind))
        _refused(stage, f"{kind} {PRIVATE_URLS[0]}", answer, len(play.exchanges))
    if await stage.supports(MESSAGES):
        play = stage.play()
        source = {"type": "url", "url": PRIVATE_URLS[0]}
        body = _image(stage.ask(play, MESSAGES), source, "source")
        answer = await stage.post(body, MESSAGES)
        _refused(stage, f"source {PRIVATE_URLS[0]} on {MESSAGES}", answer, len(play.exchanges))
    play = stage.play()
    answer = await stage.post(_image(stage.ask(play), {"url": PIXEL}))
    stage.equal("image_url with a data URL: status", 200, answer.status)


def _image(body: dict[str, Any], value: dict[str, str], kind: str = "image_url") -> dict[str, Any]:
    """The request with a part of media beside its text."""
    words = {"type": "text", "text": body["messages"][0]["content"]}
    part = {"type": "image" if kind == "source" else kind, kind: value}
    return body | {"messages": [{"role": "user", "content": [words, part]}]}


def _refused(stage: Stage, told: str, answer: Answer, reached: int) -> None:
    passed = 400 <= answer.status < 500 and not reached
    seen = f"{answer.status}, asked engines {reached} times"
    stage.check(told, "4xx, and no engine hears of it", seen, passed=passed)
