"""The ledger in an SQLite file, with the standard library. What is asked of it is stores.py's."""

import re
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from headrace.config.metering import Metering
from headrace.metering.stores import (
    Statement,
    StoreLost,
    StoreRefused,
    Values,
    missing,
    sqlite_path,
)

SWITCH_S = 0.02  # between attempts to switch a new file to its mode


class SqliteStore:
    """
    One connection, used by one thread at a time.

    The log is written ahead, so that reports do not stop writers. A commit survives the end of the
    process; with ``strict``, where it replaces what was on disk already, the machine's, too.
    """

    def __init__(self, config: Metering) -> None:
        path = Path(sqlite_path(config)).expanduser()
        with _losing():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                path, timeout=config.timeout_s, isolation_level=None, check_same_thread=False
            )
        try:
            with _losing():
                self._write_ahead(config.timeout_s)
                level = "FULL" if config.durability == "strict" else "NORMAL"
                self._db.execute(f"PRAGMA synchronous={level}")
                self._migrate()
        except BaseException:
            self._db.close()
            raise

    def write(self, statements: Iterable[Statement]) -> None:
        """Run all of them, or none (``Store``)."""
        with _losing(), self._transaction():
            for sql, runs in statements:
                self._db.executemany(_marks(sql), runs)

    def read(self, sql: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """The rows that a query finds (``Store``)."""
        with _losing():
            return self._db.execute(_marks(sql), tuple(values)).fetchall()

    def close(self) -> None:
        """Close the file (``Store``)."""
        self._db.close()

    def _write_ahead(self, timeout_s: float) -> None:
        """The switch does not wait for another process that makes it at the same time."""
        until = time.monotonic() + timeout_s
        while True:
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
            except sqlite3.OperationalError:
                if time.monotonic() > until:
                    raise
                time.sleep(SWITCH_S)
            else:
                return

    def _migrate(self) -> None:
        """``BEGIN IMMEDIATE`` lets one gateway do it while the others wait."""
        with self._transaction():
            self._db.execute("CREATE TABLE IF NOT EXISTS headrace_schema (version BIGINT)")
            applied = self._db.execute("SELECT version FROM headrace_schema").fetchall()
            for step in missing(version for (version,) in applied):
                for sql in step.statements:
                    self._db.execute(sql)
                self._db.execute("INSERT INTO headrace_schema VALUES (?)", (step.version,))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise


@lru_cache(maxsize=256)
def _marks(sql: str) -> str:
    return re.sub(r"\$\d+", "?", sql)


@contextmanager
def _losing() -> Iterator[None]:
    try:
        yield
    except (sqlite3.DataError, sqlite3.IntegrityError, OverflowError, ValueError) as error:
        raise StoreRefused(f"{type(error).__name__}: {error}") from error
    except (sqlite3.Error, OSError) as error:
        raise StoreLost(f"{type(error).__name__}: {error}") from error
