"""Steps of load: open loops do not wait for answers, closed ones keep so many under way."""

import asyncio
from time import perf_counter
from typing import cast

from headrace.bench.client import Client, Record
from headrace.bench.drive import play, warm
from headrace.bench.plan import Job, Step


class Slow:
    """
    Takes its time for each answer, and waits until so many are under way; counts them (``Client``).
    """

    def __init__(self, takes_s: float, together: int = 0) -> None:
        self.takes_s = takes_s
        self.together = together
        self.now = self.most = 0

    async def send(self, job: Job, began: float) -> Record:
        sent = perf_counter()
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(self.takes_s)
        async with asyncio.timeout(30):
            while self.most < self.together:  # noqa: ASYNC110 - those that come tell nobody
                await asyncio.sleep(0.001)
        self.now -= 1
        spent = perf_counter() - sent
        late = max(0.0, sent - began - job.due_s)
        return Record(job.number, sent - began, late, spent, spent, (), 1, 1, 200)


def requests(count: int, every_s: float = 0.0) -> list[Job]:
    return [Job(number, number * every_s, "x", 1) for number in range(count)]


async def test_an_open_loop_does_not_wait_for_answers() -> None:
    """Requests are sent when due although none has been answered: a slow server gets no mercy."""
    slow = Slow(0.0, together=8)
    told: list[Record] = []

    played = await play(cast("Client", slow), Step(20.0, None, requests(8, 0.02)), told.append)

    assert 8 == slow.most
    assert 8 == len(told) == len(played.records)
    assert list(range(8)) == [record.number for record in played.records]
    assert played.wall_s >= 7 * 0.02


async def test_a_closed_loop_keeps_so_many_under_way() -> None:
    """The next request is sent when one ends: never more than asked for, all of them sent."""
    slow = Slow(0.02)

    played = await play(cast("Client", slow), Step(None, 3, requests(10)), lambda _record: None)

    assert 3 == slow.most
    assert 10 == len(played.records)
    assert max(record.late_s for record in played.records) < 30


async def test_a_closed_loop_ends_with_its_time() -> None:
    """With a duration no request begins after it."""
    slow = Slow(0.05)
    step = Step(None, 2, requests(100_000), duration_s=0.2)

    played = await play(cast("Client", slow), step, lambda _record: None)

    assert 2 <= len(played.records) < 1000  # all of them would take an hour
    assert max(record.sent_s for record in played.records) < 30


async def test_warming_up_is_one_after_another() -> None:
    """Requests that do not count put no load on anybody."""
    slow = Slow(0.01)

    assert 3 == len(await warm(cast("Client", slow), requests(3)))
    assert 1 == slow.most
