"""Sends a workload to an engine at its moments, and notes when each token comes."""

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import astuple, dataclass

from headrace.engines.calibrate.fit import median, quantile
from headrace.engines.calibrate.target import Answer, Target
from headrace.engines.sim import text

from .workload import Ask

DIGITS = 2  # of a millisecond
PACE_TOKENS, PACE_TIMES = 128, 5  # of the prompts that tell how fast the engine is just now


@dataclass(frozen=True, slots=True)
class Heard:
    """One request's answer: times in ms."""

    prompt_tokens: int
    cached_tokens: int
    ttft_ms: float
    gaps_ms: list[float]


@dataclass(frozen=True, slots=True)
class Replay:
    """All answers of one replay, in the order of the requests; the most that ran at once."""

    heard: list[Heard]
    most_at_once: int

    def ttft_ms(self) -> list[float]:
        return [one.ttft_ms for one in self.heard]

    def gaps_ms(self) -> list[float]:
        return [gap for one in self.heard for gap in one.gaps_ms]


@dataclass(frozen=True, slots=True)
class Summary:
    """Percentiles in ms."""

    ttft_p50: float
    ttft_p95: float
    gap_p50: float
    gap_p95: float


async def replay(target: Target, asks: Sequence[Ask], salt: str) -> Replay:
    """Send each request when it is time, whatever has become of those before it."""
    prompts = [ask.text(number, salt) for number, ask in enumerate(asks)]
    loop = asyncio.get_running_loop()
    start = loop.time()
    running = most = 0

    async def one(ask: Ask, prompt: str) -> Answer:
        nonlocal running, most
        await asyncio.sleep(start + ask.at_s - loop.time())
        running += 1
        most = max(most, running)
        try:
            return await target.complete(prompt, ask.answer)
        finally:
            running -= 1

    answers = await asyncio.gather(*map(one, asks, prompts))
    return Replay([_heard(answer) for answer in answers], most)


def _heard(answer: Answer) -> Heard:
    moments = [moment for moment, _ in answer.arrivals]
    gaps = [
        round((later - earlier) * 1000, DIGITS) for earlier, later in itertools.pairwise(moments)
    ]
    ttft = round(answer.ttft_ms, DIGITS)
    return Heard(answer.prompt_tokens, answer.cached_tokens, ttft, gaps)


def summary(replay: Replay) -> Summary:
    """Over the requests of one replay."""
    ttft, gaps = replay.ttft_ms(), replay.gaps_ms()
    return Summary(
        quantile(ttft, 0.5), quantile(ttft, 0.95), quantile(gaps, 0.5), quantile(gaps, 0.95)
    )


def middle(summaries: Sequence[Summary]) -> Summary:
    """The median of each percentile over replays: one that was disturbed does not count."""
    rows = zip(*(astuple(one) for one in summaries), strict=True)
    return Summary(*(median(row) for row in rows))


async def pace_ms(target: Target, salt: str) -> float:
    """How long the engine takes for a short prompt alone, now; the median of some."""
    prompts = ["".join(text.answer(f"{salt}/{n}", PACE_TOKENS)) for n in range(PACE_TIMES)]
    return median([(await target.complete(prompt, 1)).ttft_ms for prompt in prompts])
