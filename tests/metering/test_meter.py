"""The meter as the gateway has it: what it costs a request, outages, what strict promises."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.config.metering import Metering
from headrace.errors import StartError
from headrace.metering.meter import Meter, begun_at, spill_folder
from headrace.metering.rows import Begun
from headrace.metering.stores import open_store
from headrace.metering.ticket import Ticket
from tests.metering.cluster import Cluster
from tests.metering.conftest import settings
from tests.metering.rows import a_record


class Meters:
    """Meters that are stopped at the end, and what they wrote to the log."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.replicas: list[tuple[str, bool]] = []
        self._running: list[Meter] = []

    async def start(self, config: Metering) -> Meter:
        meter = Meter(config, lambda name, **_: self.events.append(name), lambda: self.replicas)
        await meter.open()
        meter.start()
        self._running.append(meter)
        return meter

    async def stop(self) -> None:
        while self._running:
            await self._running.pop().stop()


@pytest.fixture
async def meters() -> AsyncIterator[Meters]:
    meters = Meters()
    yield meters
    await meters.stop()


async def read(config: Metering, sql: str) -> list[tuple[Any, ...]]:
    def reading() -> list[tuple[Any, ...]]:
        store = open_store(config)
        try:
            return store.read(sql)
        finally:
            store.close()

    return await asyncio.to_thread(reading)


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(45):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def begin(meter: Meter, prompt_tokens: int = 7) -> Ticket:
    facts = Begun(
        meter.identity(), begun_at(), "req", "acme", "k", "/v1/x", "m", "m", prompt_tokens, 0
    )
    return meter.begin(facts)


async def test_what_ended_is_in_the_ledger(ledger: Metering, meters: Meters) -> None:
    """All of it once the meter has stopped, in each kind of ledger, with its tenant."""
    meter = await meters.start(ledger)
    for number in range(2500):
        meter.settled(a_record(f"req-{number}", tenant=f"t{number % 2}"), None)
    await meters.stop()

    assert [("t0", 1250, 125_000), ("t1", 1250, 125_000)] == [
        (tenant, count, int(tokens))
        for tenant, count, tokens in await read(
            ledger, "SELECT tenant, COUNT(*), SUM(tokens_in) FROM usage GROUP BY 1 ORDER BY 1"
        )
    ]


async def test_a_repeated_request_id_is_charged_each_time(tmp_path: Path, meters: Meters) -> None:
    """A client that sends its x-request-id twice does not ride for free."""
    config = settings(tmp_path)
    meter = await meters.start(config)
    for _ in range(3):
        meter.settled(a_record("mine"), None)
    await meters.stop()

    assert [(3,)] == await read(config, "SELECT COUNT(*) FROM usage WHERE request_id = 'mine'")


async def test_a_request_pays_an_append(tmp_path: Path, meters: Meters) -> None:
    """In batch mode a request only appends: nothing is made of it before its batch is due."""
    meter = await meters.start(settings(tmp_path, interval_s=60))
    for _ in range(50):
        meter.settled(a_record(), None)
    await asyncio.sleep(0.05)

    assert 50 == meter.seen().waiting


async def test_an_outage_of_postgres_blocks_nothing(cluster: Cluster, tmp_path: Path) -> None:
    """A server that crashes, and one that freezes: rows spill and come back, each once."""
    meters = Meters()
    config = settings(tmp_path, url=cluster.database("outage"), timeout_s=3)
    meter = await meters.start(config)
    for outage in ("crash", "freeze"):
        meter.settled(a_record(f"before-{outage}"), None)
        await eventually(lambda: meter.seen().waiting == 0)
        if outage == "crash":
            cluster.stop()
            await _spills(meter, outage)
            cluster.start()
        else:
            with cluster.frozen():
                await _spills(meter, outage)
        await eventually(lambda: meter.seen().up and not meter.seen().spill_bytes)
    await meters.stop()

    assert [(42, 42)] == await read(
        config, "SELECT COUNT(*), COUNT(DISTINCT request_id) FROM usage"
    )
    assert ["ledger_lost", "ledger_back"] * 2 == meters.events


async def _spills(meter: Meter, outage: str) -> None:
    """Twenty requests end meanwhile, none of which waits."""
    spilled = meter.seen().rows["spilled"]
    for number in range(20):
        began = time.thread_time()  # not what others took of the machine
        meter.settled(a_record(f"{outage}-{number}"), None)
        assert time.thread_time() - began < 0.1
        await asyncio.sleep(0)
    await eventually(lambda: meter.seen().rows["spilled"] >= spilled + 20 and not meter.seen().up)


