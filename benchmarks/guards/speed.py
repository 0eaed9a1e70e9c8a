"""What guards cost, in CPU time: for a kilobyte of text, for a request, for a streamed chunk."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from headrace.config.guards import GuardPolicy, Guards, Injection, Pii
from headrace.gateway.guards.guarding import Guarding
from headrace.gateway.rules.embedding import Builtin
from headrace.gateway.send.stream import Frames
from headrace.guard.detectors import build
from headrace.guard.quoting import Quotes
from headrace.guard.screen import Tally
from headrace.guard.stream import Stream
from headrace.guard.types import Detector
from headrace.telemetry.guards import GuardMetrics
from headrace.telemetry.metrics import Metrics
from headrace.telemetry.writer import Writer

PROSE = (
    "The committee met again on a grey morning, and nobody was in a hurry to begin. Somebody had"
    " left the window open, so the papers on the long table had to be held down with cups. "
)
MIXED = (
    "Write to anna.lee@example.org or call +49 30 901820 about order 4711 of 2026-11-22; the card"
    " 4111 1111 1111 1111 was charged 99.50 EUR from 203.0.113.7, password: hunter2-X9, thanks. "
)
KB = 1000
POLICIES = {
    "pii (patterns)": GuardPolicy(name="a", kind="pii"),
    "secrets": GuardPolicy(name="b", kind="secrets"),
    "terms (100)": GuardPolicy(
        name="c", kind="terms",
        terms={"words": [f"term{each}" for each in range(100)]},  # type: ignore[arg-type]
    ),
    "injection (rules)": GuardPolicy(
        name="d", kind="injection", injection=Injection(vectors=False)
    ),
    "injection (rules, vectors)": GuardPolicy(name="e", kind="injection"),
    "pii (presidio)": GuardPolicy(name="f", kind="pii", pii=Pii(engine="presidio")),
}  # fmt: skip


def texts() -> dict[str, dict[str, float]]:
    """Microseconds for a kilobyte, by guard and kind of text."""
    embeds = Builtin()
    found: dict[str, dict[str, float]] = {}
    for name, policy in POLICIES.items():
        detector = build(policy, embeds)
        found[name] = {
            "prose": _per_kb(detector, PROSE), "mixed": _per_kb(detector, MIXED)
        }  # fmt: skip
    return found


def _per_kb(detector: Detector, text: str) -> float:
    text = (text * 20)[:2000]
    detector.find(text)
    return round(_least(lambda: detector.find(text), 0.3) / 2, 1)


def _least(function: Callable[[], object], for_s: float) -> float:
    """The least CPU time of a call, in microseconds: what it costs when nothing is in its way."""
    best, until = float("inf"), time.perf_counter() + for_s
    while time.perf_counter() < until:
        began = time.thread_time_ns()
        function()
        best = min(best, time.thread_time_ns() - began)
    return best / 1000


def chunks() -> dict[str, float]:
    """Microseconds for a chunk of a stream, of some four letters: not guarded, and guarded."""
    frames = [_chunk(word) for word in _tokens(PROSE * 6)]
    digits = [_chunk(word) for word in _tokens(MIXED * 6)]
    policies = [POLICIES["pii (patterns)"], POLICIES["secrets"]]
    return {
        "not guarded, parsed": round(_least(lambda: _parsed(frames), 1) / len(frames), 2),
        "pii and secrets, prose": _guarded(frames, policies),
        "pii and secrets, mixed": _guarded(digits, policies),
    }


def _tokens(text: str) -> list[str]:
    return [text[at : at + 4] for at in range(0, len(text), 4)]


def _chunk(word: str) -> bytes:
    choice = {"index": 0, "delta": {"content": word}, "logprobs": None, "finish_reason": None}
    body = {
        "id": "chatcmpl-8e2d5645429282a6", "object": "chat.completion.chunk",
        "created": 1795250589, "model": "llama-3.1-8b", "choices": [choice],
    }  # fmt: skip
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def _parsed(frames: list[bytes]) -> None:
    relay = Frames(strip_usage=False, renamer=None)
    for frame in frames:
        relay.feed(frame)


def _guarded(frames: list[bytes], policies: list[GuardPolicy]) -> float:
    guarding = _guarding(policies)
    looks, guards = guarding.looks, guarding.guards

    async def judge(text: str, start: int, quotes: Quotes | None, plain: bool) -> str:
        return await looks.judged(guards, (text, start, quotes, plain), Tally())

    async def stream() -> None:
        relay, guarded = Frames(strip_usage=False, renamer=None), Stream(judge, by_sentence=False)
        for frame in frames:
            await guarded.feed(relay.feed(frame))

    with asyncio.Runner() as runner:
        least = _least(lambda: runner.run(stream()), 1.5)
    return round(least / len(frames), 2)


def _guarding(policies: list[GuardPolicy]) -> Guarding:
    metrics = Metrics([], [])
    log = Writer(metrics, requests=False, console=False, file=None)
    names = tuple(policy.name for policy in policies)
    config = Guards(policies=tuple(policies), default=names)
    return Guarding(config, (), GuardMetrics(metrics.registry), log)


async def stalls() -> dict[str, float]:
    """
    The longest that the event loop was held, in milliseconds, while texts of 200 kB are looked at:
    on the loop, as a thread would do it, and in a worker process.
    """
    guarding = _guarding([POLICIES["pii (patterns)"]])
    await guarding.start()
    text = [(MIXED * 1200)[:200_000]]
    detector, workers = guarding.guards[0].detector, guarding.looks.workers
    assert detector is not None
    assert workers is not None
    loop = asyncio.get_running_loop()
    found = detector.find
    try:
        return {
            "on the loop": await _held(lambda: asyncio.sleep(0, found(text[0]))),
            "in a thread": await _held(lambda: loop.run_in_executor(None, found, text[0])),
            "in a worker": await _held(lambda: workers.find("a", text)),
        }
    finally:
        guarding.stop()


async def _held(look: Callable[[], Awaitable[Any]]) -> float:
    """How late a tick of one millisecond came, at worst, in ms: the median of ten looks."""
    worst, done = [], False

    async def tick() -> None:
        while not done:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            worst.append(time.perf_counter() - began - 0.001)

    ticker = asyncio.create_task(tick())
    latest: list[float] = []
    for _ in range(10):
        await asyncio.sleep(0.005)
        worst.clear()
        await look()
        await asyncio.sleep(0.002)
        latest.append(max(worst, default=0.0))
    done = True
    await ticker
    return round(sorted(latest)[len(latest) // 2] * 1000, 2)
