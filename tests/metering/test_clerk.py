"""The clerk: what it writes, and what it does while the ledger is away."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from headrace.config.metering import Metering
from headrace.config.prices import Prices
from headrace.metering.clerk import Clerk, Item
from headrace.metering.journal import Journal, begun_line, row_line
from headrace.metering.prices import Book
from headrace.metering.rows import Begun, Row
from headrace.metering.stores import Statement, Store, StoreLost, Values, open_store
from tests.metering.conftest import settings
from tests.metering.rows import a_row


class Ledger:
    """A store that can be switched off, in front of a real one."""

    def __init__(self, config: Metering) -> None:
        self.away = False
        self.batches: list[list[str]] = []
        self._real = open_store(config)

    def connect(self) -> Store:
        if self.away:
            raise StoreLost("nobody answers")
        return self

    def write(self, statements: Iterable[Statement]) -> None:
        if self.away:
            raise StoreLost("it broke")
        statements = list(statements)
        self._real.write(statements)
        for sql, runs in statements:
            if "INTO usage" in sql:
                self.batches.append([str(run[0]) for run in runs])

    def read(self, sql: str, values: Values = ()) -> list[tuple[Any, ...]]:
        return self._real.read(sql, values)

    def close(self) -> None:
        pass

    def ids(self) -> list[str]:
        return [row[0] for row in self._real.read("SELECT id FROM usage ORDER BY id")]

    def end(self) -> None:
        self._real.close()


class Desk:
    """A clerk with a ledger, and a pile of rows before it; turned by hand."""

    def __init__(self, folder: Path, *, strict: bool = False, **more: Any) -> None:
        config = settings(folder, batch_rows=3, **more)
        self.ledger = Ledger(config)
        self.journal = Journal(config.spill_dir, "me", config.spill_bytes)
        self.journal.open()
        self.events: list[str] = []
        self.pile: list[Item] = []
        self.seen_minutes: list[tuple[int, str, float, float]] = []
        book = Book(Prices())
        self.clerk = Clerk(config, book, self.journal, self, self.ledger.connect, self._event)
        self._strict = strict

    def add(self, *rows: Row) -> None:
        """Rows that wait; with ``strict`` they are on the disk first."""
        kept = self._strict and self.journal.append([row_line(row) for row in rows])
        self.pile += [(row, kept) for row in rows]

    def take(self, most: int) -> list[Item]:
        taken, self.pile = self.pile[:most], self.pile[most:]
        return taken

    def minutes(self) -> list[tuple[int, str, float, float]]:
        return self.seen_minutes

    def rotate(self) -> tuple[Path, ...]:
        return self.journal.rotate()

    def soon(self) -> None:
        """As if time had passed: the clerk tries again, and tidies up."""
        self.clerk._link.hurry()
        self.clerk._rotate_at = self.clerk._tidy_at = 0.0

    def _event(self, name: str, **_: object) -> None:
        self.events.append(name)

    def close(self) -> None:
        self.journal.close()
        self.ledger.end()


def rows(*numbers: int) -> list[Row]:
    return [a_row(f"{number:03}") for number in numbers]


def test_rows_are_written_in_batches(tmp_path: Path) -> None:
    """In their order, no batch larger than configured."""
    desk = Desk(tmp_path)
    desk.add(*rows(*range(7)))
    desk.clerk.turn()

    assert [3, 3, 1] == [len(batch) for batch in desk.ledger.batches]
    assert [f"{n:03}" for n in range(7)] == [row for each in desk.ledger.batches for row in each]
    assert (7, 3, 0) == (desk.clerk.written, desk.clerk.batches, desk.journal.size_bytes)
    desk.close()


def test_an_outage_loses_nothing_and_keeps_the_order(tmp_path: Path) -> None:
    """Rows spill to the disk and are replayed before newer ones; said once each."""
    desk = Desk(tmp_path)
    desk.add(*rows(0))
    desk.clerk.turn()
    desk.ledger.away = True
    for number in range(1, 6):
        desk.add(*rows(number))
        desk.clerk.turn()
    assert (5, 0, False) == (desk.clerk.spilled, desk.clerk.dropped, desk.clerk.up)

    desk.ledger.away = False
    desk.soon()
    desk.add(*rows(6))
    desk.clerk.turn()
    desk.add(*rows(7))
    desk.clerk.turn()

    assert [f"{n:03}" for n in range(8)] == [row for each in desk.ledger.batches for row in each]
    assert ["ledger_back", "ledger_lost", "ledger_back"] == desk.events
    assert 0 == desk.journal.size_bytes
    desk.close()


def test_a_batch_that_breaks_is_written_again(tmp_path: Path) -> None:
    """Where nobody knows whether a commit came through, the row still counts once."""
    desk = Desk(tmp_path)
    desk.add(*rows(0, 1))
    desk.clerk.turn()
    desk.add(*rows(0, 1, 2))  # as after a commit whose answer was lost
    desk.ledger.away = True
    desk.clerk.turn()
    desk.ledger.away = False
    desk.soon()
    desk.clerk.turn()

    assert ["000", "001", "002"] == desk.ledger.ids()
    desk.close()


def test_the_disk_has_a_bound(tmp_path: Path) -> None:
    """What does not fit is dropped and counted, said once; what fitted comes back."""
    desk = Desk(tmp_path, spill_bytes=64 * 1024)
    desk.ledger.away = True
    many = 2 * 64 * 1024 // len(row_line(a_row("000")))
    desk.add(*rows(*range(many)))
    desk.clerk.turn()
    kept, dropped = desk.clerk.spilled, desk.clerk.dropped
    assert (many, True, True) == (kept + dropped, kept > 0, dropped > 0)
    assert ["ledger_rows_dropped"] == desk.events

    desk.ledger.away = False
    desk.soon()
    desk.clerk.turn()
    assert kept == len(desk.ledger.ids())
    desk.close()


def test_strict_rows_leave_the_disk_when_they_are_in_the_ledger(tmp_path: Path) -> None:
    """Not before: an outage between the two loses nothing."""
    desk = Desk(tmp_path, strict=True)
    desk.ledger.away = True
    desk.add(*rows(*range(5)))
    desk.clerk.turn()
    assert (0, True) == (desk.clerk.spilled, desk.journal.size_bytes > 0)

    desk.ledger.away = False
    desk.soon()
    desk.clerk.turn()
    assert [f"{n:03}" for n in range(5)] == desk.ledger.ids()
    assert 0 == desk.journal.size_bytes
    desk.close()


def test_what_a_killed_process_left_is_written(tmp_path: Path) -> None:
    """Rows as they were, and what had begun by estimate: the mean answer of its model."""
    dead = Journal(tmp_path / "spill", "dead", 1 << 20)
    dead.open()
    begun = [
        Begun(i, a_row("x").at_us, "req", "acme", "k", "/v1/completions", "m", "m", 7, most)
        for i, most in (("a", 0), ("b", 0), ("c", 5))
    ]
    dead.append([begun_line(each) for each in begun])
    dead.append([row_line(a_row("a"))])
    dead.close()
    desk = Desk(tmp_path)
    now_us = int(time.time() * 1e6)
    desk.add(a_row("p", tokens_out=10, at_us=now_us), a_row("q", tokens_out=20, at_us=now_us))
    desk.clerk.turn()

    assert [("a", 20, "completed"), ("b", 15, "lost"), ("c", 5, "lost")] == desk.ledger.read(
        "SELECT id, tokens_out, outcome FROM usage WHERE id < 'p' ORDER BY id"
    )
    assert (2, "ledger_recovered" in desk.events) == (desk.clerk.lost, True)
    assert ["me.lock"] == [path.name for path in (tmp_path / "spill").iterdir()]
    desk.close()


def test_a_bad_row_does_not_keep_others_out(tmp_path: Path) -> None:
    """What no column takes is dropped and told; the rest of its batch is written."""
    desk = Desk(tmp_path)
    desk.add(a_row("1"), a_row("2", cost=2**70), a_row("3"))
    desk.clerk.turn()

    assert ["1", "3"] == desk.ledger.ids()
    assert (1, ["ledger_row_refused"]) == (desk.clerk.dropped, desk.events[:1])
    desk.close()


def test_old_rows_are_forgotten(tmp_path: Path) -> None:
    """Those beyond the retention, and only those."""
    desk = Desk(tmp_path, retention_days=2)
    day_us = 86_400_000_000
    now_us = int(time.time() * 1e6)
    desk.add(a_row("old", at_us=now_us - 3 * day_us), a_row("new", at_us=now_us - day_us))
    desk.clerk.turn()
    desk.soon()
    desk.clerk.turn()

    assert ["new"] == desk.ledger.ids()
    desk.close()


def test_presence_of_several_gateways_is_not_added_up(tmp_path: Path) -> None:
    """Of a minute that two saw, the longer look counts."""
    desk = Desk(tmp_path)
    for seconds in (10.0, 30.0, 20.0):
        desk.seen_minutes = [(5, "gpu-1", seconds, seconds / 2)]
        desk.soon()
        desk.clerk.turn()

    assert [(5, "gpu-1", 30.0, 15.0)] == desk.ledger.read("SELECT * FROM presence")
    desk.close()
