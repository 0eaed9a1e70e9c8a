"""placement.py: the fleet before the routing core: room, waits, ends, and what a decision says."""

import asyncio
import json
from typing import Any

import pytest

from headrace.admission.types import Caller
from headrace.conformance import answers
from headrace.conformance.answers import after
from headrace.conformance.fake import FakeEngine
from headrace.conformance.wire import request
from headrace.gateway.app import Gateway
from headrace.routing.decision import HOLDER, LOWEST, ONLY
from tests.edge.rig import CHAT_PATH, Rig, ask, eventually, openai_error, streamed, turns

NARROW = {"gate_tokens": 256}


def long(number: int, words: int = 400, **more: Any) -> dict[str, Any]:
    """A streamed question of some thousand tokens that has nothing in common with others."""
    text = f"{number} " + f"word{number} " * words
    return streamed(messages=[{"role": "user", "content": text}]) | more


def pool(gateway: Gateway) -> Any:
    return gateway.placement.models["m"].pool


def asked(rig: Rig, *bodies: dict[str, Any]) -> list[asyncio.Task[Any]]:
    return [asyncio.create_task(rig.post(body)) for body in bodies]


async def busy(rig: Rig, engines: int = 2, **sections: Any) -> tuple[Gateway, asyncio.Event]:
    """A gateway whose engines each have a prompt that fills them until the event."""
    go = asyncio.Event()
    for _ in range(engines):
        await rig.engine(after(go, answers.like_vllm))
    return await rig.gateway(routing=NARROW, **sections), go


async def test_requests_wait_here_and_not_at_engines(rig: Rig) -> None:
    """Full engines get nothing more; with each first token the next one goes, all are answered."""
    gateway, go = await busy(rig)
    tasks = asked(rig, *(long(number) for number in range(8)))
    await eventually(lambda: pool(gateway).waiting == 6)
    assert [1, 1] == [len(engine.exchanges) for engine in rig.engines]
    assert 6 == gateway.placement.waiting
    go.set()

    assert [200] * 8 == [(await task).status for task in tasks]
    assert 0 == gateway.placement.waiting
    queues = [r.decision.queue for r in gateway.records if r.decision is not None]
    assert 6 <= sum(queue > 0 for queue in queues)


async def test_whole_answers_make_room_when_predicted(rig: Rig) -> None:
    """Without streams prefills count as over when they should be: engines are kept fed."""
    gateway, go = await busy(rig)
    tasks = asked(rig, *(long(number, stream=False) for number in range(6)))
    await eventually(lambda: sum(len(engine.exchanges) for engine in rig.engines) == 6)
    go.set()

    assert [200] * 6 == [(await task).status for task in tasks]
    assert 0 == gateway.placement.waiting


async def test_the_queue_clock_runs(rig: Rig) -> None:
    """Who waits for room for too long is told so, and nothing is left of it."""
    gateway, go = await busy(rig, timeouts={"queue_s": 0.1})
    first = asked(rig, long(0), long(1))
    await eventually(lambda: sum(len(engine.exchanges) for engine in rig.engines) == 2)

    error = openai_error(await rig.post(long(2)), 504, "timeout")

    assert "No replica had room for it" in error["message"]
    assert "timed_out_queue" == gateway.records[-1].outcome
    assert 0 == gateway.placement.waiting
    go.set()
    assert [200, 200] == [(await task).status for task in first]


async def test_who_leaves_waits_no_more(rig: Rig) -> None:
    """A client that hangs up leaves the queue in the same moment."""
    gateway, go = await busy(rig)
    tasks = asked(rig, long(0), long(1))
    await eventually(lambda: sum(len(engine.exchanges) for engine in rig.engines) == 2)
    clients = [await rig.client().__aenter__() for _ in range(3)]
    for number, client in enumerate(clients):
        await client.send(request("POST", CHAT_PATH, long(10 + number)))
    await eventually(lambda: gateway.placement.waiting == 3)
    for client in clients:
        client.close()
    await eventually(lambda: gateway.placement.waiting == 0)
    go.set()

    assert [200, 200] == [(await task).status for task in tasks]
    assert 2 == sum(len(engine.exchanges) for engine in rig.engines)


async def test_too_many_wait(rig: Rig) -> None:
    """Beyond the bound the answer is 503 at once, with a time to come back."""
    gateway, go = await busy(rig, queue={"classes": {"interactive": {"max_requests": 1}}})
    tasks = asked(rig, long(0), long(1), long(2))
    await eventually(lambda: gateway.placement.waiting == 1)

    answer = await rig.post(long(3))

    assert 503 == answer.status
    assert answer.header("retry-after")
    go.set()
    assert [200] * 3 == [(await task).status for task in tasks]


async def test_a_replica_joins_and_the_last_ones_leave(rig: Rig) -> None:
    """Who waits for room goes to a newcomer; when all leave it waits for a replica instead."""
    gateway, go = await busy(rig)
    tasks = asked(rig, *(long(number) for number in range(4)))
    await eventually(lambda: gateway.placement.waiting == 2)
    new = await rig.engine(after(go, answers.like_vllm))
    gateway.fleet.add(rig.backend(new))
    await eventually(lambda: gateway.placement.waiting == 1)
    for engine in rig.engines:
        gateway.fleet.remove(f"127.0.0.1:{engine.port}")
    await eventually(lambda: gateway.fleet.groups["m"].hold.requests == 1)
    assert 0 == gateway.placement.waiting
    last = await rig.engine()
    gateway.fleet.add(rig.backend(last))
    go.set()

    assert [200] * 4 == [(await task).status for task in tasks]
    assert 1 == len(last.exchanges)


