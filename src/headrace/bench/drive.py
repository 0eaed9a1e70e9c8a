"""Plays a step: in an open loop requests are sent when due, whatever became of earlier ones."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

from headrace.bench.client import Client, Record
from headrace.bench.plan import Job, Step


@dataclass(frozen=True, slots=True)
class Played:
    """A step that is over: its records, and the time from its start to its last answer's end."""

    step: Step
    records: tuple[Record, ...]
    wall_s: float


async def play(client: Client, step: Step, told: Callable[[Record], None]) -> Played:
    """Send all requests of a step, and wait for their answers."""
    began = perf_counter()
    if step.concurrency is None:
        records = await _open(client, step, began, told)
    else:
        records = await _closed(client, step, began, told)
    records.sort(key=lambda record: record.number)
    wall_s = max((record.sent_s + record.latency_s for record in records), default=0.0)
    return Played(step, tuple(records), wall_s)


async def warm(client: Client, jobs: list[Job]) -> list[Record]:
    """Send some requests that do not count, one after another."""
    began = perf_counter()
    return [await client.send(job, began) for job in jobs]


async def _open(
    client: Client, step: Step, began: float, told: Callable[[Record], None]
) -> list[Record]:
    records: list[Record] = []

    async def one(job: Job) -> None:
        record = await client.send(job, began)
        records.append(record)
        told(record)

    async with asyncio.TaskGroup() as group:
        for job in step.jobs:
            wait_s = began + job.due_s - perf_counter()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            group.create_task(one(job))
    return records


async def _closed(
    client: Client, step: Step, began: float, told: Callable[[Record], None]
) -> list[Record]:
    records: list[Record] = []
    waiting = iter(step.jobs)

    async def user() -> None:
        for job in waiting:
            now = perf_counter() - began
            if step.duration_s is not None and now >= step.duration_s:
                return
            due = Job(job.number, now, job.prompt, job.output_tokens)
            record = await client.send(due, began)
            records.append(record)
            told(record)

    async with asyncio.TaskGroup() as group:
        for _ in range(step.concurrency or 1):
            group.create_task(user())
    return records
