"""The seam to a database: the schema, what is written for good, and what a report may read."""

import threading
from pathlib import Path

import pytest

from headrace.config.metering import Metering
from headrace.errors import ConfigError, StartError
from headrace.metering.rows import Row
from headrace.metering.statements import INSERT_USAGE
from headrace.metering.stores import (
    Statement,
    StoreLost,
    StoreRefused,
    migrations,
    open_store,
    reading,
)
from tests.metering.conftest import settings
from tests.metering.rows import a_row, values

COUNT = "SELECT COUNT(*) FROM usage"


def insert(*rows: Row) -> Statement:
    return Statement(INSERT_USAGE, [values(row) for row in rows])


def test_rows_come_back_as_they_were(ledger: Metering) -> None:
    """A row has the same values in it that were written, in SQLite and in PostgreSQL."""
    written = a_row("a", ttft_ms=None, tokens_in=2**40)
    store = open_store(ledger)
    store.write([insert(written)])
    columns = ", ".join(Row.__struct_fields__)

    assert [values(written)] == store.read(f"SELECT {columns} FROM usage")
    store.close()


def test_a_row_that_is_written_twice_counts_once(ledger: Metering) -> None:
    """Batches may be repeated, with rows in them that are new."""
    store = open_store(ledger)
    store.write([insert(a_row("a"), a_row("b"))])
    store.write([insert(a_row("a"), a_row("a"), a_row("c"))])

    assert [(3,)] == store.read(COUNT)
    store.close()


def test_all_or_none(ledger: Metering) -> None:
    """Where a statement fails nothing of the batch is kept, and the store goes on."""
    store = open_store(ledger)
    with pytest.raises(StoreLost):
        store.write([insert(a_row("a")), Statement("INSERT INTO nowhere VALUES ($1)", [(1,)])])

    assert [(0,)] == store.read(COUNT)
    store.close()


def test_values_that_no_column_takes_are_refused(ledger: Metering) -> None:
    """A bad value is told from a database that is away."""
    store = open_store(ledger)
    with pytest.raises(StoreRefused):
        store.write([insert(a_row("a", cost=2**70))])

    store.write([insert(a_row("a"))])
    assert [(1,)] == store.read(COUNT)
    store.close()


def test_a_name_with_a_nul_in_it(ledger: Metering) -> None:
    """Clients choose the name that they use for a model: none of them makes a row go missing."""
    store = open_store(ledger)
    store.write([insert(a_row("a", asked="m\0n"), a_row("b"))])

    (asked,), (_,) = store.read("SELECT asked FROM usage ORDER BY id")
    assert asked.replace("\0", "\ufffd") == "m\ufffdn"
    store.close()


def test_gateways_that_start_together_make_one_schema(ledger: Metering) -> None:
    """The steps of the schema are taken once, whoever comes first."""
    failures: list[BaseException] = []

    def start() -> None:
        try:
            open_store(ledger).close()
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = open_store(ledger)

    assert [] == failures
    assert [(step.version,) for step in migrations()] == store.read(
        "SELECT version FROM headrace_schema ORDER BY 1"
    )
    store.close()


def test_a_newer_schema_is_refused(ledger: Metering) -> None:
    """An old program does not write into what it does not know."""
    store = open_store(ledger)
    store.write([Statement("INSERT INTO headrace_schema VALUES ($1)", [(9999,)])])
    store.close()

    with pytest.raises(StartError, match="schema of a newer Headrace"):
        open_store(ledger)


def test_a_report_needs_a_ledger(tmp_path: Path) -> None:
    """What is missing is told: the setting, or the file."""
    with pytest.raises(ConfigError, match=r"set `metering\.url`"), reading(Metering()):
        pass
    with pytest.raises(StartError, match="There is no ledger at"), reading(settings(tmp_path)):
        pass

    assert not (tmp_path / "usage.db").exists()


def test_a_report_says_that_the_ledger_is_away(tmp_path: Path) -> None:
    """An error names the ledger, without its password."""
    away = settings(tmp_path, url="postgresql://me:secret@127.0.0.1:9/usage")

    with pytest.raises(StartError, match="Cannot read the ledger") as caught, reading(away):
        pass
    assert "secret" not in str(caught.value)
