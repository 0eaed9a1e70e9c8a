"""Case 20: what a gateway does with running requests when it is told to stop."""

import asyncio

from headrace.conformance import answers, shapes
from headrace.conformance.fake import Exchange
from headrace.conformance.stage import Stage, held
from headrace.conformance.verdict import NotApplicable
from headrace.conformance.wire import Answer

GRACE_S = 1.0  # from the signal until the engine goes on
DRAIN_S = 12.0  # the wiring gives running requests 4 s


async def drain(stage: Stage) -> None:
    """SIGTERM with two streams: one goes on, one hangs."""
    if stage.gateway is None:
        raise NotApplicable("the kit did not start this gateway, so it does not stop it")
    go, frames = asyncio.Event(), answers.chat_frames(stage.model, usage=True)
    good = stage.play(lambda exchange: held(exchange, go, frames))
    stuck = stage.play(answers.streams_then(*frames[:2], then=_hangs))
    _, first = await stage.open(stage.streamed(good))
    await first.event()
    _, second = await stage.open(stage.streamed(stuck))
    await second.event()
    stage.gateway.terminate()
    await asyncio.sleep(GRACE_S)
    await _readiness(stage)
    go.set()
    await first.finish()
    whole = "".join(answers.WORDS) if first.ended else "cut off"
    told = "SIGTERM during a stream that goes on"
    stage.equal(f"{told}: its text", "".join(answers.WORDS), shapes.text(first))
    stage.equal(f"{told}: its end", "".join(answers.WORDS), whole)
    await _deadline(stage, second)
    ended = await stage.gateway.ended(DRAIN_S)
    stage.check("SIGTERM: the process", f"ends within {DRAIN_S:g} s",
                "ended" if ended else "still runs", passed=ended)  # fmt: skip


async def _hangs(exchange: Exchange) -> None:
    await answers.hangs(exchange)


async def _readiness(stage: Stage) -> None:
    """A load balancer's probe after the signal: refused or not 200."""
    try:
        seen = str((await stage.send("GET", stage.ready_path)).status)
    except ConnectionError:
        seen = "refused"
    told = f"SIGTERM: {stage.ready_path} after {GRACE_S:g} s"
    stage.check(told, "refused, or not 200", seen, passed=seen != "200")


async def _deadline(stage: Stage, answer: Answer) -> None:
    told = "SIGTERM during a stream that hangs"
    try:
        await answer.finish(DRAIN_S)
    except TimeoutError:
        stage.check(told, f"ends within {DRAIN_S:g} s", "still open", passed=False)
        return
    shapes.ends_with_error(stage, told, answer)
