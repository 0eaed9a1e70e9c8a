"""Cases 1 to 4: errors before and after the first byte, and clients that leave."""

import asyncio

from headrace.conformance import answers, shapes
from headrace.conformance.fake import Exchange, Script, chunk
from headrace.conformance.stage import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    MESSAGES,
    Play,
    Stage,
    closed,
)
from headrace.conformance.wire import request

SERVER_ERRORS = {500, 502, 503, 504}
SETTLE_S = 0.1  # between what was sent and a break, so that they do not arrive as one
HALF = b'data: {"id":"chatcmpl-1","choices":[{"delta":{"content":"half a fra'


async def error_after_200(stage: Stage) -> None:
    """Break a stream after two frames and a half, by reset and by an orderly close."""
    for how in ("reset", "close"):
        frames = answers.chat_frames(stage.model)[:2]
        play = stage.play(_breaks(how, *frames))
        answer = await stage.post(stage.streamed(play))
        told = f"stream; the engine sends 2 frames and a half, then breaks it ({how})"
        if answer.status >= 500:  # it had passed nothing on yet: then a status is right, too
            shapes.openai_error(stage, told, answer, SERVER_ERRORS)
            continue
        stage.equal(f"{told}: status", 200, answer.status)
        shapes.ends_with_error(stage, told, answer)
        cut = any(b"half a fra" in event.raw for event in shapes.said(answer))
        stage.check(f"{told}: the half frame", "dropped", "relayed" if cut else "dropped",
                    passed=not cut)  # fmt: skip
        stage.equal(f"{told}: engines asked", 1, len(play.exchanges))


def _breaks(how: str, *frames: bytes) -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.start_stream()
        await exchange.events(*frames)
        await exchange.write(chunk(HALF))
        await asyncio.sleep(SETTLE_S)
        exchange.reset() if how == "reset" else exchange.close()

    return script


async def error_before_first_byte(stage: Stage) -> None:
    """Refuse a stream, and die before its first byte, with and without a head."""
    play = stage.play(answers.says(400, answers.ERR_CONTEXT))
    answer = await stage.post(stage.streamed(play))
    shapes.openai_error(stage, "stream that the engine refuses with 400", answer, {400})
    answer = await stage.post(stage.streamed(stage.play(answers.resets)))
    shapes.openai_error(stage, "stream; engines reset before any byte", answer, SERVER_ERRORS)
    play = stage.play(answers.streams_then(then=_reset_later))
    answer = await stage.post(stage.streamed(play))
    told = "stream; engines send their head, then reset before the first frame"
    shapes.openai_error(stage, told, answer, SERVER_ERRORS)


async def _reset_later(exchange: Exchange) -> None:
    await asyncio.sleep(SETTLE_S)
    exchange.reset()


async def leaves_while_waiting(stage: Stage) -> None:
    """Leave while the engine is silent: before its head, and between head and first frame."""
    silent, headed = answers.hangs, answers.streams_then(then=answers.hangs)
    await asyncio.gather(
        _leave(stage, "stream, engine silent", stage.play(silent), stream=True),
        _leave(stage, "stream, engine sent its head only", stage.play(headed), stream=True),
        _leave(stage, "stream, client resets", stage.play(silent), stream=True, rude=True),
    )


async def _leave(
    stage: Stage, told: str, play: Play, *, stream: bool, path: str = CHAT, rude: bool = False
) -> None:
    """Ask, leave as soon as the engine works on it, and demand that the engine hears of it."""
    body = stage.streamed(play, path) if stream else stage.ask(play, path)
    client = await stage.client()
    await client.send(request("POST", path, body, stage.headers()))
    exchange = await play.exchange()
    await asyncio.sleep(SETTLE_S)
    client.reset() if rude else client.close()
    _abort(stage, told, heard=await closed(exchange))


def _abort(stage: Stage, told: str, *, heard: bool) -> None:
    expected = "the engine's connection is closed within 2 s of the client's leaving"
    stage.check(told, expected, "closed" if heard else "still open", passed=heard)


async def leaves_in_every_phase(stage: Stage) -> None:
    """Leave in the middle of a stream and of a whole answer, on every endpoint there is."""
    offered = [path for path in (COMPLETIONS, EMBEDDINGS, MESSAGES) if await stage.supports(path)]
    whole = [
        _leave(stage, f"{path}, not streamed", stage.play(answers.hangs), stream=False, path=path)
        for path in (CHAT, *offered)
    ]
    streams = [_leave_stream(stage, path) for path in (CHAT, *offered) if path != EMBEDDINGS]
    await asyncio.gather(*whole, *streams, _leave_sending(stage))


async def _leave_stream(stage: Stage, path: str) -> None:
    first = answers.stream_for(path.removeprefix("/v1/"), stage.model)[:2]
    play = stage.play(answers.streams_then(*first, then=answers.hangs))
    client, answer = await stage.open(stage.streamed(play, path), path)
    await answer.event()
    client.close()
    heard = await closed(await play.exchange())
    _abort(stage, f"{path}, in the middle of a stream", heard=heard)


async def _leave_sending(stage: Stage) -> None:
    play = stage.play()
    whole = request("POST", CHAT, stage.ask(play, user="u" * 4000), stage.headers())
    client = await stage.client()
    await client.send(whole[:-1000])
    await asyncio.sleep(SETTLE_S)
    client.close()
    await asyncio.sleep(SETTLE_S)
    answered = sum(exchange.finished for exchange in play.exchanges)
    stage.equal("client leaves in the middle of its own request: answers made", 0, answered)
