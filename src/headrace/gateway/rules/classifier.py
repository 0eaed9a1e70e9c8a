"""
Judges requests off the event loop: one thread, a bounded queue, a memory, and a deadline.

Whatever is late, too much or broken is the default class, and counted. What is judged and how is
routing/classify.py's; rules ask here through classes.py.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol

from threadpoolctl import threadpool_limits

from headrace.config.classes import Classes
from headrace.config.examples import Example, examples
from headrace.errors import StartError
from headrace.gateway.exchange import Exchange
from headrace.gateway.rules.classes import Explained, words
from headrace.gateway.rules.embedding import Builtin, NotEmbedded, Remote
from headrace.routing.classify import Judge
from headrace.routing.features import excerpt, features
from headrace.routing.head import Rows
from headrace.telemetry.classes import ClassMetrics
from headrace.telemetry.writer import Writer
from headrace.types import Class

# An endpoint that is not there yet is asked again for the examples' vectors after this.
RETRY_S = 5.0
# The longest that one answer of an embeddings endpoint may take; requests have left long before.
ANSWER_S = 10.0
LEARN_S = 60.0


class Local(Protocol):
    """Vectors that are computed here, one row of length 1 for each text; called in a thread."""

    def embed(self, texts: Sequence[str]) -> Rows: ...


class Judging:
    """The classifier (``Classifier``): start it, ask it, close it."""

    def __init__(
        self,
        config: Classes,
        metrics: ClassMetrics,
        log: Writer,
        local: Callable[[], Local] = Builtin,
    ) -> None:
        self._config = config
        self._metrics = metrics
        self._log = log
        self._deadline_s = config.deadline_ms / 1000
        self._remote = Remote(config.embedding) if config.embedding.url else None
        self._load = local
        self._local: Local | None = None
        self._judge: Judge | None = None
        self._known: dict[bytes, Class] = {}  # the one used last stands last
        self._waiting: dict[bytes, asyncio.Future[Class]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="headrace-classes")
        self._learning: asyncio.Task[None] | None = None
        self._broken = False

    # --- life ------------------------------------------------------------------------------

    async def start(self, *, wait: bool = False) -> None:
        """
        Learn from the examples. With the built-in vectors this is done when it returns; an endpoint
        is asked in the background until it answers, or once if we ``wait`` for it.

        Raises:
            ConfigError: the file of examples is wrong.
            StartError: the package with the built-in vectors is not installed, or we waited for an
                endpoint that gave none.

        """
        loop = asyncio.get_running_loop()
        taught = await loop.run_in_executor(self._thread, examples, self._config)
        names = list(dict.fromkeys(example.name for example in taught))
        self._metrics.born(names, self._config.default)
        if self._remote is None:
            began = time.perf_counter()
            self._local = await loop.run_in_executor(self._thread, self._load)
            learn = partial(self._learn, taught, None)
            self._ready(await loop.run_in_executor(self._thread, learn), taught, began)
        elif wait:
            await self._learn_once(self._remote, taught)
        else:
            self._learning = loop.create_task(self._learn_from_afar(self._remote, taught))

    async def close(self) -> None:
        """End the thread and the connections; what still waits has the default class."""
        if self._learning is not None:
            self._learning.cancel()
            await asyncio.wait({self._learning})
        for future in tuple(self._waiting.values()):
            future.cancel()
        if self._remote is not None:
            self._remote.close()
        self._thread.shutdown(wait=False, cancel_futures=True)

    # --- requests --------------------------------------------------------------------------

    async def tier(self, exchange: Exchange, body: bytes) -> str:
        """The class's name, for rules; the judgement is left on the request, for its record."""
        exchange.judged = await self.of(body)
        return exchange.judged.name

    async def of(self, body: bytes) -> Class:
        """The class of a JSON body."""
        return await self.judge(words(body))

    async def judge(self, text: str) -> Class:
        """The class of a text, from memory or by the deadline."""
        if not text.strip():
            return self._default("empty")
        if self._judge is None:
            return self._default("starting")
        seen = excerpt(text)
        key = hashlib.blake2b(seen.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        known = self._known.pop(key, None)
        if known is not None:
            self._known[key] = known
            self._metrics.remembered()
            return self._counted(known)
        future = self._waiting.get(key)
        if future is None:
            if len(self._waiting) >= self._config.queue:
                return self._default("busy")
            future = self._begin(key, seen, self._judge)
        return await self._in_time(future)

    async def explain(self, text: str, neighbours: int) -> Explained:
        """
        Judge a text and tell why, however long it takes.

        Raises:
            StartError: nothing was learned yet, or the endpoint gave no vector.

        """
        judge = self._judge
        if judge is None:
            raise StartError("The examples of classes have no vectors yet.")
        seen = excerpt(text)
        try:
            vector, measured = (await self._vectors([seen]))[0], features(seen)
        except NotEmbedded as error:
            raise StartError(f"The text has no vector: {error}.") from None
        verdict = judge.classify(vector, measured)
        shares = judge.shares(vector, measured)
        return Explained(
            verdict=verdict,
            shares={name: float(each) for name, each in zip(judge.names, shares, strict=True)},
            neighbours=judge.nearest(vector, neighbours),
            measured=measured,
            pulls=judge.pulls(measured, verdict.name),
        )

    # --- below -----------------------------------------------------------------------------

    async def _in_time(self, future: "asyncio.Future[Class]") -> Class:
        await asyncio.wait({future}, timeout=self._deadline_s)
        if not future.done():
            return self._default("late")
        if future.cancelled() or future.exception() is not None:
            return self._default("failed")
        return self._counted(future.result())

    def _default(self, why: str) -> Class:
        return self._counted(Class(self._config.default, 0.0, why))

    def _counted(self, verdict: Class) -> Class:
        self._metrics.judged(verdict.name, verdict.why)
        return verdict

    def _begin(self, key: bytes, seen: str, judge: Judge) -> "asyncio.Future[Class]":
        """One judgement for all that ask for the same text at the same time."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Class]
        if self._remote is not None:
            future = loop.create_task(self._ask(self._remote, judge, seen))
        else:
            future = loop.run_in_executor(self._thread, self._look, judge, seen)
        self._waiting[key] = future
        future.add_done_callback(partial(self._landed, key, time.perf_counter()))
        return future

    def _landed(self, key: bytes, began: float, future: "asyncio.Future[Class]") -> None:
        """Remember a judgement, also one that came too late for whoever asked."""
        self._waiting.pop(key, None)
        if future.cancelled():
            return
        error = future.exception()
        if error is not None:
            if not self._broken:  # said once, until it works again
                self._log.event("classification_failed", error=_said(error))
            self._broken = True
            return
        self._broken = False
        self._metrics.took(time.perf_counter() - began)
        if self._config.cache_entries:
            while len(self._known) >= self._config.cache_entries:
                del self._known[next(iter(self._known))]
            self._known[key] = future.result()

    def _look(self, judge: Judge, seen: str) -> Class:
        """In the thread: vector, features, judgement."""
        vector = self._embed([seen])[0]
        return judge.classify(vector, features(seen))

    async def _ask(self, remote: Remote, judge: Judge, seen: str) -> Class:
        vector = (await remote.embed([seen], ANSWER_S))[0]
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._thread, lambda: judge.classify(vector, features(seen))
        )

    def _embed(self, texts: Sequence[str]) -> Rows:
        assert self._local is not None  # noqa: S101 - start made it
        return self._local.embed(texts)

    async def _vectors(self, texts: Sequence[str]) -> Rows:
        if self._remote is not None:
            return await self._remote.embed(texts, ANSWER_S)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._embed, texts)

    def _learn(self, taught: Sequence[Example], vectors: Rows | None) -> Judge:
        """In the thread: some tenths of a second for the examples that come with Headrace."""
        seen = [excerpt(example.text) for example in taught]
        measured = [features(text) for text in seen]
        found = self._embed(seen) if vectors is None else vectors
        with threadpool_limits(1):
            judge = Judge(taught, found, measured, self._config.default, self._config.threshold)
            judge.classify(found[0], measured[0])  # the first takes ten times as long as others
        return judge

    async def _learn_from_afar(self, remote: Remote, taught: Sequence[Example]) -> None:
        told = ""
        while self._judge is None:
            try:
                await self._learn_once(remote, taught)
            except StartError as error:
                if str(error) != told:
                    told = str(error)
                    self._log.event("classification_failed", error=told)
                await asyncio.sleep(RETRY_S)

    async def _learn_once(self, remote: Remote, taught: Sequence[Example]) -> None:
        began = time.perf_counter()
        try:
            vectors = await remote.embed([excerpt(example.text) for example in taught], LEARN_S)
        except NotEmbedded as error:
            raise StartError(f"The examples of classes have no vectors: {error}.") from None
        loop = asyncio.get_running_loop()
        learn = partial(self._learn, taught, vectors)
        self._ready(await loop.run_in_executor(self._thread, learn), taught, began)

    def _ready(self, judge: Judge, taught: Sequence[Example], began: float) -> None:
        self._judge = judge
        self._log.event(
            "classes_ready",
            classes=list(judge.names),
            examples=len(taught),
            temperature=round(judge.temperature, 3),
            took_ms=round((time.perf_counter() - began) * 1000),
        )


def _said(error: BaseException) -> str:
    """What an endpoint did; of a fault of our own only its kind: it may hold a client's words."""
    return str(error) if isinstance(error, NotEmbedded) else type(error).__name__
