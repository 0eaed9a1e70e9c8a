"""Judging off the loop: memory, deadline, queue, endpoints that fail, and a loop that runs on."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import numpy as np
import pytest
from aiohttp import web
from prometheus_client import generate_latest

from headrace.config.classes import Classes
from headrace.errors import StartError
from headrace.gateway.rules import classifier
from headrace.gateway.rules.classifier import Judging
from headrace.routing.head import Rows
from headrace.telemetry.classes import ClassMetrics
from headrace.telemetry.metrics import Metrics
from headrace.telemetry.writer import Writer

EXAMPLES = {
    "fast": ("a song", "one card", "the song", "card and song"),
    "reasoning": ("a sum", "one proof", "the sum", "proof and sum"),
}
WORDS = ("sum", "proof", "song", "card")


def counts(texts: Sequence[str]) -> Rows:
    """Counts of four words in each text, of length 1."""
    rows = np.array([[text.split().count(word) for word in WORDS] for text in texts], np.float32)
    unit: Rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return unit.astype(np.float32)


class Vectors:
    """Local vectors that can be held up, and remember what they were asked for (``Local``)."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.open = threading.Event()
        self.open.set()

    def embed(self, texts: Sequence[str]) -> Rows:
        self.asked += texts
        assert self.open.wait(10)
        if "broken" in texts:
            raise ValueError("the secret words of a client")
        return counts(texts)


class Rig:
    """A classifier with vectors, metrics and a log that a test can read."""

    def __init__(self, **settings: object) -> None:
        given = {"examples": EXAMPLES, "deadline_ms": 10_000, "threshold": 0.0, **settings}
        self.vectors = Vectors()
        self.metrics = Metrics([], [])
        self.log = Writer(self.metrics, requests=False, console=False, file=None)
        self.judging = Judging(
            Classes.model_validate(given),
            ClassMetrics(self.metrics.registry),
            self.log,
            lambda: self.vectors,
        )

    def events(self) -> list[dict[str, object]]:
        return [item for item in self.log._queue if isinstance(item, dict)]

    def metric(self, line: str) -> float:
        text = generate_latest(self.metrics.registry).decode()
        found = [row for row in text.splitlines() if row.startswith(f"{line} ")]
        return float(found[0].split()[-1]) if found else 0.0

    def count(self, name: str, why: str) -> float:
        return self.metric(f'headrace_classifications_total{{class="{name}",why="{why}"}}')


@asynccontextmanager
async def started(**settings: object) -> AsyncIterator[Rig]:
    rig = Rig(**settings)
    await rig.judging.start()
    rig.vectors.asked.clear()
    try:
        yield rig
    finally:
        rig.vectors.open.set()
        await rig.judging.close()


async def test_classes_of_bodies() -> None:
    """The last user message of a body decides, and each judgement is counted."""
    async with started() as rig:
        fast = await rig.judging.of(b'{"messages":[{"role":"user","content":"a card"}]}')
        hard = await rig.judging.of(b'{"messages":[{"role":"user","content":"a proof"}]}')

        assert [("fast", "meaning"), ("reasoning", "meaning")] == [
            (found.name, found.why) for found in (fast, hard)
        ]
        assert 1 == rig.count("fast", "meaning")
        assert 2 == rig.metric("headrace_classification_seconds_count")


async def test_started_says_so() -> None:
    """Once it has learned, the log says from how many examples of which classes."""
    async with started() as rig:
        event = rig.events()[0]

    assert ("classes_ready", ["fast", "reasoning"], 8) == (
        event["event"], event["classes"], event["examples"],
    )  # fmt: skip


async def test_same_text_is_judged_once() -> None:
    """A text that was judged is remembered: no vector is asked for again."""
    async with started() as rig:
        first = await rig.judging.judge("one card")
        again = await rig.judging.judge("one card")

        assert first == again
        assert ["one card"] == rig.vectors.asked
        assert 1 == rig.metric("headrace_classification_cache_hits_total")


async def test_same_text_at_once_is_judged_once() -> None:
    """Ten that ask for the same text at the same time share one judgement."""
    async with started() as rig:
        found = await asyncio.gather(*(rig.judging.judge("a sum") for _ in range(10)))

        assert {found[0]} == set(found)
        assert ["a sum"] == rig.vectors.asked


