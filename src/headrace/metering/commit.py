"""
Group commit: a thread that puts what has begun and what has ended onto the disk, many at once, and
then lets the answers go on. Only ``strict`` has it; the way to the ledger is the clerk's.

While one group is on its way to the disk the next one gathers, so that the wait is one to two
flushes however many requests end at the same time (DeWitt et al., "Implementation Techniques for
Main Memory Database Systems", 1984, https://doi.org/10.1145/602259.602261).
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from headrace.metering.journal import Journal, begun_line, row_line
from headrace.metering.rows import Begun, Row
from headrace.metering.ticket import Ticket
from headrace.telemetry.records import Record

# How long a request may have begun before that is on the disk, when no other ends meanwhile.
BEGUN_S = 0.05

Ended = tuple[Record, Ticket]


class GroupCommit:
    """
    ``rows`` makes a row of a record, ``release`` lets tickets go on (on their own loop), and
    ``safe`` takes each row, with whether it is on the disk.
    """

    def __init__(
        self,
        journal: Journal,
        rows: Callable[[str, Record], Row],
        release: Callable[[Sequence[Ticket]], None],
        safe: deque[tuple[Row, bool]],
    ) -> None:
        self._journal = journal
        self._row = rows
        self._release = release
        self._safe = safe
        self._queue: deque[Begun | Ended] = deque()
        self._running: dict[str, Begun] = {}  # begun, and not ended yet
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._stopped = False
        self._thread: threading.Thread | None = None
        self.commits = 0
        self.failures = 0

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="headrace-commit", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Commit what is queued, and end the thread."""
        self._stopped = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
            self._thread = None

    def begun(self, begun: Begun) -> None:
        """A request has begun; it is on the disk after the next commit, nobody waits for that."""
        self._queue.append(begun)

    def ended(self, record: Record, ticket: Ticket) -> None:
        """A request has ended: commit, then release its ticket."""
        self._queue.append((record, ticket))
        self._wake.set()

    def rotate(self) -> tuple[Path, ...]:
        """
        Begin a new segment with what is running; the closed ones. Every row in them is in ``safe``.
        """
        with self._lock:
            closed = self._journal.rotate()
            if self._running and closed:
                self._journal.append([begun_line(each) for each in self._running.values()])
            return closed

    def _run(self) -> None:
        while not self._stopped:
            self._wake.wait(BEGUN_S)
            self._wake.clear()
            self._commit()
        self._commit()

    def _commit(self) -> None:
        lines: list[bytes] = []
        rows: list[Row] = []
        tickets: list[Ticket] = []
        with self._lock:
            while self._queue:
                item = self._queue.popleft()
                if isinstance(item, Begun):
                    self._running[item.id] = item
                    lines.append(begun_line(item))
                    continue
                record, ticket = item
                self._running.pop(ticket.id, None)
                rows.append(self._row(ticket.id, record))
                lines.append(row_line(rows[-1]))
                tickets.append(ticket)
            if not lines:
                return
            kept = self._journal.append(lines)
            self.commits += 1
            self.failures += not kept
            self._safe.extend((row, kept) for row in rows)
        if tickets:
            self._release(tickets)
