"""
The accounts of limits in the shared state: one round trip to hold what a request may use, settled
behind its back. The arithmetic is in limits.lua; who has which limits is admission's matter.

Accounts with one tag are in one slot of a Redis Cluster. A request with several tags asks all of
them in one round trip; where one refuses, what the others hold is given back afterwards, so that
for a moment more may be held than is meant, never less.
"""

import asyncio
import itertools
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from typing import NamedTuple

import msgspec

from headrace.errors import StateLost
from headrace.state.redis import Link, Script, Word

# Settlements that are gathered before they are written, and that one round trip takes.
GATHER_S, BATCH = 0.005, 200
# Those that wait for a lost server; more are dropped, and what they held is given back by expiry.
MOST_WAITING = 20_000
# Leases that one call renews.
RENEWED = 500
# An idle account's key goes away after this; a month is the longest window.
KEEP_MS = 40 * 86_400 * 1000
SECOND_US = 1_000_000

_encode = msgspec.json.Encoder().encode


class Row(NamedTuple):
    """What is asked of one account; ``likely`` is spent if nobody ever settles it."""

    field: str
    window: int
    kind: str
    most: float
    burst_us: float
    cost: int
    likely: int


class Reply(NamedTuple):
    """
    ``refused`` is the number of the row that has no room (from 1; 0: none), and what that lacks;
    then the use of each account (only of the one that refuses), and what is held.
    """

    refused: int
    lacking: float
    levels: Sequence[tuple[float, int]]


