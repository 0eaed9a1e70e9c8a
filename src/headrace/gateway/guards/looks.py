"""
One look of a guard: here if it is short, in a worker process if not, by its deadline, and what
happens when there is none in time. What to look at is guarding.py's and guarded.py's.
"""

import asyncio
import time
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any, Literal, TypeVar

from headrace.config.guards import GuardPolicy
from headrace.errors import Unguarded
from headrace.guard import quoting, walk
from headrace.guard.detectors import KINDS, build, is_heavy
from headrace.guard.moderation import Moderation
from headrace.guard.quoting import Quotes
from headrace.guard.schema import Schema, module, read
from headrace.guard.screen import Found, Tally, redacted
from headrace.guard.types import Detector, Finding, Unavailable
from headrace.guard.worker import Workers
from headrace.telemetry.guards import GuardMetrics
from headrace.telemetry.writer import Writer

# Texts up to this size are looked at on the event loop: patterns take some 0.01 ms for prose, and
# 0.2 ms where it is all numbers; a worker adds more than that.
INLINE_CHARS = 500

Way = Literal["input", "output"]
T = TypeVar("T")


class Guard:
    """One guard, ready. ``detector`` is None where only workers have it."""

    __slots__ = (
        "broken",
        "by_sentence",
        "detector",
        "moderation",
        "policy",
        "schema",
        "sees_plain",
    )

    def __init__(self, policy: GuardPolicy) -> None:
        """
        Make what it needs.

        Raises:
            ConfigError: its settings name something that there is not.
            StartError: a package that it needs is not installed.

        """
        self.policy = policy
        light = policy.kind in KINDS and not is_heavy(policy)
        self.detector: Detector | None = build(policy) if light else None
        self.by_sentence = (
            self.detector.sentences if self.detector is not None else policy.pii.model is not None
        )
        self.sees_plain = policy.kind == "terms" or self.by_sentence
        is_moderation = policy.kind == "moderation"
        self.moderation = Moderation(policy.moderation) if is_moderation else None
        self.schema: Schema | None = None
        if policy.kind == "json_schema":
            module()
            file = policy.json_schema.file
            self.schema = read(file) if file is not None else None
        self.broken = ""  # what its latest failure was, until it works again


class Looks:
    """How guards look, with their clocks, counts and the workers."""

    def __init__(self, metrics: GuardMetrics, log: Writer, workers: Workers | None) -> None:
        self._metrics = metrics
        self._log = log
        self.workers = workers

    async def find(
        self, guard: Guard, texts: Sequence[str], way: Way, tally: Tally
    ) -> Sequence[Sequence[Finding]]:
        """
        What a guard finds in each text.

        Raises:
            Unguarded: it could not look, or not in time, and is closed then.

        """
        detector = guard.detector
        if detector is not None and sum(map(len, texts)) <= INLINE_CHARS:
            began = time.perf_counter()
            found = [detector.find(text) for text in texts]
            self._metrics.took(guard.policy.name, way, time.perf_counter() - began)
            return found
        if self.workers is None:
            raise Unguarded("The guards have not started.")
        asked = self.workers.find(guard.policy.name, texts)
        answered = await self.in_time(guard, asked, way, tally)
        return [()] * len(texts) if answered is None else answered

    async def in_time(self, guard: Guard, asked: Awaitable[T], way: Way, tally: Tally) -> T | None:
        """
        What was asked for, by the guard's deadline; None where there was nothing and it is open.

        Raises:
            Unguarded: there was nothing, and it is closed.

        """
        policy, began, verdict = guard.policy, time.perf_counter(), "failed"
        try:
            async with asyncio.timeout(policy.deadline_s):
                answered = await asked
        except TimeoutError:
            verdict, why = "late", f"no answer within {policy.deadline_s:g} s"
        except Unavailable as error:
            why = str(error)
        else:
            guard.broken = ""
            self._metrics.took(policy.name, way, time.perf_counter() - began)
            return answered
        tally.misses[policy.name] = verdict
        if guard.broken != why:  # said once, until it works again or fails in another way
            self._log.event("guard_failed", guard=policy.name, error=why, late=policy.late)
        guard.broken = why
        if policy.late == "closed":
            raise Unguarded(f"The guard `{policy.name}` could not look at it: {verdict}.")
        return None

    async def screened(
        self, guards: Iterable[Guard], tree: dict[str, Any], way: Way, tally: Tally
    ) -> frozenset[str]:
        """
        Look at all texts of a request or an answer; take out of the tree what must not stay in it.

        Gives the top-level keys below which something was changed.

        Raises:
            Refused: a guard that blocks has found something.
            Unguarded: a guard that is closed could not look.

        """
        places = [(key, spot) for key in tree for spot in walk.spots(tree, (key,))]
        read_as = [quoting.plain(spot.text) if spot.quoted else None for _, spot in places]
        texts = [
            spot.text if meant is None else meant[0]
            for (_, spot), meant in zip(places, read_as, strict=True)
        ]
        found: list[list[Found]] = [[] for _ in texts]
        for guard in guards if texts else ():
            findings = await self.find(guard, texts, way, tally)
            for into, meant, each in zip(found, read_as, findings, strict=True):
                if each:
                    shown = each if meant is None else quoting.placed(each, meant[1])
                    into.append((guard.policy.name, guard.policy.mode, shown))
        changed = set()
        for (key, spot), each_found in zip(places, found, strict=True):
            if not each_found:
                continue
            before = spot.text
            tally.keep(before, each_found)
            quotes = Quotes() if spot.quoted else None
            spot.put(redacted(before, each_found, tally, 0, quotes))
            if spot.text != before:
                changed.add(key)
        return frozenset(changed)

    async def judged(
        self, guards: Iterable[Guard], segment: tuple[str, int, Quotes | None, bool], tally: Tally
    ) -> str:
        """
        A segment of a streamed answer (``guard.stream.Judge``), without what must not leave.

        Raises:
            Refused: a guard that blocks has found something.
            Unguarded: a guard that is closed could not look.

        """
        text, start, quotes, plain = segment
        meant = quoting.plain(text) if quotes is not None and "\\" in text else None
        found: list[Found] = []
        for guard in guards:
            if plain and not guard.sees_plain:
                continue
            (each,) = await self.find(guard, [text if meant is None else meant[0]], "output", tally)
            if each:
                shown = each if meant is None else quoting.placed(each, meant[1])
                found.append((guard.policy.name, guard.policy.mode, shown))
        if not found and quotes is None:
            return text[start:]
        tally.keep(text, found, start)
        return redacted(text, found, tally, start, quotes)

    async def moderated(self, guard: Guard, text: str, tally: Tally) -> Sequence[str]:
        """The categories that a classifier flags."""
        if guard.moderation is None:
            return ()
        asked = guard.moderation.find(text)
        return await self.in_time(guard, asked, "input", tally) or ()

    async def fault(self, guard: Guard, wanted: object, text: str, tally: Tally) -> str:
        """What is wrong with a whole answer by its schema; empty for nothing."""
        if guard.schema is None and wanted is None:
            return ""
        if guard.schema is not None and len(text) <= INLINE_CHARS:
            return guard.schema.fault(text)
        if self.workers is None:
            raise Unguarded("The guards have not started.")
        asked = self.workers.fault(guard.policy.name, wanted, text)
        return await self.in_time(guard, asked, "output", tally) or ""
