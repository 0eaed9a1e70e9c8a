"""shared.py: a book in a real Redis, as many gateways use it."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from headrace.admission.book import Book, Clerk, Tenant
from headrace.admission.keys import Key, Secret
from headrace.admission.shared import NAME, SharedStore
from headrace.errors import ConfigError, StateLost
from headrace.state.redis import Link, Silent
from headrace.state.table import Table
from tests.state.server import RedisServer

NOW = datetime(2026, 11, 21, tzinfo=UTC)
CLERK = Clerk("me", NOW)


def key(name: str) -> Key:
    return Key(name, "default", NOW, (Secret("hr-aaaaaaaa", "00"),))


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    server = RedisServer(tmp_path).start()
    yield server
    server.kill()


@pytest.fixture
async def table(server: RedisServer) -> AsyncIterator[Table]:
    link = Link(server.config(), Silent(), Silent())
    yield Table(link, NAME)
    await link.stop()


async def test_a_book_comes_back(table: Table) -> None:
    """Keys, tenants, pepper and notes are read as they were written; the stamp differs."""
    store = SharedStore(table)
    before = await store.stamp()
    written = await store.change(lambda book: CLERK.create(book, key("a"), "mark"))
    later = Clerk("me", NOW + timedelta(seconds=1))
    written = await store.change(lambda book: later.keep(book, Tenant("acme", models=("m",))))

    assert written == await SharedStore(table).load()
    assert before != await store.stamp()
    assert ["key_created", "tenant_created"] == [note.action for note in written.audit]


async def test_times_of_use_are_no_change(table: Table) -> None:
    """They are kept without a new stamp, and survive later changes."""
    store = SharedStore(table)
    await store.change(lambda book: CLERK.create(book, key("a"), "mark"))
    stamp = await store.stamp()
    await store.touch({"a": NOW})
    await store.touch({})

    assert stamp == await store.stamp()
    await store.change(lambda book: CLERK.revoke(book, "a"))
    assert {"a": NOW} == (await store.load()).used


async def test_one_name_twice_at_the_same_moment(table: Table) -> None:
    """Of two who make a key of one name at the same moment, one is refused."""
    one, two = SharedStore(table), SharedStore(table)

    def late(book: Book) -> Book:
        return CLERK.create(msgspec.structs.replace(book, keys={}), key("a"), "mark")

    await one.change(lambda book: CLERK.create(book, key("a"), "mark"))
    await table.drop(["key/a"])
    rows = (await table.all()).rows
    await two.change(late)

    assert "key/a" not in rows
    with pytest.raises(ConfigError, match="already"):
        await two.change(lambda book: CLERK.create(book, key("a"), "mark"))


async def test_tenants_go(table: Table) -> None:
    """A tenant that was removed is gone for all."""
    store = SharedStore(table)
    await store.change(lambda book: CLERK.keep(book, Tenant("acme")))
    await store.change(lambda book: CLERK.drop(book, "acme"))

    assert {} == (await SharedStore(table).load()).tenants


async def test_no_book(table: Table) -> None:
    """A row that is none of ours is said to be so."""
    await table.put({"key/a": b"{"})
    with pytest.raises(ConfigError, match="holds no book of keys"):
        await SharedStore(table).load()


async def test_redis_is_gone(server: RedisServer, table: Table) -> None:
    """Whoever asks learns that the state is lost."""
    server.kill()
    with pytest.raises(StateLost):
        await SharedStore(table).load()