async def test_memory_is_bounded_and_keeps_what_is_used() -> None:
    """The text that was not used for longest is forgotten first."""
    async with started(cache_entries=2) as rig:
        for text in ("a card", "a song", "a card", "a sum", "a card", "a song"):
            await rig.judging.judge(text)

        assert ["a card", "a song", "a sum", "a song"] == rig.vectors.asked


async def test_without_memory() -> None:
    """A cache of 0 remembers nothing."""
    async with started(cache_entries=0) as rig:
        await rig.judging.judge("a card")
        await rig.judging.judge("a card")

        assert ["a card", "a card"] == rig.vectors.asked


async def test_late_is_the_default_and_counted() -> None:
    """At the deadline the default is given; what comes later is remembered for the next."""
    async with started(deadline_ms=20) as rig:
        rig.vectors.open.clear()
        began = time.monotonic()
        late = await rig.judging.judge("a card")
        waited = time.monotonic() - began
        rig.vectors.open.set()
        await until(lambda: rig.metric("headrace_classification_seconds_count") == 1)
        again = await rig.judging.judge("a card")

        assert ("reasoning", 0.0, "late") == (late.name, late.confidence, late.why)
        assert 0.015 <= waited  # timers count whole milliseconds
        assert 1 == rig.count("reasoning", "late")
        assert ("fast", "meaning") == (again.name, again.why)
        assert ["a card"] == rig.vectors.asked


async def test_queue_is_bounded() -> None:
    """More texts than the queue holds are not judged, and do not wait."""
    async with started(deadline_ms=50, queue=2) as rig:
        rig.vectors.open.clear()
        found = await asyncio.gather(*(rig.judging.judge(f"{n} card") for n in range(5)))

        assert ["late", "late", "busy", "busy", "busy"] == [each.why for each in found]
        assert 3 == rig.count("reasoning", "busy")


async def test_fault_is_the_default_without_a_clients_words() -> None:
    """A judgement that fails is the default; the log says it once, and nothing of the text."""
    async with started() as rig:
        first = await rig.judging.judge("broken")
        await rig.judging.judge("broken")
        failures = [each for each in rig.events() if each["event"] == "classification_failed"]

        assert ("reasoning", "failed") == (first.name, first.why)
        assert ["ValueError"] == [each["error"] for each in failures]
        assert 2 == rig.count("reasoning", "failed")


async def test_empty_text_is_the_default() -> None:
    """A request without text is not judged."""
    async with started(default="fast") as rig:
        assert "empty" == (await rig.judging.of(b'{"input":[1,2]}')).why
        assert [] == rig.vectors.asked


async def test_before_it_has_learned() -> None:
    """Until the examples are learned requests have the default class."""
    rig = Rig()

    assert "starting" == (await rig.judging.judge("a card")).why
    with pytest.raises(StartError, match="no vectors yet"):
        await rig.judging.explain("a card", 1)
    await rig.judging.close()


async def test_close_ends_who_waits() -> None:
    """A stop does not wait for vectors: who waits for them has the default."""
    async with started() as rig:
        rig.vectors.open.clear()
        waiting = asyncio.create_task(rig.judging.judge("a card"))
        await asyncio.sleep(0.01)
        await rig.judging.close()

        assert "failed" == (await waiting).why


async def test_explain() -> None:
    """A judgement with reasons has the shares, the nearest examples and what features say."""
    async with started() as rig:
        found = await rig.judging.explain("card and song", 2)

        assert "fast" == found.verdict.name
        assert found.shares["fast"] > found.shares["reasoning"]
        assert "card and song" == found.neighbours[0][0].text
        assert 1.0 == pytest.approx(found.neighbours[0][1])
        assert found.measured._fields == tuple(found.pulls)


