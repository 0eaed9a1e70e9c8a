"""
The clerk: one thread that writes rows to the ledger, and to files while the ledger is away. It
replays these in order when the ledger is back. Where rows come from is the meter's business.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from headrace.config.metering import Metering
from headrace.metering.clock import Clock
from headrace.metering.journal import Journal, Orphan, entries, row_line
from headrace.metering.link import Link
from headrace.metering.prices import DAY_US, MILLION, Book
from headrace.metering.rows import Row, lost
from headrace.metering.statements import (
    FORGET,
    INSERT_PRICE,
    INSERT_USAGE,
    MEAN_OUTPUT,
    UPSERT_PRESENCE,
)
from headrace.metering.stores import Statement, Store, StoreLost, StoreRefused
from headrace.telemetry.rounds import Rounds

TIDY_S = 60.0  # between looks at what is too old, and at what other processes left
ROTATE_S = 5.0  # how long rows of `strict` stay on this disk after they are in the ledger
MEAN_DAYS = 7  # of answers, from which a lost one is estimated

Item = tuple[Row, bool]  # and whether it is on this machine's disk


class Source(Protocol):
    """Where the clerk gets its work."""

    def take(self, most: int) -> list[Item]:
        """Rows that wait, oldest first."""

    def minutes(self) -> list[tuple[int, str, float, float]]:
        """When replicas were there: minute, name, seconds up and busy."""

    def rotate(self) -> tuple[Path, ...]:
        """End the journal's open segment; the closed ones. All rows in them can be taken."""