async def test_streams_are_kept_company(rig: Rig) -> None:
    """A stream that waits for room gets comments, too, and then its answer."""
    gateway, go = await busy(rig, hold={"keep_alive_s": 0.05})
    tasks = asked(rig, long(0), long(1), long(2))
    await eventually(lambda: gateway.placement.waiting == 1)
    await turns(120)
    go.set()
    bodies = [(await task).body for task in tasks]

    assert 1 == sum(body.startswith(b": waiting for a replica\n\n") for body in bodies)
    assert all(body.endswith(b"data: [DONE]\n\n") for body in bodies)


async def test_a_conversation_stays_where_it_is_cached(rig: Rig) -> None:
    """Each turn goes to the replica of the turn before, and the decision says what is cached."""
    engines = [await rig.engine() for _ in range(4)]
    gateway = await rig.gateway()
    talk: list[dict[str, str]] = []
    for turn in range(5):
        talk.append({"role": "user", "content": f"turn {turn}: " + "tell me more " * 60})
        await rig.post(streamed(messages=talk))
        talk.append({"role": "assistant", "content": "By the way, hello!"})
    decisions = [record.decision for record in gateway.records]

    assert [0, 0, 0, 5] == sorted(len(engine.exchanges) for engine in engines)
    cached = [decision.cached for decision in decisions if decision is not None]
    assert sorted(cached) == cached
    assert 0 == cached[0] < cached[-1]
    assert 5 == len(cached)


async def test_what_the_log_says(rig: Rig) -> None:
    """The record names the policy, the prediction and the next best; nothing without a choice."""
    await rig.engine()
    alone = await rig.gateway()
    await rig.post(streamed())
    assert (None, ONLY) == (alone.records[-1].decision, alone.records[-1].reason)
    await rig.engine()
    gateway = await rig.gateway()
    await rig.post(streamed())
    record = gateway.records[-1]

    assert record.decision is not None
    assert (LOWEST, "lowest_cost", 2) == (
        record.reason, record.decision.policy, record.decision.candidates,
    )  # fmt: skip
    assert {record.replica, record.decision.next} == set(gateway.fleet.replicas)


@pytest.mark.parametrize("policy", ["round_robin", "least_requests", "consistent_hash"])
async def test_other_policies(rig: Rig, policy: str) -> None:
    """A configured policy decides, and its name is the reason."""
    for _ in range(2):
        await rig.engine()
    gateway = await rig.gateway(routing={"policy": policy})

    assert [200] * 4 == [(await rig.post(ask())).status for _ in range(4)]
    assert {policy} == {record.reason for record in gateway.records}


async def test_failures_leave_nothing_behind(rig: Rig) -> None:
    """After answers, errors, retries and broken streams no lane remembers a request."""
    scripts = [answers.like_vllm, answers.says(503, answers.error(503)), answers.resets]
    engines: list[FakeEngine] = [await rig.engine(script) for script in scripts]
    gateway = await rig.gateway(outliers={"enabled": False})
    for number in range(12):
        await rig.post(long(number) if number % 2 else ask())
    await eventually(lambda: gateway.fleet.inflight_requests == 0)

    assert len(engines) == len(pool(gateway).lanes)
    assert [(0, 0, 0, 0)] * 3 == [
        (lane.inflight, lane.unprefilled, len(lane.pending), lane.decodes)
        for lane in pool(gateway).lanes
    ]


async def test_a_stored_response_is_bound(rig: Rig) -> None:
    """What continues a stored response goes to its holder, and the record says why."""
    path = "/v1/responses"
    for _ in range(3):
        await rig.engine()
    gateway = await rig.gateway()
    made = json.loads((await rig.post(ask(path), path)).body)
    home = gateway.records[-1].replica
    await rig.post(ask(path, previous_response_id=made["id"]), path)

    assert (home, HOLDER) == (gateway.records[-1].replica, gateway.records[-1].reason)


async def test_who_goes_first(rig: Rig) -> None:
    """Of those that wait for the only replica, a rule's higher priority goes first."""
    urgent = {"match": {"headers": {"x-urgent": "yes"}}, "priority": "high", "name": "urgent"}
    gateway, go = await busy(rig, engines=1, rules=[urgent])
    first = asked(rig, long(0))
    await eventually(lambda: gateway.fleet.inflight_requests == 1)
    usual = asked(rig, long(1, words=300), long(2, words=300))
    await eventually(lambda: gateway.placement.waiting == 2)
    hurried = asyncio.create_task(rig.post(long(3, words=900), **{"x-urgent": "yes"}))
    await eventually(lambda: gateway.placement.waiting == 3)
    go.set()

    assert [200] * 4 == [(await task).status for task in (*first, *usual, hurried)]
    texts = [each.json()["messages"][0]["content"][:2] for each in rig.engines[0].exchanges]
    assert "3 " == texts[1]


async def test_tenants_take_turns(rig: Rig) -> None:
    """A tenant that comes late with one request does not wait behind all of another's."""
    gateway, go = await busy(rig, engines=1)
    first = asked(rig, long(0))
    await eventually(lambda: gateway.fleet.inflight_requests == 1)
    line = pool(gateway).line
    many = asked(rig, *(long(number) for number in range(1, 6)))
    await eventually(lambda: len(line) == 5)
    gateway.door.register.anonymous = Caller(tenant="late")
    gateway.door.watched = True
    late = asked(rig, long(9))
    await eventually(lambda: len(line) == 6)
    go.set()

    assert [200] * 7 == [(await task).status for task in (*first, *many, *late)]
    texts = [each.json()["messages"][0]["content"][:2] for each in rig.engines[0].exchanges]
    assert texts.index("9 ") <= 2
