"""
The meter: what the gateway tells of requests, and the threads behind it. On the event loop it only
appends; rows are made and written elsewhere.
"""

import asyncio
import itertools
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from hashlib import blake2b
from pathlib import Path

from headrace.config.database import SQLITE
from headrace.config.metering import Metering
from headrace.config.pricebook import prices
from headrace.errors import StartError
from headrace.metering.clerk import Clerk, Item
from headrace.metering.commit import GroupCommit
from headrace.metering.journal import Journal
from headrace.metering.prices import MILLION, Book, exact
from headrace.metering.rows import Begun, Row, row
from headrace.metering.stores import Store, StoreLost, open_store, sqlite_path
from headrace.metering.ticket import Ticket
from headrace.telemetry.ledger import LedgerSeen
from headrace.telemetry.records import Record

SAMPLE_S = 1.0  # between looks at which replicas are there and work
# A look that came late counts this much at most: the process may have been stopped.
MOST_S = 5.0
# Requests that wait for a row, some 10 s of a gateway's full load; then they are dropped.
MAX_QUEUED = 100_000
MAX_MINUTES = 10_000

Replicas = Callable[[], Iterable[tuple[str, bool]]]


class Meter:
    """
    One gateway's meter. ``replicas`` tells which there are, and which have requests in hand;
    ``event`` writes to the log, and may be called from any thread.
    """

    def __init__(
        self,
        config: Metering,
        event: Callable[..., None],
        replicas: Replicas,
        connect: Callable[[Metering], Store] = open_store,
    ) -> None:
        """
        Read the price book.

        Raises:
            ConfigError: its file cannot be read, or is wrong.

        """
        self._config = config
        self._event = event
        self._replicas = replicas
        self._book = Book(prices(config))
        self._identity = os.urandom(8).hex()
        self._ids = itertools.count()
        self._journal = Journal(spill_folder(config), self._identity, config.spill_bytes)
        self._queue: deque[Record] = deque()
        self._safe: deque[Item] = deque()
        self._overflow = self._overdue = 0
        self._costs: dict[str, int] = {}  # micro-cents by model, since the start
        self._counting = threading.Lock()
        self._minutes: dict[tuple[int, str], list[float]] = {}
        self._sampled_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._store: Store | None = None  # for the clerk
        self._loop: asyncio.AbstractEventLoop | None = None
        self._commit: GroupCommit | None = None
        if config.durability == "strict":
            self._commit = GroupCommit(self._journal, self._row, self._release, self._safe)
        self._connect = partial(connect, config)
        self._clerk = Clerk(config, self._book, self._journal, self, self._connect, event)

    @property
    def strict(self) -> bool:
        """Whether requests need a ticket."""
        return self._commit is not None

    async def open(self) -> None:
        """
        Open the ledger. One elsewhere that is away is no reason not to start.

        Raises:
            StartError: the folder for spilled rows or the ledger's file cannot be used, or a
                package is missing.

        """
        self._loop = asyncio.get_running_loop()
        self._store = await self._loop.run_in_executor(None, self._open)

    def start(self) -> None:
        """Start the threads of a meter that is open."""
        if self._loop is None:
            return
        if self._commit is not None:
            self._commit.start()
        self._clerk.start(self._store)
        self._sampled_at = self._loop.time()
        self._timer = self._loop.call_later(SAMPLE_S, self._sample)

    async def stop(self) -> None:
        """Write what is known, let every answer go on, and end the threads."""
        if self._loop is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        await self._loop.run_in_executor(None, self._finish)
        await asyncio.sleep(0)  # in which the last tickets are released

    # --- what requests tell ---------------------------------------------------------------

    def begin(self, facts: Begun) -> Ticket:
        """With ``strict``: a request has begun. Its ``id`` is set here."""
        if self._commit is None:
            raise RuntimeError("only `strict` has tickets")
        self._commit.begun(facts)
        return Ticket(facts.id)

    def identity(self) -> str:
        """A new id for a row; a request's own may be its client's, and come twice."""
        return f"{self._identity}-{next(self._ids):x}"

    def settled(self, record: Record, ticket: Ticket | None) -> None:
        """A request has ended; with a ticket, release it once the row is safe."""
        if ticket is None:
            if len(self._queue) < MAX_QUEUED:
                self._queue.append(record)
            else:
                self._overflow += 1
        elif self._commit is not None and self._loop is not None:
            ticket.wait(self._loop.call_later(self._config.hold_s, self._late, ticket))
            self._commit.ended(record, ticket)

    def seen(self) -> LedgerSeen:
        """How it is going."""
        clerk, commit = self._clerk, self._commit
        waiting = len(self._queue) + len(self._safe)
        return LedgerSeen(
            up=clerk.up,
            waiting=waiting,
            lag_s=self._lag_s(),
            spill_bytes=self._journal.size_bytes,
            batches=clerk.batches,
            commits=commit.commits if commit is not None else 0,
            rows={
                "written": clerk.written,
                "spilled": clerk.spilled,
                "replayed": clerk.replayed,
                "estimated": clerk.lost,
                "dropped": clerk.dropped + self._overflow,
                "unheld": self._overdue,
            },
        )

    def costs(self) -> dict[tuple[str, ...], float]:
        """What requests have cost since the start, by model and currency, in that currency."""
        currency = self._book.currency
        return {(model, currency): float(exact(cost)) for model, cost in [*self._costs.items()]}

    # --- what the clerk asks (``Source``) ---------------------------------------------------

    def take(self, most: int) -> list[Item]:
        """Rows that wait, oldest first (``Source``)."""
        items: list[Item] = []
        while self._queue and len(items) < most:
            items.append((self._row(self.identity(), self._queue.popleft()), False))
        while self._safe and len(items) < most:
            items.append(self._safe.popleft())
        return items

    def minutes(self) -> list[tuple[int, str, float, float]]:
        """When replicas were there, since the last time (``Source``)."""
        now = int(time.time()) // 60
        found = []
        for (minute, name), (up_s, busy_s) in [*self._minutes.items()]:
            found.append((minute, name, up_s, busy_s))
            if minute < now - 1:
                self._minutes.pop((minute, name), None)
        return found

    def rotate(self) -> tuple[Path, ...]:
        """The journal's closed segments (``Source``)."""
        return self._journal.rotate() if self._commit is None else self._commit.rotate()

    # --- below ------------------------------------------------------------------------------

    def _lag_s(self) -> float:
        try:
            oldest = self._queue[0]
        except IndexError:
            return 0.0
        return max(0.0, time.time() - oldest.time.timestamp())

    def _row(self, identity: str, record: Record) -> Row:
        made = row(identity, record, self._book)
        if made.cost:
            with self._counting:  # the clerk's thread and that of `strict` both make rows
                self._costs[made.model] = self._costs.get(made.model, 0) + made.cost
        return made

    def _open(self) -> Store | None:
        try:
            self._journal.open()
        except OSError as error:
            raise StartError(
                f"Cannot write to {self._config.spill_dir} (`metering.spill_dir`):"
                f" {error.strerror}."
            ) from error
        try:
            return self._connect()
        except StartError:
            self._journal.close()
            raise
        except StoreLost as error:
            if self._config.address.startswith(SQLITE):
                self._journal.close()
                raise StartError(f"Cannot open the ledger {self._config.shown}: {error}.") from None
            self._event("ledger_lost", ledger=self._config.shown, reason=str(error))
            return None

    def _finish(self) -> None:
        if self._commit is not None:
            self._commit.stop()
        self._clerk.stop()
        self._journal.close()

    def _release(self, tickets: Sequence[Ticket]) -> None:
        """From another thread: let these go on."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_release, tickets)

    def _late(self, ticket: Ticket) -> None:
        self._overdue += 1
        ticket.release()

    def _sample(self) -> None:
        """Note which replicas are there now."""
        if self._loop is None:
            return
        now = self._loop.time()
        passed, self._sampled_at = min(now - self._sampled_at, MOST_S), now
        minute = int(time.time()) // 60
        for name, busy in self._replicas():
            if len(self._minutes) < MAX_MINUTES:
                seconds = self._minutes.setdefault((minute, name), [0.0, 0.0])
                seconds[0] = min(60.0, seconds[0] + passed)
                seconds[1] = min(60.0, seconds[1] + passed * busy)
        self._timer = self._loop.call_later(SAMPLE_S, self._sample)


def spill_folder(config: Metering) -> Path:
    """Each ledger has a folder of its own, so that nobody replays into another's."""
    ledger = config.shown
    if ledger.startswith(SQLITE):
        ledger = str(Path(sqlite_path(config)).expanduser().resolve())
    return config.spill_dir / blake2b(ledger.encode(), digest_size=6).hexdigest()


def begun_at() -> int:
    """Now, in microseconds since 1970."""
    return time.time_ns() * MILLION // 1_000_000_000


def _release(tickets: Sequence[Ticket]) -> None:
    for ticket in tickets:
        ticket.release()