class Clerk:
    """Its counts may be read by any thread."""

    def __init__(
        self,
        config: Metering,
        book: Book,
        journal: Journal,
        source: Source,
        connect: Callable[[], Store],
        event: Callable[..., None],
    ) -> None:
        self._config = config
        self._book = book
        self._journal = journal
        self._source = source
        self._link = Link(connect)
        self._event = event
        self._clock = Clock()
        self._behind = False  # rows are in the journal that are not in the ledger
        self._full = False
        self._tidy_at = self._rotate_at = 0.0
        self._rounds = Rounds(
            "headrace-ledger", config.interval_s, self.turn, self._fault, self._end
        )
        self.up = False
        self.written = self.batches = self.spilled = self.replayed = self.dropped = self.lost = 0

    def start(self, store: Store | None) -> None:
        """Start the thread, with a store that is open already or to be opened."""
        self._link.adopt(store)
        self.up = self._link.is_open
        self._rounds.start()

    def stop(self) -> None:
        """Write what waits, to the ledger or else to the disk, and end the thread."""
        self._rounds.end()
        self._rounds.wait(2 * self._config.timeout_s + 5)

    def turn(self) -> None:
        """Write what waits."""
        items = self._source.take(self._config.batch_rows)
        try:
            store = self._reach()
            if self._behind:
                self._keep(items)
                items = []
                self._catch_up(store)
            while items:
                self._write(store, [row for row, _ in items])
                items = self._source.take(self._config.batch_rows)
            self._clear(store)
        except StoreLost as error:
            self._away(error)
            self._keep(items)
            while more := self._source.take(self._config.batch_rows):
                self._keep(more)

    # --- below -----------------------------------------------------------------------------

    def _end(self) -> None:
        self._link.hurry()
        self._rotate_at = 0.0
        try:
            self.turn()
        finally:
            self._link.close()

    def _fault(self, **traced: object) -> None:
        self._event("ledger_fault", **traced)

    def _reach(self) -> Store:
        if not self._link.is_open:
            self._tidy_at = 0.0  # prices and orphans go to a ledger that was away first
        return self._link.reach()

    def _away(self, error: StoreLost) -> None:
        self._link.drop()
        self._behind = True
        if self.up:
            self._event("ledger_lost", ledger=self._config.shown, reason=str(error))
        self.up = False

    def _keep(self, items: Sequence[Item]) -> None:
        """Put rows onto the disk that are not there yet; without room they are dropped."""
        rows = [row for row, kept in items if not kept]
        if not rows:
            return
        if self._journal.append([row_line(row) for row in rows]):
            self.spilled += len(rows)
            return
        self.dropped += len(rows)
        if not self._full:
            self._event("ledger_rows_dropped", folder=str(self._config.spill_dir), rows=len(rows))
        self._full = True

    def _catch_up(self, store: Store) -> None:
        """Replay what is on the disk, in order; meanwhile no row overtakes it."""
        replayed = 0
        for segment in self._source.rotate():
            rows = _rows(segment)
            for batch in _batches(rows, self._config.batch_rows):
                self._write(store, batch)
            self._journal.remove([segment])
            replayed += len(rows)
        self.replayed += replayed
        self._behind = self._full = False
        if not self.up:
            self._event("ledger_back", ledger=self._config.shown, rows=replayed)
        self.up = True

    def _clear(self, store: Store) -> None:
        """What is not about new rows: segments that are done, replicas' time, what is too old."""
        now = time.monotonic()
        if now >= self._rotate_at:
            self._rotate_at = now + ROTATE_S
            self._settle_segments(store)
            minutes = self._source.minutes()
            if minutes:
                store.write([Statement(UPSERT_PRESENCE, minutes)])
        if now >= self._tidy_at:
            self._tidy_at = now + TIDY_S
            self._tidy(store)
        if not self.up:
            self._event("ledger_back", ledger=self._config.shown, rows=0)
            self.up = True

    def _settle_segments(self, store: Store) -> None:
        """Rows of `strict` that are in the ledger need not stay on the disk."""
        closed = self._source.rotate()
        if not closed:
            return
        while items := self._source.take(self._config.batch_rows):
            try:
                self._write(store, [row for row, _ in items])
            except StoreLost:
                self._keep(items)
                raise
        self._journal.remove(closed)

    def _tidy(self, store: Store) -> None:
        prices = [
            (each.version, each.currency, each.model, each.since, each.input, each.output,
             each.cached)
            for each in self._book.tariffs
        ]  # fmt: skip
        store.write([Statement(INSERT_PRICE, prices)])
        for orphan in self._journal.orphans():
            self._adopt(store, orphan)
        days = self._config.retention_days
        if days is not None:
            before = int(self._clock.now() * MILLION) - days * DAY_US
            minute = before // (60 * MILLION)
            forget = [Statement(sql, [(before if "at_us" in sql else minute,)]) for sql in FORGET]
            store.write(forget)

    def _adopt(self, store: Store, orphan: Orphan) -> None:
        """Write what a process left that was killed; what it had begun is settled by estimate."""
        try:
            found = [entries(segment) for segment in orphan.segments]
            rows = [row for each in found for row in each.rows]
            ended = {row.id for row in rows}
            open_ones = {b.id: b for each in found for b in each.begun if b.id not in ended}
            means: dict[str, float | None] = {}
            for begun in open_ones.values():
                if begun.model not in means:
                    means[begun.model] = _mean(store, begun.model)
            estimates = [lost(b, means[b.model], self._book) for b in open_ones.values()]
            for batch in _batches([*rows, *estimates], self._config.batch_rows):
                self._write(store, batch)
        except BaseException:
            orphan.lock.close()
            raise
        self._journal.bury(orphan)
        self.replayed += len(rows)
        self.lost += len(estimates)
        if rows or estimates:
            torn = sum(each.torn for each in found)
            self._event("ledger_recovered", rows=len(rows), estimated=len(estimates), torn=torn)

    def _write(self, store: Store, rows: Sequence[Row]) -> None:
        try:
            store.write([Statement(INSERT_USAGE, [_values(row) for row in rows])])
        except StoreRefused as error:
            if len(rows) > 1:  # one of them must not keep the others out
                for row in rows:
                    self._write(store, [row])
                return
            self.dropped += 1
            self._event("ledger_row_refused", request_id=rows[0].request_id, reason=str(error))
            return
        self.written += len(rows)
        self.batches += 1


def _rows(segment: Path) -> list[Row]:
    try:
        return entries(segment).rows
    except FileNotFoundError:  # somebody tidied up
        return []


def _batches(rows: Sequence[Row], size: int) -> Iterator[Sequence[Row]]:
    for begin in range(0, len(rows), size):
        yield rows[begin : begin + size]


def _values(row: Row) -> tuple[object, ...]:
    return tuple(getattr(row, field) for field in Row.__struct_fields__)


def _mean(store: Store, model: str) -> float | None:
    since = int(time.time() * MILLION) - MEAN_DAYS * DAY_US
    found = store.read(MEAN_OUTPUT, (model, since))
    tokens, requests = found[0]
    return float(tokens) / requests if requests else None
