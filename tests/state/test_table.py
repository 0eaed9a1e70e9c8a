"""A small table in the shared state, as keys are kept in."""

from collections.abc import AsyncIterator

import pytest

from headrace.errors import StateLost
from headrace.state.redis import Link
from headrace.state.table import Contents, Table
from tests.state.server import RedisServer


@pytest.fixture
async def table(server: RedisServer) -> AsyncIterator[Table]:
    link = Link(server.config())
    yield Table(link, "keys")
    await link.stop()


async def test_a_new_table_is_empty(table: Table) -> None:
    """Nobody has written to it: no version, no rows."""
    assert Contents("", {}) == await table.all()
    assert "" == await table.version()
    assert await table.get("a") is None


async def test_changes_change_the_version(table: Table) -> None:
    """Each change gives another version, which comes with the rows that it made."""
    await table.put({"a": b"1", "b": b"2"})
    first = await table.all()
    await table.drop(["a", "unknown"])
    second = await table.all()

    assert {"a": b"1", "b": b"2"} == first.rows
    assert {"b": b"2"} == second.rows
    assert "" != first.version != second.version
    assert second.version == await table.version()
    assert b"2" == await table.get("b")


async def test_silent_writes_keep_it(table: Table) -> None:
    """Times of last use are written without making all readers read again."""
    await table.put({"a": b"1"})
    before = await table.version()
    await table.put({"a": b"2"}, silent=True)

    assert Contents(before, {"a": b"2"}) == await table.all()


async def test_a_row_is_added_once(table: Table) -> None:
    """Of two who add the same name one is told no, and the row stays what it was."""
    assert await table.add("a", b"1")
    assert not await table.add("a", b"2")
    assert b"1" == await table.get("a")


async def test_no_server_is_an_error(table: Table, server: RedisServer) -> None:
    """Without a server each method says so."""
    server.kill()
    for asked in (table.version(), table.all(), table.put({"a": b""}), table.drop(["a"])):
        with pytest.raises(StateLost):
            await asked
