"""
Decision records in a database, for days: a bounded queue, and one thread that writes them in
batches and removes what is too old. It lives here since only this room knows SQL.

It is no ledger: when the database is away, what does not fit into the queue is dropped and counted.
"""

import itertools
import os
import time
from collections import deque
from collections.abc import Callable
from random import Random
from typing import NamedTuple

import msgspec

from headrace.config.metering import Metering
from headrace.config.tracing import Archive as Config
from headrace.metering.clock import Clock
from headrace.metering.link import Link
from headrace.metering.stores import Statement, Store, StoreLost, StoreRefused, open_store, reading
from headrace.telemetry.decisions import Kept, Story
from headrace.telemetry.rounds import Rounds

BATCH = 200
TIDY_S = 60.0
MILLION = 1_000_000

INSERT = """
INSERT INTO decision
    (id, at_us, request_id, trace_id, tenant, model, replica, outcome, total_ms, record)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (id) DO NOTHING
"""
FORGET = "DELETE FROM decision WHERE at_us < $1"
FIND = "SELECT record FROM decision WHERE request_id = $1 ORDER BY at_us DESC LIMIT 1"

_story = msgspec.json.Decoder(Story).decode


class Stored(NamedTuple):
    """The archive now, and what became of records."""

    up: bool = False
    waiting: int = 0
    written: int = 0
    dropped: int = 0


class Archive:
    """``event`` writes to the log, and may be called from any thread."""

    def __init__(
        self,
        config: Config,
        event: Callable[..., None],
        chance: Random,
        connect: Callable[[Metering], Store] = open_store,
    ) -> None:
        self._config = config
        self._event = event
        self._chance = chance
        self._place = place(config)
        self._link = Link(lambda: connect(self._place))
        self._queue: deque[tuple[str, Kept]] = deque()
        self._clock = Clock()
        self._identity = os.urandom(8).hex()
        self._ids = itertools.count()
        self._up = False
        self._tidy_at = 0.0
        self._written = self._dropped = 0
        self._rounds = Rounds(
            "headrace-archive", config.interval_s, self.turn, self._fault, self._end
        )

    def open(self) -> None:
        """
        Open the database. One elsewhere that is away is no reason not to start.

        Raises:
            StartError: its package is missing, or it is of a newer Headrace.

        """
        try:
            self._link.open()
        except StoreLost as error:
            self._event("archive_lost", archive=self._place.shown, reason=str(error))
        self._up = self._link.is_open

    def start(self) -> None:
        """Start the thread."""
        self._rounds.start()

    def stop(self) -> None:
        """Write what waits, and end the thread."""
        self._rounds.end()
        self._rounds.wait(2 * self._config.timeout_s)

    def offer(self, kept: Kept, why: str) -> None:
        """A request has ended (``Taker``); notable ones are kept whatever the share."""
        share = self._config.share
        if share < 1 and not why and self._chance.random() >= share:
            return
        if len(self._queue) < self._config.queue:
            self._queue.append((f"{self._identity}-{next(self._ids):x}", kept))
        else:
            self._dropped += 1

    def find(self, request_id: str) -> Story | None:
        """
        The latest record of this id; for any thread, with a connection of its own.

        Raises:
            StartError: the database cannot be read.

        """
        with reading(self._place) as store:
            rows = store.read(FIND, (request_id,))
        return _story(rows[0][0]) if rows else None

    def seen(self) -> Stored:
        """The counts now."""
        return Stored(self._up, len(self._queue), self._written, self._dropped)

    # --- below -----------------------------------------------------------------------------

    def _end(self) -> None:
        self._link.hurry()
        try:
            self.turn()
        finally:
            self._link.close()

    def _fault(self, **traced: object) -> None:
        self._event("archive_fault", **traced)

    def turn(self) -> None:
        """Write what waits; remove what is too old, now and then."""
        try:
            store = self._reach()
            while self._queue:
                self._write(store)
            now = time.monotonic()
            if now >= self._tidy_at:
                self._tidy_at = now + TIDY_S
                before = self._clock.now() - self._config.retention_h * 3600
                store.write([Statement(FORGET, [(int(before * MILLION),)])])
        except StoreLost as error:
            self._away(error)

    def _write(self, store: Store) -> None:
        """One batch, which leaves the queue only when it is written."""
        batch = [self._queue[index] for index in range(min(BATCH, len(self._queue)))]
        rows = [self._row(name, kept.tell()) for name, kept in batch]
        try:
            store.write([Statement(INSERT, rows)])
            self._written += len(rows)
        except StoreRefused:
            self._one_by_one(store, rows)
        for _ in batch:
            self._queue.popleft()

    def _one_by_one(self, store: Store, rows: list[tuple[object, ...]]) -> None:
        """One of them it will never take, which must not keep the others out."""
        for row in rows:
            try:
                store.write([Statement(INSERT, [row])])
                self._written += 1
            except StoreRefused as error:
                self._dropped += 1
                self._event("archive_refused", records=1, reason=str(error))

    def _row(self, name: str, story: Story) -> tuple[object, ...]:
        return (
            name,
            int(story.ended.timestamp() * MILLION),
            story.request_id,
            story.trace_id,
            story.tenant,
            story.served or story.facts.model,
            story.replica,
            story.outcome,
            story.total_ms,
            msgspec.json.encode(story).decode(),
        )

    def _reach(self) -> Store:
        store = self._link.reach()
        if not self._up:
            self._event("archive_back", archive=self._place.shown)
        self._up = True
        return store

    def _away(self, error: StoreLost) -> None:
        self._link.drop()
        if self._up:
            self._event("archive_lost", archive=self._place.shown, reason=str(error))
        self._up = False


def place(config: Config) -> Metering:
    """Where it is, as the stores are told."""
    url = config.url.get_secret_value() if config.url is not None else None
    return Metering.model_validate({"url": url, "timeout_s": config.timeout_s})
