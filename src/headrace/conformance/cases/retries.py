"""Cases 5 to 8: accounting, retries, breakers and clocks."""

import asyncio
import time

from headrace.conformance import answers, shapes
from headrace.conformance.fake import Exchange, Script
from headrace.conformance.stage import Play, Stage, closed, held, until
from headrace.conformance.verdict import NotApplicable
from headrace.conformance.wire import request

ABORTS = 16
TRIES = 64  # requests until so many of them reached the first replica
HELD = 16
CLOCK_S = 8.0  # the wiring sets every gateway's clocks to 3 s at most
LONG_S = 4.0  # a whole answer that takes longer than those clocks between chunks
SHORT_OF_GATEWAY = {500, 502, 503, 504}


async def accounting(stage: Stage) -> None:
    """Abort requests on one replica; if their leases leak, it gets no more work than before."""
    aborted, unheard = 0, 0
    for _ in range(TRIES):
        if aborted == ABORTS or unheard > 2:
            break
        play = stage.play()
        play.script = _hangs_on_first(play)
        client = await stage.client()
        await client.send(request("POST", "/v1/chat/completions", stage.ask(play), stage.headers()))
        exchange = await play.exchange()
        if play.replica(exchange) == 0:
            client.close()
            aborted += 1
            unheard += not await closed(exchange)
        else:
            await (await client.answer()).finish()
            client.close()
    stage.equal(f"{aborted} aborted requests: connections to the engine left open", 0, unheard)
    shares = await _hold_many(stage)
    if not stage.spread:
        raise NotApplicable("requests reach one replica only, so leaks cannot be seen")
    expected = f"both replicas get a share of {HELD} requests at the same time (at least 2)"
    told = f"{aborted} requests aborted on one replica, then {HELD} streams at once"
    stage.check(told, expected, f"shares {shares}", passed=min(shares) >= 2)


def _hangs_on_first(play: Play) -> Script:
    async def script(exchange: Exchange) -> None:
        hangs = play.replica(exchange) == 0
        await (answers.hangs if hangs else answers.like_vllm)(exchange)

    return script


async def _hold_many(stage: Stage) -> list[int]:
    """Hold streams open at the same time; gives how many each replica had."""
    go, frames = asyncio.Event(), answers.chat_frames(stage.model, usage=True)
    plays = [stage.play(lambda exchange: held(exchange, go, frames)) for _ in range(HELD)]
    running = [asyncio.ensure_future(stage.post(stage.streamed(play))) for play in plays]
    try:
        await until(lambda: all(play.exchanges for play in plays))
    finally:
        go.set()
        seen = await asyncio.gather(*running)
    whole = sum(shapes.text(answer) == "".join(answers.WORDS) for answer in seen)
    stage.equal(f"{HELD} streams at once: whole answers", HELD, whole)
    where = [play.replicas[0] for play in plays]
    return [where.count(number) for number in range(len(stage.engines))]


async def retries(stage: Stage) -> None:
    """One replica fails, in several ways; and what must never be tried again."""
    await _not_retried(stage)
    if not stage.spread:
        raise NotApplicable("requests reach one replica only")
    failures = {
        "503": answers.says(503, answers.error(503)),
        "429": answers.says(429, answers.error(429), ("retry-after", "1")),
        "reset": answers.resets,
    }
    tried = [await _retry(stage, name, script) for name, script in failures.items()]
    if not any(tried):
        raise NotApplicable("the gateway does not retry on another replica")


async def _not_retried(stage: Stage) -> None:
    play = stage.play(answers.says(400, answers.ERR_TEMPERATURE))
    await stage.post(stage.ask(play))
    stage.equal("the engine answers 400: attempts", 1, len(play.exchanges))
    first = answers.chat_frames(stage.model)[:2]
    play = stage.play(answers.streams_then(*first, then=_reset_later))
    await stage.post(stage.streamed(play))
    stage.equal("a stream breaks after its first frame: attempts", 1, len(play.exchanges))


async def _reset_later(exchange: Exchange) -> None:
    await asyncio.sleep(0.1)
    exchange.reset()


