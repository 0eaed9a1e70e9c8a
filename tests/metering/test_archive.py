"""archive.py: decision records in a database, and what becomes of them when it is away."""

import random
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.config.metering import Metering
from headrace.config.tracing import Archive as Config
from headrace.errors import StartError
from headrace.metering.archive import Archive, Stored, place
from headrace.metering.clock import Clock
from headrace.metering.stores import Statement, Store, StoreLost, StoreRefused, open_store
from headrace.telemetry.decisions import Facts, Story
from headrace.telemetry.records import Record
from tests.metering.cluster import Cluster
from tests.metering.conftest import DATABASES

NOW = datetime.now(UTC)
FACTS = Facts("/v1/chat/completions", "m", stream=True, prompt_tokens=3)


class Kept:
    """A record; ``record`` is what nobody here asks for."""

    size, sampled = 100, False

    def __init__(self, name: str, outcome: str = "completed", ended: datetime = NOW) -> None:
        self.story = Story(name, NOW, ended, outcome, 200, 12.5, FACTS, ())

    @property
    def record(self) -> Record:
        raise NotImplementedError

    def tell(self) -> Story:
        return self.story


class Flaky:
    """A store that is there only when it likes."""

    def __init__(self) -> None:
        self.error: StoreLost | None = None
        self.rows: list[Any] = []

    def open(self, _: Metering) -> Store:
        if self.error is not None and not isinstance(self.error, StoreRefused):
            raise self.error
        return self

    def write(self, statements: Iterable[Statement]) -> None:
        if self.error is not None:
            raise self.error
        self.rows += [run for each in statements if "INSERT" in each.sql for run in each.runs]

    def read(self, _sql: str, _values: Any = ()) -> list[tuple[Any, ...]]:
        return []

    def close(self) -> None: ...


def archive(url: str, told: list[str], connect: Any = open_store, **more: Any) -> Archive:
    config = Config.model_validate({"url": url, **more})
    return Archive(config, lambda name, **_: told.append(name), random.Random(7), connect)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:{tmp_path}/records.db"


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of each kind, empty."""
    if request.param == "sqlite":
        return f"sqlite:{tmp_path}/records.db"
    server: Cluster = request.getfixturevalue("cluster")
    return server.database(f"records{next(DATABASES)}")


def names(url: str) -> list[str]:
    """The records of a database, whoever wrote them."""
    store = open_store(place(Config.model_validate({"url": url})))
    found = store.read("SELECT request_id FROM decision ORDER BY request_id")
    store.close()
    return [row[0] for row in found]


def test_two_gateways_have_one_archive(database: str) -> None:
    """They write at the same time, and each finds what the other wrote; restarts change nothing."""
    told: list[str] = []
    for turn in range(2):
        both = archive(database, told), archive(database, told)
        for gateway, one in enumerate(both):
            one.open()
            for number in range(300):
                one.offer(Kept(f"{turn}-{gateway}-{number}"), "")
            one.start()
        for one in both:
            one.stop()
        assert [300, 300] == [one.seen().written for one in both]
        assert both[0].find(f"{turn}-1-299") is not None

    assert 1200 == len(set(names(database))) == len(names(database))
    assert [] == told


def test_retention(database: str) -> None:
    """In each kind of database old records go, and only those; not by a clock that jumped."""
    told: list[str] = []
    one = archive(database, told, retention_h=1)
    one.open()
    today = [time.time()]
    one._clock = Clock(lambda: today[0])
    one.offer(Kept("old", ended=NOW - timedelta(hours=2)), "")
    one.offer(Kept("new"), "")
    one.turn()
    today[0] += 86_400
    one._tidy_at = 0.0
    one.turn()
    _close(one)

    assert ["new"] == names(database)


def test_an_outage_while_it_writes(cluster: Cluster) -> None:
    """PostgreSQL crashes, comes back, freezes: what is kept comes later, each record once."""
    told: list[str] = []
    url = cluster.database(f"records{next(DATABASES)}")
    one = archive(url, told, timeout_s=0.5)
    one.open()
    one.offer(Kept("before"), "")
    one.turn()
    cluster.stop()
    try:
        one.offer(Kept("crashed"), "")
        one.turn()
    finally:
        cluster.start()
    _reached(one)
    with cluster.frozen():
        one.offer(Kept("frozen"), "")
        one.turn()
    _reached(one)
    _close(one)

    assert ["archive_lost", "archive_back"] * 2 == told
    assert Stored(up=True, written=3) == one.seen()
    assert ["before", "crashed", "frozen"] == names(url)


def _close(one: Archive) -> None:
    """The thread closes the database that it had."""
    one.start()
    one.stop()


def _reached(one: Archive) -> None:
    """Let it write until it has; the server may need a moment."""
    for _ in range(100):
        one._link.hurry()
        one.turn()
        if not one.seen().waiting:
            return
        time.sleep(0.05)


def test_a_write_whose_answer_was_lost(database: str) -> None:
    """It is written again, and the record is there once."""
    told: list[str] = []

    class Deaf:
        """A store that does what it is asked for, and breaks before it says so, once."""

        def __init__(self, config: Metering) -> None:
            self._store = open_store(config)
            self.write = self._breaks

        def _breaks(self, statements: Iterable[Statement]) -> None:
            self._store.write(statements)
            raise StoreLost("reset")

        def read(self, sql: str, values: Any = ()) -> list[tuple[Any, ...]]:
            return self._store.read(sql, values)

        def close(self) -> None:
            self._store.close()

    stores: list[Any] = [open_store, Deaf]

    def connect(config: Metering) -> Store:
        store: Store = stores.pop()(config)
        return store

    one = archive(database, told, connect)
    one.open()
    one.offer(Kept("once"), "")
    one.turn()
    one._link.hurry()
    one.turn()
    _close(one)

    assert ["once"] == names(database)
    assert ["archive_lost", "archive_back"] == told


def test_one_record_that_is_refused_keeps_no_others_out(database: str) -> None:
    """A client's odd name for a model is kept, and what cannot be written is dropped alone."""
    told: list[str] = []
    one = archive(database, told)
    one.open()
    odd = Kept("odd")
    odd.story = msgspec.structs.replace(odd.story, served="m\0n")
    wrong = Kept("wrong")
    wrong.story = msgspec.structs.replace(wrong.story, total_ms="none")
    for kept in (Kept("first"), odd, wrong, Kept("last")):
        one.offer(kept, "")
    one.turn()
    _close(one)

    expected = ["first", "last", "odd"] + ["wrong"] * database.startswith("sqlite")
    assert expected == names(database)
    assert len(expected) == one.seen().written


