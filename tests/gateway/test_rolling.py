"""A rolling restart as operators do it, one replica after the other: drain, restart, undrain."""

import asyncio
import json
from collections.abc import Callable

from headrace.conformance import answers
from headrace.conformance.fake import Exchange, FakeEngine
from headrace.conformance.wire import Answer
from headrace.fleet.states import State
from headrace.gateway.app import Gateway
from tests.edge.rig import CHAT_PATH, Rig, ask, ends_with_error, eventually, gather, streamed

REPLICAS = 8
USERS = 24


async def slowly(exchange: Exchange) -> None:
    """Like vLLM, with time between the tokens."""
    if not exchange.json().get("stream"):
        await asyncio.sleep(0.02)
        await answers.like_vllm(exchange)
        return
    await exchange.start_stream()
    for frame in answers.chat_frames("m", usage=True):
        await exchange.events(frame)
        await asyncio.sleep(0.005)
    await exchange.end_stream()


async def test_rolling_restart_fails_no_request(rig: Rig) -> None:
    """Eight replicas restart under load, and every request, streamed or not, is answered whole."""
    engines = [await rig.engine(slowly) for _ in range(REPLICAS)]
    gateway = await rig.gateway(health={"interval_s": 0.05}, retries={"attempts": 1})
    done = asyncio.Event()
    users = [asyncio.create_task(user(rig, number, done)) for number in range(USERS)]
    await gather(*(engine.exchange() for engine in engines))
    sessions = []
    for engine in engines:
        sessions.append(len(engine.exchanges))
        await restart(gateway, engine)
    done.set()
    seen = [answer for each in await gather(*users) for answer in each]

    assert {200} == {answer.status for answer in seen}
    assert all(answer.ended and whole(answer) for answer in seen)
    assert [State.READY] * REPLICAS == [r.state for r in gateway.fleet.replicas.values()]
    assert all(served > 0 for served in sessions)
    assert {"completed"} == {record.outcome for record in gateway.records}
    assert {1} == {record.attempts for record in gateway.records}
    assert len(seen) > REPLICAS * 4


async def restart(gateway: Gateway, engine: FakeEngine) -> None:
    name = f"127.0.0.1:{engine.port}"
    gateway.fleet.drain(name, 20.0)
    await eventually(lambda: gateway.fleet.replicas[name].state is State.GONE)
    await engine.kill()
    await engine.start()
    gateway.fleet.undrain(name)
    await eventually(lambda: gateway.fleet.replicas[name].state is State.READY)


async def user(rig: Rig, number: int, done: asyncio.Event) -> list[Answer]:
    seen = []
    async with rig.client() as client:
        while not done.is_set():
            body = streamed() if number % 2 else ask()
            seen.append(await client.post(CHAT_PATH, body))
    return seen


def whole(answer: Answer) -> bool:
    """A stream came to its end, an answer is all of its JSON."""
    if answer.events:
        return answer.events[-1].data == "[DONE]"
    return "choices" in json.loads(answer.body)


async def test_deadline_of_a_drain(rig: Rig) -> None:
    """After it a stream ends with an error frame, and what has no byte goes to another replica."""
    frame = answers.chat_chunk("m", {"content": "Hi"})
    first = await rig.engine(answers.streams_then(frame, then=answers.hangs))
    gateway = await rig.gateway()
    async with rig.client() as client, rig.client() as waiting:
        stream = await client.open("POST", CHAT_PATH, streamed())
        await stream.event()
        first.script = answers.hangs
        late = asyncio.create_task(waiting.post(CHAT_PATH, ask()))
        await first.exchange(1)
        gateway.fleet.add(rig.backend(await rig.engine()))
        name = f"127.0.0.1:{first.port}"
        gateway.fleet.drain(name, 0.2)
        while_draining = gateway.fleet.replicas[name].state
        await stream.finish()
        answer = await late

    error = ends_with_error(stream)
    assert State.DRAINING is while_draining
    assert "it was drained, and its deadline has passed" in error["message"]
    assert (200, 2) == (answer.status, gateway.records[-1].attempts)
    assert State.GONE is gateway.fleet.replicas[name].state
    assert "its deadline has ended 2 running requests" in gateway.fleet.replicas[name].reason
    await first.exchanges[0].wait_closed()


async def test_undrain_while_it_drains(rig: Rig) -> None:
    """A drain that is taken back in time hurts nobody: the same incarnation goes on."""
    go = asyncio.Event()
    engine = await rig.engine(answers.after(go, answers.like_vllm))
    gateway = await rig.gateway()
    name = f"127.0.0.1:{engine.port}"
    replica = gateway.fleet.replicas[name]
    running = asyncio.create_task(rig.post(ask()))
    await engine.exchange()
    gateway.fleet.drain(name, 1.0)
    held = asyncio.create_task(rig.post(ask()))
    await eventually(lambda: gateway.buffered_bytes > 0)
    gateway.fleet.undrain(name)
    await asyncio.sleep(1.2)  # the deadline that no longer holds
    go.set()
    seen = await gather(running, held)

    assert [200, 200] == [answer.status for answer in seen]
    assert replica is gateway.fleet.replicas[name]


async def test_old_leases_after_undrain(rig: Rig) -> None:
    """What an ended incarnation still held is released to it, not to its successor."""
    engine = await rig.engine()
    gateway = await rig.gateway(health={"interval_s": 0.05})
    name = f"127.0.0.1:{engine.port}"
    old = gateway.fleet.replicas[name]
    lease = old.lease(100)
    gateway.fleet.drain(name, 0.0)
    gateway.fleet.undrain(name)
    new: Callable[[], State] = lambda: gateway.fleet.replicas[name].state  # noqa: E731
    await eventually(lambda: new() is State.READY)
    young = gateway.fleet.replicas[name]
    own = young.lease(7)
    lease.release()
    held = young.inflight_tokens
    own.release()

    assert 7 == held
    assert (0, 0) == (old.inflight_tokens, young.inflight_tokens)