async def _retry(stage: Stage, name: str, failure: Script) -> bool:
    """Whether another replica was asked; if so, the client must see nothing of the failure."""
    play = stage.play()

    async def first_replica_fails(exchange: Exchange) -> None:
        bad = play.replicas[0] == play.replica(exchange)
        await (failure if bad else answers.like_vllm)(exchange)

    play.script = first_replica_fails
    answer = await stage.post(stage.ask(play))
    if len(set(play.replicas)) < 2:
        return False
    told = f"one replica fails ({name})"
    stage.equal(f"{told}: the client's status", 200, answer.status)
    bodies = {bytes(exchange.body) for exchange in play.exchanges}
    stage.equal(f"{told}: different bodies sent", 1, len(bodies))
    asked = play.replicas.count(play.replicas[0])
    most = 2 if name == "reset" else 1  # a reused connection may be replaced once: case 18
    told = f"{told}: attempts on the replica that failed"
    stage.check(told, f"at most {most}", asked, passed=asked <= most)
    return True


async def breakers(stage: Stage) -> None:
    """Client errors and leaving clients must not take a replica out; a dead fleet is no 404."""
    refused = stage.play(answers.says(400, answers.ERR_CONTEXT))
    seen = [(await stage.post(stage.ask(refused))).status for _ in range(20)]
    stage.equal("20 requests that the engine refuses with 400: statuses", {400}, set(seen))
    for _ in range(20):
        play = stage.play(answers.hangs)
        client = await stage.client()
        await client.send(request("POST", "/v1/chat/completions", stage.ask(play), stage.headers()))
        await play.exchange()
        client.close()
    plays = [stage.play() for _ in range(12)]
    after = [(await stage.post(stage.ask(play))).status for play in plays]
    stage.equal("12 requests after 20 refusals and 20 leavers: statuses", {200}, set(after))
    if stage.spread:
        used = {number for play in plays for number in play.replicas}
        stage.equal("replicas used by those 12 requests", len(stage.engines), len(used))
    dead = [await stage.post(stage.ask(stage.play(answers.resets))) for _ in range(12)]
    statuses = sorted({answer.status for answer in dead})
    passed = set(statuses) <= SHORT_OF_GATEWAY
    expected = "500, 502, 503 or 504; never 404 or 200"
    stage.check("12 requests while all replicas fail", expected, statuses, passed=passed)
    bare = sum(a.status == 503 and a.header("retry-after") is None for a in dead)
    stage.equal("503 of those without Retry-After", 0, bare)


async def clocks(stage: Stage) -> None:
    """A silent engine, a stream that stalls, and a long whole answer, at the same time."""
    await asyncio.gather(_silent(stage), _stalls(stage), _long(stage))


async def _silent(stage: Stage) -> None:
    started = time.monotonic()
    client = await stage.client(CLOCK_S)
    told = "stream; the engine never says a word"
    body = stage.streamed(stage.play(answers.hangs))
    try:
        answer = await client.ask("POST", "/v1/chat/completions", body, stage.headers())
    except TimeoutError:
        stage.check(told, f"an error within {CLOCK_S:g} s", "nothing", passed=False)
        return
    took = time.monotonic() - started
    if shapes.openai_error(stage, told, answer, {408, 500, 502, 503, 504}):
        stage.check(told, f"an error within {CLOCK_S:g} s", f"{took:.1f} s", passed=True)


async def _stalls(stage: Stage) -> None:
    told = "stream; the engine stalls after two frames"
    first = answers.chat_frames(stage.model)[:2]
    play = stage.play(answers.streams_then(*first, then=answers.hangs))
    client, answer = await stage.open(stage.streamed(play))
    try:
        await answer.finish(CLOCK_S)
    except TimeoutError:
        client.close()
        stage.check(told, f"the stream ends within {CLOCK_S:g} s", "still open", passed=False)
        return
    shapes.ends_with_error(stage, told, answer)


async def _long(stage: Stage) -> None:
    async def slow(exchange: Exchange) -> None:
        await asyncio.sleep(LONG_S)
        await answers.like_vllm(exchange)

    play = stage.play(slow)
    answer = await stage.post(stage.ask(play))
    told = f"not streamed; the engine thinks for {LONG_S:g} s"
    stage.equal(f"{told}: status", 200, answer.status)
    stage.equal(f"{told}: attempts", 1, len(play.exchanges))
