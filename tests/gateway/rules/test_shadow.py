"""shadow.py: copies are few, bounded and silent; the original neither waits nor fails by them."""

import asyncio
from typing import Any

import pytest

from headrace.conformance import answers
from headrace.conformance.fake import Exchange, FakeEngine
from headrace.gateway.rules import shadow
from tests.edge.rig import Rig, ask, eventually, streamed


async def shadowed(rig: Rig, **limits: Any) -> tuple[FakeEngine, FakeEngine]:
    """A gateway whose model has a shadow; gives both engines."""
    first, second = await rig.engine(), await rig.engine()
    backends = [
        {"url": first.url, "name": "first", "serves": ["m"]},
        {"url": second.url, "name": "second", "serves": {"copy": "up-copy"}},
    ]
    rule = {"name": "r", "match": {"models": "m"}, "shadow": {"target": "copy", **limits}}
    await rig.gateway(models=[{"name": "m"}, {"name": "copy"}], backends=backends, rules=[rule])
    return first, second


def counts(rig: Rig) -> dict[str, int]:
    """How copies ended, those that did."""
    found = rig.gateway_now.steer.shadows.counts
    return {outcome: count for (_, outcome), count in found.items() if count}


async def ended(rig: Rig, **expected: int) -> None:
    await eventually(lambda: counts(rig) == expected, lambda: repr(counts(rig)))
    await rig.idle()


@pytest.mark.parametrize("body", [ask(), streamed()], ids=["whole", "stream"])
async def test_a_copy_is_read_to_its_end(rig: Rig, body: dict[str, Any]) -> None:
    """Streams, too; the engine's connection is used again afterwards."""
    _, copy = await shadowed(rig)
    for _ in range(2):
        assert 200 == (await rig.post(body)).status
        await rig.idle()

    await ended(rig, completed=2)
    assert [0, 0] == [exchange.connection for exchange in copy.exchanges]
    assert {**body, "model": "up-copy"} == copy.exchanges[0].json()
    assert 2 == len(rig.gateway_now.records)
    (lane,) = rig.gateway_now.placement.models["copy"].pool.lanes
    assert (0, 0) == (lane.inflight, lane.tokens)


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        (answers.says(503, answers.error(503)), "failed"),
        (answers.says(400, answers.error(400)), "refused"),
        (answers.resets, "failed"),
        (answers.streams_then(*answers.chat_frames("m")[:2], then=answers.resets), "failed"),
    ],
)
async def test_a_copy_fails_alone(rig: Rig, script: Any, outcome: str) -> None:
    """Whatever becomes of a copy, the client has its answer and the replica its good name."""
    _, copy = await shadowed(rig)
    copy.script = script

    assert 200 == (await rig.post(streamed())).status
    await ended(rig, **{outcome: 1})
    assert 0 == rig.gateway_now.fleet.replicas["second"].failures


async def test_the_original_does_not_wait(rig: Rig) -> None:
    """A pool that never answers holds up nothing, and is given up by its own clock."""
    _, copy = await shadowed(rig, timeout_s=1.0)
    copy.script = answers.hangs
    assert 200 == (await rig.post(ask())).status
    assert {} == counts(rig)

    await ended(rig, timed_out=1)


async def test_few_at_a_time(rig: Rig) -> None:
    """Beyond `running` copies wait, beyond `queued` they are dropped; waiting ones follow."""
    _, copy = await shadowed(rig, running=1, queued=1)
    go = asyncio.Event()
    copy.script = answers.after(go, answers.like_vllm)
    for _ in range(4):
        assert 200 == (await rig.post(ask())).status
    assert {"dropped": 2} == counts(rig)
    assert 1 == len(copy.exchanges)
    assert [1] == [lane.inflight for lane in rig.gateway_now.placement.models["copy"].pool.lanes]
    go.set()

    await ended(rig, dropped=2, completed=2)


async def test_those_that_waited_too_long(rig: Rig) -> None:
    """A copy's clock includes its wait."""
    _, copy = await shadowed(rig, running=1, queued=5, timeout_s=1.5)
    copy.script = answers.hangs
    now = [1000.0]
    rig.gateway_now.steer.shadows._clock = lambda: now[0]
    for _ in range(3):
        await rig.post(ask())
    await eventually(lambda: bool(copy.exchanges))
    now[0] += 10

    await ended(rig, timed_out=3)
    assert 1 == len(copy.exchanges)


async def test_no_replica(rig: Rig) -> None:
    """A pool without replicas gets no copies, and nothing waits for it."""
    await shadowed(rig)
    rig.gateway_now.fleet.remove("second")
    await rig.post(ask())

    await ended(rig, no_replica=1)


async def test_bytes_are_bounded(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies that wait do not fill the memory."""
    _, copy = await shadowed(rig)
    monkeypatch.setattr(shadow, "MAX_BYTES", 10)
    await rig.post(ask())

    assert {"dropped": 1} == counts(rig)
    assert [] == copy.exchanges


async def test_the_client_is_gone(rig: Rig) -> None:
    """A copy goes on when the original has ended early, and its request is not told to anybody."""
    first, copy = await shadowed(rig)
    go = asyncio.Event()

    async def slowly(exchange: Exchange) -> None:
        await go.wait()
        await answers.like_vllm(exchange)

    first.script = answers.hangs
    copy.script = slowly
    async with rig.client() as client:
        asked = asyncio.create_task(client.post("/v1/chat/completions", ask()))
        await eventually(lambda: bool(copy.exchanges))
        asked.cancel()
    await eventually(lambda: bool(rig.gateway_now.records))
    go.set()

    await ended(rig, completed=1)
    assert ["client_gone"] == [record.outcome for record in rig.gateway_now.records]


async def test_the_gateway_stops(rig: Rig) -> None:
    """Copies that are under way or wait end with the gateway: nothing is left of them."""
    _, copy = await shadowed(rig, running=1)
    copy.script = answers.hangs
    for _ in range(2):
        await rig.post(ask())
    await rig.gateway_now.steer.shadows.stop()

    await rig.idle()
    assert {"failed": 1} == counts(rig)