async def test_long_texts_do_not_hold_up_the_loop() -> None:
    """While large prompts are judged with the real vectors, the loop is never away for 2 ms."""
    judging = Judging(
        Classes.model_validate({"enabled": True, "deadline_ms": 10_000, "examples": EXAMPLES}),
        ClassMetrics((metrics := Metrics([], [])).registry),
        Writer(metrics, requests=False, console=False, file=None),
    )
    await judging.start()
    bodies = [
        b'{"messages":[{"role":"user","content":"%d %s"}]}' % (n, b"prove this now. " * 25_000)
        for n in range(5)
    ]
    spent: list[float] = []
    for body in bodies:
        asked = judging.of(body)
        began = time.thread_time()
        step = asked.send(None)  # everything up to the first wait happens on the loop
        spent.append(time.thread_time() - began)
        assert asyncio.isfuture(step)
        await asyncio.wait({step})
        asked.close()
    await judging.close()

    assert sorted(spent)[len(spent) // 2] < 0.002


async def until(true: Callable[[], bool]) -> None:
    for _ in range(3000):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never happened")


# --- an endpoint instead of local vectors -----------------------------------------------------


class Endpoint:
    """An embeddings endpoint on this machine; ``answer`` may be replaced by a test."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, object]]] = []
        self.status = 200
        self.delay_s = 0.0
        self.url = ""

    async def embeddings(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.requests.append((request.headers.get("authorization", ""), body))
        await asyncio.sleep(self.delay_s)
        rows = counts(body["input"]).tolist()
        data = [{"index": n, "embedding": row} for n, row in enumerate(rows)]
        return web.json_response({"data": data[::-1]}, status=self.status)


@asynccontextmanager
async def endpoint() -> AsyncIterator[Endpoint]:
    served = Endpoint()
    app = web.Application()
    app.router.add_post("/v1/embeddings", served.embeddings)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/embeddings"
    try:
        yield served
    finally:
        await runner.cleanup()


def remote(url: str) -> dict[str, object]:
    return {"embedding": {"url": url, "model": "m", "api_key": "sk-1"}}


async def test_vectors_of_an_endpoint() -> None:
    """With a url, examples and texts are embedded there, with its model and key."""
    async with endpoint() as there, started(**remote(there.url)) as rig:
        await until(lambda: len(rig.events()) == 1)
        found = await rig.judging.judge("a card")

        assert ("fast", "meaning") == (found.name, found.why)
        assert [8, 1] == [len(str(body["input"]).split(",")) for _, body in there.requests]
        assert {("Bearer sk-1", "m")} == {(key, body["model"]) for key, body in there.requests}
        assert [] == rig.vectors.asked


async def test_slow_endpoint_is_late() -> None:
    """An endpoint that takes longer than the deadline costs a request no more than that."""
    async with endpoint() as there, started(**remote(there.url), deadline_ms=30) as rig:
        await until(lambda: len(rig.events()) == 1)
        there.delay_s = 0.3

        assert "late" == (await rig.judging.judge("a card")).why


async def test_endpoint_that_comes_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway starts without its endpoint, says so once, and learns when it is there."""
    monkeypatch.setattr(classifier, "RETRY_S", 0.02)
    async with endpoint() as there:
        there.status = 503
        async with started(**remote(there.url)) as rig:
            await until(lambda: len(there.requests) > 2)
            first = await rig.judging.judge("a card")
            there.status = 200
            await until(lambda: len(rig.events()) == 2)
            then = await rig.judging.judge("a card")

            assert ["starting", "meaning"] == [first.why, then.why]
            assert ["classification_failed", "classes_ready"] == [
                each["event"] for each in rig.events()
            ]
            assert "answered 503" in str(rig.events()[0]["error"])


async def test_endpoint_that_fails_later() -> None:
    """An endpoint that breaks costs a default, not an error."""
    async with endpoint() as there, started(**remote(there.url)) as rig:
        await until(lambda: len(rig.events()) == 1)
        there.status = 500

        assert "failed" == (await rig.judging.judge("a card")).why
        with pytest.raises(StartError, match="answered 500"):
            await rig.judging.explain("a card", 1)


async def test_waiting_for_an_endpoint_that_is_not_there() -> None:
    """Who waits for the examples' vectors is told that there are none."""
    rig = Rig(**remote("http://127.0.0.1:9/v1/embeddings"))

    with pytest.raises(StartError, match="The examples of classes have no vectors"):
        await rig.judging.start(wait=True)
    await rig.judging.close()