async def test_postgres_may_be_away_at_the_start(cluster: Cluster, tmp_path: Path) -> None:
    """That is an outage like any other: the gateway starts, and says so."""
    meters = Meters()
    config = settings(tmp_path, url=cluster.database("later"), timeout_s=1)
    cluster.stop()
    try:
        meter = await meters.start(config)
        meter.settled(a_record(), None)
        await eventually(lambda: meter.seen().rows["spilled"] == 1)
    finally:
        cluster.start()
    await eventually(lambda: meter.seen().up)
    await meters.stop()

    assert [(1,)] == await read(config, "SELECT COUNT(*) FROM usage")


async def test_a_file_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    """What is wrong is told: the ledger, or the folder for what spills."""
    (tmp_path / "file").touch()

    with pytest.raises(StartError, match="Cannot open the ledger"):
        await Meters().start(settings(tmp_path, url=f"sqlite:{tmp_path}/file/usage.db"))
    with pytest.raises(StartError, match=r"metering\.spill_dir"):
        await Meters().start(settings(tmp_path, spill_dir=tmp_path / "file" / "spill"))


# --- strict -----------------------------------------------------------------------------------


async def test_strict_lets_go_when_the_row_is_on_the_disk(tmp_path: Path, meters: Meters) -> None:
    """When an answer may end, its row can be read from the files, whatever the ledger does."""
    config = settings(tmp_path, durability="strict", interval_s=60)
    meter = await meters.start(config)
    ticket, sent = begin(meter), asyncio.Event()
    await asyncio.sleep(0.1)
    assert not ticket.released

    meter.settled(a_record("mine"), ticket)
    ticket.then(sent.set)
    await asyncio.wait_for(sent.wait(), 20)
    files = b"".join(path.read_bytes() for path in config.spill_dir.rglob("*.rows"))

    assert b'"mine"' in files


async def test_strict_shares_flushes(tmp_path: Path, meters: Meters) -> None:
    """Many requests that end at once wait for a few flushes, not for one each."""
    meter = await meters.start(settings(tmp_path, durability="strict"))
    tickets = [begin(meter) for _ in range(200)]
    commits = meter.seen().commits
    for ticket in tickets:
        meter.settled(a_record(), ticket)
    await eventually(lambda: all(ticket.released for ticket in tickets))

    assert meter.seen().commits - commits < 20


async def test_strict_without_a_disk_answers_and_counts(tmp_path: Path, meters: Meters) -> None:
    """A disk that refuses ends no answer: rows go to the ledger from memory."""
    config = settings(tmp_path, durability="strict")
    meter = await meters.start(config)
    config.spill_dir.rename(tmp_path / "gone")
    ticket = begin(meter)
    meter.settled(a_record("mine"), ticket)
    await eventually(lambda: ticket.released)
    await eventually(lambda: meter.seen().rows["written"] == 1)
    (tmp_path / "gone").rename(config.spill_dir)
    await meters.stop()

    assert [("mine",)] == await read(config, "SELECT request_id FROM usage")


async def test_a_disk_that_hangs_holds_an_answer_for_so_long(
    tmp_path: Path, meters: Meters
) -> None:
    """Then it goes on, and is counted."""
    meter = await meters.start(settings(tmp_path, durability="strict", hold_s=0.05))
    ticket = begin(meter)
    with meter._journal._lock:  # as if a flush did not return
        meter.settled(a_record(), ticket)
        await eventually(lambda: ticket.released)

    assert 1 == meter.seen().rows["unheld"]


async def test_replicas_are_noted(tmp_path: Path, meters: Meters) -> None:
    """Which are there, and which work, in seconds of a minute."""
    config = settings(tmp_path)
    meters.replicas = [("gpu-1", True), ("gpu-2", False)]
    meter = await meters.start(config)
    await eventually(lambda: len(meter.minutes()) >= 2)
    await meters.stop()
    seen = await read(
        config,
        "SELECT replica, SUM(up_s) > 0.9, SUM(busy_s) > 0.9 FROM presence GROUP BY 1 ORDER BY 1",
    )

    assert [("gpu-1", 1, 1), ("gpu-2", 1, 0)] == seen


def test_ledgers_do_not_share_what_spilled(tmp_path: Path) -> None:
    """Each gateway replays its own ledger's; a new password makes no difference."""
    one, other = settings(tmp_path), settings(tmp_path, url=f"sqlite:{tmp_path}/other.db")
    old, new = (settings(tmp_path, url=f"postgresql://me:{word}@db/usage") for word in "ab")

    assert spill_folder(one) != spill_folder(other)
    assert spill_folder(old) == spill_folder(new)


def test_ticket_runs_what_it_was_given_once() -> None:
    """Whichever comes first, the row or the end of the answer."""
    sent: list[str] = []
    early, late = Ticket("a"), Ticket("b")
    early.then(lambda: sent.append("a"))
    assert [] == sent
    early.release()
    early.release()
    late.release()
    late.then(lambda: sent.append("b"))

    assert ["a", "b"] == sent
