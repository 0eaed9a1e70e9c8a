"""The ledger in PostgreSQL, by asyncpg. What is asked of it is stores.py's."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg

from headrace.config.metering import Metering
from headrace.metering.stores import Statement, StoreLost, StoreRefused, Values, missing

# Of PostgreSQL's advisory locks, the one under which the schema is changed: "headrace" as a number.
SCHEMA_LOCK = 0x6865_6164_7261_6365


class PostgresStore:
    """
    One connection, used by one thread at a time, with an event loop of its own: the driver is
    asynchronous, and gives up in time even on a server that has frozen.
    """

    def __init__(self, config: Metering) -> None:
        self._timeout_s = config.timeout_s
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._db: asyncpg.Connection | None = None
        try:
            with _losing():
                self._db = self._run(
                    lambda: asyncpg.connect(config.address, timeout=config.timeout_s)
                )
                self._run(self._migrate)
        except BaseException:
            self.close()
            raise

    def write(self, statements: Iterable[Statement]) -> None:
        """Run all of them, or none (``Store``)."""
        with _losing():
            self._run(lambda: self._write(statements))

    def read(self, sql: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """The rows that a query finds (``Store``)."""
        with _losing():
            found = self._run(lambda: self._connection.fetch(sql, *values))
        return [tuple(record) for record in found]

    def close(self) -> None:
        """Drop the connection (``Store``): a polite goodbye could wait for a frozen server."""
        if self._db is not None:
            self._db.terminate()
        self._runner.close()

    async def _write(self, statements: Iterable[Statement]) -> None:
        async with self._connection.transaction():
            for sql, runs in statements:
                await self._connection.executemany(sql, [*map(_without_nul, runs)])

    async def _migrate(self) -> None:
        db = self._connection
        async with db.transaction():
            await db.execute("SELECT pg_advisory_xact_lock($1)", SCHEMA_LOCK)
            await db.execute("CREATE TABLE IF NOT EXISTS headrace_schema (version BIGINT)")
            applied = await db.fetch("SELECT version FROM headrace_schema")
            for step in missing(record[0] for record in applied):
                for sql in step.statements:
                    await db.execute(sql)
                await db.execute("INSERT INTO headrace_schema VALUES ($1)", step.version)

    @property
    def _connection(self) -> asyncpg.Connection:
        if self._db is None:
            raise StoreLost("is not connected")
        return self._db

    def _run(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        async def bounded() -> Any:
            async with asyncio.timeout(self._timeout_s):
                return await ask()

        return self._runner.run(bounded())


def _without_nul(values: Values) -> tuple[Any, ...]:
    """PostgreSQL's texts hold no NUL, but a client's name for a model may: its row counts, too."""
    return tuple(
        each.replace("\0", "\ufffd") if isinstance(each, str) and "\0" in each else each
        for each in values
    )


@contextmanager
def _losing() -> Iterator[None]:
    try:
        yield
    except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, ValueError) as error:
        raise StoreRefused(f"{type(error).__name__}: {error}") from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        raise StoreLost(f"{type(error).__name__}: {error}".rstrip(": ")) from error
