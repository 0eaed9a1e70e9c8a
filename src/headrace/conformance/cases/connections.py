"""Cases 18 and 19: connections that die idle, and requests that come before their turn."""

import asyncio

from headrace.conformance import answers, shapes
from headrace.conformance.fake import Exchange, Script
from headrace.conformance.stage import CHAT, Stage, closed, held
from headrace.conformance.wire import ConnectionGone, request

SETTLE_S = 0.1


async def keep_alive(stage: Stage) -> None:
    """Engines close connections at the worst moment; a client comes back after a pause."""
    patient = asyncio.ensure_future(_front(stage))
    await _dies_when_reused(stage)
    await _closes_idle(stage)
    await patient


async def _dies_when_reused(stage: Stage) -> None:
    """The first request that comes on a used connection is cut off, before any byte."""
    for _ in range(4):
        await stage.post(stage.ask(stage.play()))
    seen = []
    for _ in range(4):
        play = stage.play()
        play.script = _cut_once()
        seen.append((await stage.post(stage.ask(play))).status)
    told = "4 requests whose reused connection dies before any byte: statuses"
    stage.equal(told, [200] * 4, seen)


def _cut_once() -> Script:
    cut: list[Exchange] = []

    async def script(exchange: Exchange) -> None:
        if not cut and exchange.link.exchanges[0] is not exchange:
            cut.append(exchange)
            exchange.close()
        else:
            await answers.like_vllm(exchange)

    return script


async def _closes_idle(stage: Stage) -> None:
    async def once(exchange: Exchange) -> None:
        await answers.like_vllm(exchange)
        asyncio.get_running_loop().call_later(SETTLE_S / 2, exchange.close)

    seen = []
    for _ in range(6):
        seen.append((await stage.post(stage.ask(stage.play(once)))).status)
        await asyncio.sleep(SETTLE_S)
    stage.equal("6 requests; the engine closes each connection once idle", [200] * 6, seen)


async def _front(stage: Stage) -> None:
    """Two requests on one connection of a client that pauses between them."""
    client = await stage.client()
    first = await client.post(CHAT, stage.ask(stage.play()), stage.headers())
    await asyncio.sleep(stage.idle_s)
    try:
        second = await client.post(CHAT, stage.ask(stage.play()), stage.headers())
        seen = [first.status, second.status]
    except (ConnectionGone, ConnectionError):
        seen = [first.status]
    told = f"two requests on one client connection, {stage.idle_s:g} s apart: statuses"
    stage.equal(told, [200, 200], seen)


async def pipelining(stage: Stage) -> None:
    """Two requests in one segment; and a client that leaves with one waiting."""
    first, second = stage.play(), stage.play()
    wire = [request("POST", CHAT, stage.ask(play), stage.headers()) for play in (first, second)]
    client = await stage.client()
    await client.send(b"".join(wire))
    answer = await (await client.answer()).finish()
    stage.equal("two requests in one segment: first status", 200, answer.status)
    try:
        again = str((await (await client.answer()).finish()).status)
    except (ConnectionGone, ConnectionError):
        again = "closed"
    told = "two requests in one segment: the second"
    stage.check(told, "200, or the connection is closed", again, passed=again in {"200", "closed"})
    piped = sum(engine.pipelined for engine in stage.engines)
    stage.equal("requests sent to an engine before its last answer was over", 0, piped)
    await _leaver(stage)


async def _leaver(stage: Stage) -> None:
    """A pipelining client leaves: its request ends, its neighbour's does not."""
    go, frames = asyncio.Event(), answers.chat_frames(stage.model, usage=True)
    mine, hers = (stage.play(lambda exchange: held(exchange, go, frames)) for _ in range(2))
    _, answer = await stage.open(stage.streamed(hers))
    leaver = await stage.client()
    one = request("POST", CHAT, stage.streamed(mine), stage.headers())
    await leaver.send(one + request("GET", "/v1/models", None, stage.headers()))
    exchange = await mine.exchange()
    await asyncio.sleep(SETTLE_S)
    leaver.close()
    heard = await closed(exchange)
    go.set()
    await answer.finish()
    told = "a client with a pipelined request leaves"
    stage.check(f"{told}: its engine connection", "closed within 2 s",
                "closed" if heard else "still open", passed=heard)  # fmt: skip
    stage.equal(f"{told}: its neighbour's text", "".join(answers.WORDS), shapes.text(answer))