def test_what_is_written_is_found(url: str) -> None:
    """By its id, the latest of several, with all that it holds; by another gateway, too."""
    told: list[str] = []
    first, other = archive(url, told), archive(url, told)
    first.open()
    older = NOW - timedelta(seconds=5)
    first.offer(Kept("twice", "client_gone"), "")
    first.offer(Kept("twice", "timed_out_queue", older), "error")
    first.offer(Kept("once"), "")
    first.start()
    first.stop()

    assert Stored(up=True, written=3) == first.seen()
    found = other.find("twice")
    assert found == Kept("twice", "client_gone").story
    assert other.find("never") is None
    assert [] == told


def test_what_is_old_goes(url: str) -> None:
    """Records older than the retention are removed when the archive tidies up."""
    told: list[str] = []
    one = archive(url, told, retention_h=1)
    one.open()
    one.offer(Kept("old", ended=NOW - timedelta(hours=2)), "")
    one.offer(Kept("new"), "")
    one.turn()
    one.start()
    one.stop()

    assert one.find("old") is None
    assert one.find("new") is not None


def test_share(url: str) -> None:
    """So much of the usual is kept, and all of the notable."""
    flaky, told = Flaky(), list[str]()
    one = archive(url, told, flaky.open, share=0.25)
    one.open()
    for number in range(800):
        one.offer(Kept(f"usual {number}"), "")
        if number % 10 == 0:
            one.offer(Kept(f"notable {number}"), "retried")
    one.turn()
    names = [row[2] for row in flaky.rows]

    assert 80 == sum(name.startswith("notable") for name in names)
    assert 0.25 == pytest.approx(sum(name.startswith("usual") for name in names) / 800, abs=0.05)


def test_a_database_that_is_away(url: str) -> None:
    """Records wait, as many as may; nothing else waits; both its loss and its return are told."""
    flaky, told = Flaky(), list[str]()
    flaky.error = StoreLost("connection refused")
    one = archive(url, told, flaky.open, queue=100)
    one.open()
    for number in range(150):
        one.offer(Kept(str(number)), "")
    one.turn()
    assert Stored(waiting=100, dropped=50) == one.seen()

    flaky.error = None
    one._link.hurry()
    one.turn()
    flaky.error = StoreLost("reset")
    one.offer(Kept("later"), "")
    one.turn()

    assert ["archive_lost", "archive_back", "archive_lost"] == told
    assert Stored(waiting=1, written=100, dropped=50) == one.seen()


def test_what_the_database_refuses(url: str) -> None:
    """Records that it will never take do not keep the others out."""
    flaky, told = Flaky(), list[str]()
    one = archive(url, told, flaky.open)
    one.open()
    flaky.error = StoreRefused("too long")
    one.offer(Kept("odd"), "")
    one.turn()

    assert Stored(up=False, dropped=1) == one.seen()._replace(up=False)
    assert "archive_refused" == told[0]


def test_a_fault_does_not_end_the_thread(url: str) -> None:
    """Whatever goes wrong is in the log."""
    told: list[str] = []
    one = archive(url, told, Flaky().open)
    one.open()
    broken = Kept("broken")
    broken.story = None  # type: ignore[assignment] # which nothing can tell
    one.offer(broken, "")
    one._rounds.once()

    assert ["archive_fault"] == told


def test_no_archive_yet(url: str) -> None:
    """Who asks before a gateway has made the file is told so."""
    with pytest.raises(StartError, match=r"There is no ledger at .*records\.db yet"):
        archive(url, []).find("r")


def test_the_ledger_may_be_the_place(url: str) -> None:
    """Both may have one database: the schema has both."""
    config = Config.model_validate({"url": url})
    store = open_store(place(config))
    rows = store.read("SELECT COUNT(*) FROM decision, usage")
    store.close()

    assert [(0,)] == rows
