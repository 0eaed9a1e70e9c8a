"""Runs cases one after the other against a gateway. What they look at is their own business."""

import asyncio
import time
from collections.abc import Iterable
from typing import Protocol

from headrace.conformance import shapes
from headrace.conformance.stage import Play, Stage
from headrace.conformance.verdict import Case, NotApplicable, Result, judge
from headrace.errors import StartError

CASE_S = 45.0  # longest time for one case; the slowest take about ten
POLL_S = 0.1
MEETINGS = 24  # requests in which every replica should have been met

# What a gateway's wrong answers make of a case: a failed check, not the end of the run.
WRONG = (ConnectionError, TimeoutError, EOFError, ValueError, LookupError)


class Audience(Protocol):
    """Who wants to know how it goes."""

    def begins(self, case: Case) -> None: ...
    def ended(self, result: Result) -> None: ...


async def meet(stage: Stage, wait_s: float) -> None:
    """
    Wait until the gateway passes requests on to the scripted replicas; learn if it uses them all.

    Raises:
        StartError: it does not answer, or not from our replicas, within ``wait_s`` seconds.

    """
    seen = await _first_answer(stage, wait_s)
    if seen is not None:
        ports = ", ".join(str(engine.port) for engine in stage.engines)
        raise StartError(
            f"The gateway at {stage.url} does not pass chat requests for the model {stage.model} on"
            f" to the engine on port {ports} within {wait_s:g} s ({seen}); `headrace conformance"
            " wiring NAME` prints a configuration that does."
        )
    plays: list[Play] = []
    while len(plays) < MEETINGS and not stage.spread:
        plays.append(stage.play())
        await stage.post(stage.ask(plays[-1]))
        met = {number for play in plays for number in play.replicas}
        stage.spread = len(met) == len(stage.engines) > 1


async def _first_answer(stage: Stage, wait_s: float) -> str | None:
    """None once a request came through; else what was seen last."""
    deadline = time.monotonic() + wait_s
    while True:
        play = stage.play()
        try:
            answer = await stage.post(stage.ask(play))
            if answer.status == 200 and play.exchanges:
                return None
            last = shapes.tell(answer)
        except WRONG as error:
            last = f"{type(error).__name__}: {error}"
        if time.monotonic() > deadline:
            return last[:200]
        await asyncio.sleep(POLL_S)


async def run(stage: Stage, cases: Iterable[Case], audience: Audience) -> list[Result]:
    """Play each case; after one that hurts replicas, wait until they are in use again."""
    results = []
    for case in cases:
        audience.begins(case)
        results.append(await _play(stage, case))
        audience.ended(results[-1])
        if not case.last:
            await stage.recovered(everywhere=case.hurts and stage.spread)
    return results


async def _play(stage: Stage, case: Case) -> Result:
    stage.checks = []
    started = time.monotonic()
    missing = None
    try:
        async with asyncio.timeout(CASE_S):
            await case.run(stage)
    except NotApplicable as reason:
        missing = str(reason)
    except WRONG as error:
        last = stage.checks[-1].sent if stage.checks else "the case's first request"
        seen = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        stage.check(f"after: {last}", "an answer that can be read", seen, passed=False)
    finally:
        stage.hang_up()
    return judge(case, stage.checks, missing, time.monotonic() - started)
