"""waiting.py: requests for a sleeping model wait in order and in bounds, and are kept company."""

import asyncio
from typing import Any

from headrace.conformance import answers
from tests.edge.rig import CHAT_PATH, Rig, ask, eventually, openai_error, streamed, turns

KEPT = {"keep_alive_s": 0.05}
COMMENT = b": waiting for a replica\n\n"


async def asleep(rig: Rig, **tree: Any) -> None:
    """An engine that runs, and a gateway that declares its model and does not know it yet."""
    await rig.engine()
    await rig.gateway(urls=[], models=[{"name": "m"}], **tree)


def wake(rig: Rig) -> None:
    """The engine joins the fleet."""
    rig.gateway_now.fleet.add(rig.backend(rig.engines[0]))


async def held(rig: Rig, count: int = 1) -> None:
    hold = rig.gateway_now.fleet.groups["m"].hold
    await eventually(lambda: hold.requests == count)


async def test_a_stream_is_kept_alive_until_its_answer(rig: Rig) -> None:
    """Comments come while it waits, then the answer's own frames, and nothing twice."""
    await asleep(rig, hold=KEPT)
    async with rig.client() as client:
        answer = await client.open("POST", CHAT_PATH, streamed())
        await answer.until(len(COMMENT))
        wake(rig)
        await answer.finish()

    assert answer.body.startswith(COMMENT)
    assert 200 == answer.status
    body = answer.body.replace(COMMENT, b"")
    assert body == b"".join(answers.chat_frames("m", usage=True))
    [record] = rig.gateway_now.records
    assert ("completed", 200) == (record.outcome, record.status)


async def test_an_error_after_company_is_a_frame(rig: Rig) -> None:
    """When no replica comes after all, the stream that has begun says so in its own way."""
    await asleep(rig, hold=KEPT, timeouts={"queue_s": 1.0})
    answer = await rig.post(streamed())

    assert 200 == answer.status
    assert b'"code":"no_replica"' in answer.body
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert "timed_out_queue" == rig.gateway_now.records[-1].outcome


async def test_an_engines_refusal_after_company_is_a_frame(rig: Rig) -> None:
    """An engine's error cannot be a status any more; its message is in the frame."""
    engine = await rig.engine(answers.says(400, answers.ERR_CONTEXT))
    await rig.gateway(urls=[], models=[{"name": "m"}], hold=KEPT)
    async with rig.client() as client:
        answer = await client.open("POST", CHAT_PATH, streamed())
        await answer.until(len(COMMENT))
        rig.gateway_now.fleet.add(rig.backend(engine))
        await answer.finish()

    assert b"max_model_len" in answer.body
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert "rejected_upstream" == rig.gateway_now.records[-1].outcome


async def test_what_is_not_streamed_gets_no_company(rig: Rig) -> None:
    """A whole answer has one status, so that nothing is sent before it is known."""
    await asleep(rig, hold=KEPT)
    asked = asyncio.create_task(rig.post(ask()))
    await held(rig)
    await turns(150)
    wake(rig)

    assert 200 == (await asked).status


async def test_a_full_queue_is_503(rig: Rig) -> None:
    """Above the bound a request is told at once, with a time to come back; others still wait."""
    await asleep(rig, hold={"max_requests": 2})
    waiting = [asyncio.create_task(rig.post(ask())) for _ in range(2)]
    await held(rig, 2)
    refused = await rig.post(ask())
    wake(rig)

    openai_error(refused, 503, "overloaded")
    assert "10" == refused.header("retry-after")
    assert [200, 200] == [(await each).status for each in waiting]


async def test_they_reach_the_engine_in_order(rig: Rig) -> None:
    """Twenty that wait for its start are sent in the order in which they came."""
    await asleep(rig)
    waiting = []
    for number in range(20):
        waiting.append(asyncio.create_task(rig.post(ask(user=f"u{number}"))))
        await held(rig, number + 1)
    wake(rig)
    statuses = {(await each).status for each in waiting}

    assert {200} == statuses
    came = [seen.json()["user"] for seen in rig.engines[0].exchanges]
    assert [f"u{number}" for number in range(20)] == came


async def test_why_no_replica_came(rig: Rig) -> None:
    """What is known to be wrong with the engine is in the answer of who has waited in vain."""
    await asleep(rig, timeouts={"queue_s": 0.2})
    rig.gateway_now.floor.tell("e", ("m",), "died", "e stopped: no GPU")
    answer = await rig.post(ask())

    message = openai_error(answer, 503, "no_replica")["message"]
    assert "No replica of `m` became ready within 0.2 s: e stopped: no GPU." == message


async def test_an_engine_that_cannot_start(rig: Rig) -> None:
    """Who waits is told at once, and so is who comes soon after; a replica ends that."""
    await asleep(rig)
    asked = asyncio.create_task(rig.post(ask()))
    await held(rig)
    rig.gateway_now.floor.refuse(("m", "unknown"), "no GPU", 30)
    first, second = await asked, await rig.post(ask())
    wake(rig)
    third = await rig.post(ask())

    for answer in (first, second):
        message = openai_error(answer, 503, "no_replica")["message"]
        assert "No replica of `m` can be started: no GPU." == message
        assert "30" == answer.header("retry-after")
    assert "upstream_failed_start" == rig.gateway_now.records[0].outcome
    assert 200 == third.status


async def test_a_slow_model_has_its_own_patience(rig: Rig) -> None:
    """cold_start_s of a model counts where it is longer than the queue clock of all."""
    await rig.engine()
    await rig.gateway(urls=[], models=[{"name": "m", "cold_start_s": 5}], timeouts={"queue_s": 0.1})
    asked = asyncio.create_task(rig.post(ask()))
    await held(rig)
    await asyncio.sleep(0.3)
    wake(rig)

    assert 200 == (await asked).status


async def test_a_client_that_leaves_gives_up_its_place(rig: Rig) -> None:
    """Who hung up while waiting is not counted any more."""
    await asleep(rig, hold=KEPT)
    async with rig.client() as client:
        await client.open("POST", CHAT_PATH, streamed())
        await held(rig)
    await held(rig, 0)
    await rig.idle()

    assert "client_gone" == rig.gateway_now.records[-1].outcome
