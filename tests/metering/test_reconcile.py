"""End to end: what clients were told is what the ledger has, aborts and crashes included."""

import asyncio
import itertools
import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.metering import station
from tests.metering.cluster import Cluster
from tests.metering.station import Told

pytestmark = pytest.mark.e2e

CLIENTS = 32
LOAD_S = 0.6
LONG, LONG_ONES = 6000, 4  # tokens of answers that certainly run when the gateway is killed


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Simulated engines, fast ones."""
    folder = tmp_path_factory.mktemp("sim")
    with station.engines(folder, "--speed", "20", "--preset", "h100-8b") as urls:
        yield urls


def rows(folder: Path, columns: str, where: str = "1 = 1") -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "usage.db")) as db:
        return db.execute(f"SELECT {columns} FROM usage WHERE {where}").fetchall()


async def load(url: str, seconds: float) -> list[Told]:
    """Clients that ask one thing after another, streams and whole answers; what they were told."""
    told: list[Told] = []
    numbers = itertools.count()
    until = time.monotonic() + seconds

    async def client() -> None:
        while time.monotonic() < until:
            number = next(numbers)
            found = await station.ask(url, number, stream=number % 3 != 0)
            told.append(found)
            if not found.request_id:
                return

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return told


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_ledger_is_the_sum_of_what_was_streamed(
    kind: str, urls: list[str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """To the token and the micro-cent, by table, by statement and by CSV's like."""
    more = {}
    if kind == "postgres":
        cluster: Cluster = request.getfixturevalue("cluster")
        more = {"url": cluster.database("reconcile")}
    file = station.configure(tmp_path, urls, **more)
    with station.gateway(tmp_path, file) as (program, url):
        told = asyncio.run(load(url, LOAD_S))
        program.process.terminate()
        assert not program.wait()
    (sums,) = station.usage(tmp_path, "--by", "model", "--model", "sim")
    (line,) = station.usage(tmp_path, "statement")

    assert all(each.complete for each in told)
    assert (len(told), *(sum(c) for c in zip(*(each[2:] for each in told), strict=True))) == (
        sums["requests"], sums["tokens_in"], sums["tokens_out"], sums["tokens_cached"],
    )  # fmt: skip
    cost = sum(15 * (t[2] - t[4]) + 3 * t[4] + 60 * t[3] for t in told)
    assert f"{cost / 10**8:.8f}" == sums["cost"] == line["cost"]
    assert 0 == sums["estimated"]
    assert (sums["requests"], "0.15", "0.03", "0.6") == (
        line["requests"], line["price_in"], line["price_cached"], line["price_out"],
    )  # fmt: skip


def test_streams_that_clients_left_are_estimated(urls: list[str], tmp_path: Path) -> None:
    """Each has its row, no more tokens than it asked for, and says that it is an estimate."""
    file = station.configure(tmp_path, urls)

    async def leave(url: str) -> list[Told]:
        asked = (station.ask(url, n, stream=True, most=1000, leave_after=400) for n in range(20))
        return await asyncio.gather(*asked)

    with station.gateway(tmp_path, file) as (program, url):
        told = asyncio.run(leave(url))
        program.process.terminate()
        assert not program.wait()
    found = {
        row[0]: row[1:]
        for row in rows(tmp_path, "request_id, estimated, outcome, tokens_out, tokens_in")
    }
    left = {t.request_id for t in told if found[t.request_id][1] == "client_gone"}

    assert {t.request_id for t in told} == set(found)
    assert left
    assert all(found[each][0] == 1 and 0 <= found[each][2] <= 1012 for each in left)
    assert all(found[each][3] > 0 for each in left)


def crash(folder: Path, urls: list[str], **metering: Any) -> tuple[list[Told], float]:
    """A gateway under load that is killed, and one that starts after it; what clients were told."""
    file = station.configure(folder, urls, **metering)
    with station.gateway(folder, file) as (program, url):

        async def until_killed() -> tuple[list[Told], float]:
            load_ = asyncio.ensure_future(load(url, 10 * LOAD_S))
            await asyncio.sleep(LOAD_S)
            long = [
                asyncio.ensure_future(station.ask(url, n, stream=True, most=LONG))
                for n in range(LONG_ONES)
            ]
            await asyncio.sleep(0.2)
            station.kill(program)
            at = time.time()
            return [*await load_, *await asyncio.gather(*long)], at

        told, killed_at = asyncio.run(until_killed())
    with station.gateway(folder, file) as (program, _):
        program.process.terminate()
        assert not program.wait()
    return told, killed_at


def test_strict_loses_nothing_that_was_complete(urls: list[str], tmp_path: Path) -> None:
    """
    Kill -9 under load: every answer whose end a client saw is in the ledger, once, with its
    tokens; what was running is settled by estimate.
    """
    told, _ = crash(tmp_path, urls, durability="strict")
    complete = {t.request_id: t[2:] for t in told if t.complete}
    kept = {
        r[0]: r[1:]
        for r in rows(
            tmp_path, "request_id, tokens_in, tokens_out, tokens_cached", "outcome = 'completed'"
        )
    }
    lost = rows(tmp_path, "request_id, estimated, tokens_in, tokens_out", "outcome = 'lost'")
    events = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    recovered = [event for event in events if event["event"] == "ledger_recovered"]

    assert len(complete) > CLIENTS
    assert complete == {each: kept.get(each) for each in complete}
    assert len(kept) == len(rows(tmp_path, "1", "outcome = 'completed'"))
    assert LONG_ONES <= len(lost) <= CLIENTS + LONG_ONES
    assert all(estimated == 1 and asked > 0 and out > 0 for _, estimated, asked, out in lost)
    assert len(lost) == sum(event["estimated"] for event in recovered)
    assert [] == [path for path in (tmp_path / "spill").rglob("*") if path.is_file()]


def test_batch_loses_the_latest_interval_at_most(urls: list[str], tmp_path: Path) -> None:
    """Kill -9 under load: what was answered before the latest interval is in the ledger, once."""
    interval_s = 0.2
    told, killed_at = crash(tmp_path, urls, interval_s=interval_s)
    kept = [row[0] for row in rows(tmp_path, "request_id")]
    missing = {t.request_id for t in told if t.complete} - set(kept)
    logged = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    newest_us = max(row[0] for row in rows(tmp_path, "at_us"))

    assert len(kept) == len(set(kept)) > CLIENTS
    assert killed_at - newest_us / 1e6 < interval_s + 0.5  # half a second of a busy machine
    assert all(
        line["time"] > time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(newest_us / 1e6))
        for line in logged
        if line.get("request_id") in missing
    )
