"""usher.py: classes before real requests: who goes first, who is turned away, what they hear."""

import asyncio
from typing import Any

import pytest

from headrace.config.fleet import Admin
from headrace.conformance import answers
from headrace.conformance.answers import after
from headrace.gateway.admin.api import build
from headrace.gateway.app import Gateway
from headrace.routing.drain import Drain
from headrace.routing.lane import Ask
from tests.edge.rig import Rig, eventually, openai_error
from tests.gateway.admin.test_api import caller
from tests.gateway.place.test_placement import long, pool

LOW = {"x_headrace_priority": "batch"}
BATCH = {"class": "batch"}


class Slow(Drain):
    """A line that is known to be so slow that everybody would wait this long."""

    def __init__(self, gateway: Gateway, wait_s: float) -> None:
        super().__init__(pool(gateway).line)
        self._wait_s = wait_s
        pool(gateway).drain = self

    def wait_s(self, ask: Ask, now: float) -> float | None:
        return self._wait_s


class Full:
    """A gateway before one engine that is full until ``go``; answers are noted as they come."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.go = asyncio.Event()
        self.order: list[str] = []
        self.tasks: list[asyncio.Task[Any]] = []

    async def start(self, **sections: Any) -> Gateway:
        routing = {"gate_tokens": 256} | sections.pop("routing", {})
        await self.rig.engine(after(self.go, answers.like_vllm))
        gateway = await self.rig.gateway(routing=routing, **sections)
        await self.come("first", 0)
        await eventually(lambda: len(self.rig.engines[0].exchanges) == 1)
        return gateway

    async def come(self, name: str, number: int, **headers: str) -> None:
        async def post() -> Any:
            answer = await self.rig.post(long(number), **headers)
            self.order.append(name)
            return answer

        self.tasks.append(asyncio.create_task(post()))

    async def waits(self, count: int) -> None:
        await eventually(lambda: pool(self.rig.gateway_now).waiting == count)

    async def end(self) -> list[int]:
        self.go.set()
        return [(await task).status for task in self.tasks]


def value(gateway: Gateway, name: str, **labels: str) -> float | None:
    return gateway.metrics.registry.get_sample_value(name, labels)


def shed(gateway: Gateway, reason: str) -> float | None:
    return value(gateway, "headrace_queue_shed_total", **BATCH, reason=reason)


async def test_a_client_lowers_its_own_class(rig: Rig) -> None:
    """A request whose header says batch goes after one that came later and says nothing."""
    full = Full(rig)
    gateway = await full.start()
    await full.come("batch", 1, **LOW)
    await full.waits(1)
    await full.come("usual", 2)
    await full.waits(2)
    waits = {name: value(gateway, f"headrace_class_waiting_{name}", model="m", **BATCH)
             for name in ("requests", "bytes", "tokens")}  # fmt: skip
    assert 1.0 == waits["requests"]
    assert all(waits.values())

    app = build(gateway.fleet, gateway.keeper, Admin(), gateway.floor,
                queues=lambda: gateway.pipeline.usher.seen(gateway.placement.models))  # fmt: skip
    async with caller(app) as client:
        seen = (await client.get("/admin/fleet")).json()["queues"]["m"]
    assert [1, 1, 0] == [seen[name]["requests"] for name in ("interactive", "batch", "background")]

    assert [200] * 3 == await full.end()
    assert ["first", "usual", "batch"] == full.order
    assert 1.0 == value(gateway, "headrace_class_wait_seconds_count", **BATCH)


async def test_a_tenant_may_have_a_class_of_ones_own(rig: Rig) -> None:
    """Its requests stand where that class does."""
    full = Full(rig)
    await full.start(
        queue={"classes": {"premium": {"rank": 20}}},
        tenants=[{"name": "anonymous", "priority": "premium"}],
    )
    await full.come("ours", 1)
    await full.waits(1)

    assert [20] == pool(rig.gateway_now).line.ranks()
    assert [200, 200] == await full.end()


async def test_nobody_raises_it(rig: Rig) -> None:
    """A higher class than its rule's is not given for the asking."""
    full = Full(rig)
    await full.start(rules=[{"name": "night", "priority": "background"}])
    await full.come("raised", 1, x_headrace_priority="interactive")
    await full.waits(1)

    assert [-100] == pool(rig.gateway_now).line.ranks()
    assert [200, 200] == await full.end()


async def test_an_unknown_class(rig: Rig) -> None:
    """A class that there is not is the client's mistake, and the answer has their names."""
    await rig.engine()
    await rig.gateway()
    refused = openai_error(await rig.post(long(1), x_headrace_priority="urgent"), 400, None)

    assert "interactive, batch, background" in refused["message"]
    assert "x-headrace-priority" == refused["param"]


async def test_a_full_class_is_503(rig: Rig) -> None:
    """Beyond the bound of its class a request is told at once, with a whole number of seconds."""
    full = Full(rig)
    gateway = await full.start(queue={"classes": {"batch": {"max_requests": 1}}})
    await full.come("batch", 1, **LOW)
    await full.waits(1)
    answer = await rig.post(long(2), **LOW)
    await full.come("usual", 3)
    await full.waits(2)

    assert "batch" in openai_error(answer, 503, "queue_full")["message"]
    assert "2" == answer.header("retry-after")
    assert "rejected_queue_full" == gateway.records[0].outcome
    assert 1.0 == shed(gateway, "queue_full")
    assert [200] * 3 == await full.end()


async def test_a_higher_class_takes_a_place(rig: Rig) -> None:
    """Where the whole queue is full a lower class's request that waits makes way for a higher."""
    full = Full(rig)
    gateway = await full.start(routing={"max_waiting": 1})
    await full.come("batch", 1, **LOW)
    await full.waits(1)
    await full.come("usual", 2)
    evicted = await full.tasks[1]

    openai_error(evicted, 503, "queue_full")
    assert "evicted_queue_full" == gateway.records[0].outcome
    assert 1.0 == shed(gateway, "evicted")
    assert [200, 503, 200] == await full.end()


@pytest.mark.parametrize(("wait_s", "retry"), [(45.2, "16"), (31.0, "1"), (9999.0, "3600")])
async def test_who_cannot_make_it_hears_so_at_once(rig: Rig, wait_s: float, retry: str) -> None:
    """A request that would wait longer than it may is not let in; when to come back is said."""
    full = Full(rig)
    gateway = await full.start()
    Slow(gateway, wait_s)
    answer = await rig.post(long(1))

    message = openai_error(answer, 503, "queue_too_long")["message"]
    assert f"would wait {wait_s:.0f} s" in message
    assert "may wait 30 s" in message
    assert retry == answer.header("retry-after")
    assert "rejected_deadline" == gateway.records[0].outcome
    assert 0 == pool(gateway).waiting
    assert [200] == await full.end()


async def test_a_class_has_its_own_patience(rig: Rig) -> None:
    """Who waited for the deadline of its class is told so; others wait on."""
    full = Full(rig)
    gateway = await full.start(queue={"classes": {"batch": {"deadline_s": 0.1}}})
    await full.come("usual", 1)
    await full.waits(1)
    answer = await rig.post(long(2), **LOW)

    openai_error(answer, 504, "timeout")
    assert "timed_out_queue" == gateway.records[0].outcome
    assert [200, 200] == await full.end()