class SharedLimits:
    """One gateway's way to the accounts that all gateways share."""

    def __init__(self, link: Link, lease_s: float, *, at_us: int | None = None) -> None:
        """``at_us`` is the time for tests; the server's own by default."""
        text = resources.files("headrace.state").joinpath("limits.lua").read_text(encoding="utf-8")
        self._script = Script(text)
        self._link = link
        self._lease_s = lease_s
        self.at_us = at_us
        self._name = os.urandom(6).hex()
        self._numbers = itertools.count()
        self._live: dict[str, tuple[str, ...]] = {}  # leases with their tags
        self._outbox: deque[tuple[Word, ...]] = deque()
        self._first: deque[tuple[Word, ...]] = deque()  # goes before all of the outbox
        self._wake, self._one = asyncio.Event(), asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self.gateways = 1  # that were seen
        self.written = self.dropped = 0
        link.when_back(self._wake.set)

    @property
    def waiting(self) -> int:
        """Settlements that are not written yet."""
        return len(self._first) + len(self._outbox)

    @property
    def leases(self) -> int:
        """Requests that hold something."""
        return len(self._live)

    def lease(self) -> str:
        """A new name for what a request holds."""
        return f"{self._name}-{next(self._numbers):x}"

    async def take(self, lease: str, groups: Mapping[str, Sequence[Row]]) -> list[Reply]:
        """
        Hold what a request asks for, by tag: of all, or of none. Whoever gets no refusal must
        ``settle`` the lease.

        Raises:
            StateLost: the state does not answer; then nothing is held for long.

        """
        calls = [
            self._call(tag, "take", lease, int(self._lease_s * SECOND_US), _encode(rows))
            for tag, rows in groups.items()
        ]
        holding = [tag for tag, rows in groups.items() if any(row.kind != "once" for row in rows)]
        if holding:
            self._live[lease] = (*holding,)
        try:
            found = await self._link.script("limits", self._script, calls)
        except BaseException:  # it may have arrived all the same
            self.settle(lease, {})
            raise
        replies = [_reply(each) for each in found]
        refused = [tag for tag, each in zip(groups, replies, strict=True) if each.refused]
        if refused:
            self._live[lease] = tuple(tag for tag in holding if tag not in refused)
            self.settle(lease, {})
        return replies

    def settle(self, lease: str, used: Mapping[str, Sequence[int]]) -> None:
        """
        A request has ended and used so much of its rows but those of ``once``, by tag; nothing of
        those that are not named. Never waits.
        """
        for tag in self._live.pop(lease, ()):
            self._send(self._call(tag, "settle", lease, *used.get(tag, ())))

    def lift(self, tag: str, rows: Iterable[tuple[str, int, float, int]]) -> None:
        """
        Of each field and window: at least so much was spent, and so much more. Never waits. An
        outage may do it twice, which is on the safe side.
        """
        self._send(self._lifted(tag, rows))

    def remind(self, tag: str, rows: Iterable[tuple[str, int, float, int]]) -> None:
        """
        As ``lift``, before all that waits: what an account was before an outage is the ground on
        which every gateway then adds what it used meanwhile.
        """
        self._first.append(self._lifted(tag, rows))
        self._wake.set()

    async def look(
        self, groups: Mapping[str, Sequence[tuple[str, int, str]]]
    ) -> dict[str, list[tuple[float, int]]]:
        """
        The use of accounts (field, window, kind) and what is held of them, by tag.

        Raises:
            StateLost: the state does not answer.

        """
        if not groups:
            return {}
        calls = [
            self._call(tag, "look", *(word for row in rows for word in row))
            for tag, rows in groups.items()
        ]
        found = await self._link.script("limits", self._script, calls)
        return {tag: [*_pairs(each)] for tag, each in zip(groups, found, strict=True)}

    async def start(self) -> None:
        """Find out who else is there; then write, renew, and count gateways until ``stop``."""
        await self.renew()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._write()), loop.create_task(self._follow())]

    async def stop(self) -> None:
        """Write what is left, if that can be done."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self.flush()

    async def flush(self) -> None:
        """Write what waits; what a lost server has not taken is kept for later."""
        async with self._one:
            while (queue := self._first or self._outbox) and await self._flush(queue):
                pass

    async def renew(self) -> None:
        """Say which requests still run, and count the gateways that are there."""
        span = int(self._lease_s * SECOND_US)
        by_tag: dict[str, list[str]] = {}
        for lease, tags in self._live.items():
            for tag in tags:
                by_tag.setdefault(tag, []).append(lease)
        calls = [self._call("gateways", "beat", self._name, span)]
        for tag, ids in by_tag.items():
            calls += [
                self._call(tag, "renew", span, *ids[at : at + RENEWED])
                for at in range(0, len(ids), RENEWED)
            ]
        try:
            for at in range(0, len(calls), BATCH):
                batch = calls[at : at + BATCH]
                found = await self._link.script("limits", self._script, batch)
                if not at:
                    self.gateways = max(1, int(found[0]))
        except StateLost:
            return

    # --- below ------------------------------------------------------------------------------

    async def _flush(self, queue: deque[tuple[Word, ...]]) -> bool:
        """Write the oldest; False where the server is lost."""
        batch = [*itertools.islice(queue, BATCH)]
        try:
            await self._link.script("limits_settled", self._script, batch)
        except StateLost:
            if not self._link.up:
                return False
            self.dropped += len(batch)  # it is there, and does not want this
        else:
            self.written += len(batch)
        for _ in batch:
            queue.popleft()
        return True

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(GATHER_S)
            self._wake.clear()
            await self.flush()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._lease_s / 3)
            await self.renew()

    def _send(self, call: tuple[Word, ...]) -> None:
        if len(self._outbox) >= MOST_WAITING:
            self.dropped += 1
            return
        self._outbox.append(call)
        self._wake.set()

    def _lifted(self, tag: str, rows: Iterable[tuple[str, int, float, int]]) -> tuple[Word, ...]:
        words = [word for field, at, least, more in rows for word in (field, at, int(least), more)]
        return self._call(tag, "lift", *words)

    def _call(self, tag: str, word: str, *words: Word) -> tuple[Word, ...]:
        """How many keys, the keys, the word, the time, and what it takes."""
        group = f"limits:{tag}"
        keys = (self._link.key(group, name) for name in ("leases", "claims", "accounts"))
        at = "" if self.at_us is None else self.at_us
        return (3, *keys, word, at, KEEP_MS, *words)


def _reply(found: Sequence[int]) -> Reply:
    return Reply(found[0], float(found[1]), [*_pairs(found[2:])])


def _pairs(numbers: Sequence[int]) -> Iterator[tuple[float, int]]:
    for used, held in zip(numbers[::2], numbers[1::2], strict=True):
        yield float(used), held
