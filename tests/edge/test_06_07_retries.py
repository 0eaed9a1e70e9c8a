"""Cases 6 and 7: what is tried again, where, how often; and what never counts against a replica."""

import asyncio

import pytest

from headrace.conformance import answers
from headrace.conformance.fake import Exchange, FakeEngine, Script
from headrace.conformance.wire import request
from tests.edge.rig import (
    CHAT_PATH,
    Rig,
    ask,
    ends_with_error,
    gather,
    openai_error,
    retry_after,
    streamed,
)

RETRYABLE = [429, 502, 503, 504]
NOT_RETRYABLE = [400, 401, 403, 404, 409, 413, 422, 500, 501]
SECONDS = ("retry-after", "7")


def _refusal(status: int) -> Script:
    return answers.says(status, answers.error(status, f"status {status}"), SECONDS)


def _asked(engines: list[FakeEngine]) -> int:
    return sum(len(engine.exchanges) for engine in engines)


async def _one_refuses(rig: Rig, script: Script, replicas: int = 2) -> None:
    """Engines of which whichever is asked first plays the script, and all others answer well."""
    first = asyncio.Lock()

    async def play(exchange: Exchange) -> None:
        if first.locked():
            await answers.like_vllm(exchange)
        else:
            await first.acquire()
            await script(exchange)

    for _ in range(replicas):
        await rig.engine(play)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("status", RETRYABLE)
async def test_case_06_retry_goes_to_another_replica(rig: Rig, status: int, stream: bool) -> None:
    """429, 502, 503 and 504 of an engine lead to another replica, and the client sees nothing."""
    await _one_refuses(rig, _refusal(status))
    gateway = await rig.gateway()

    answer = await rig.post(streamed() if stream else ask())

    assert 200 == answer.status
    assert [1, 1] == [len(engine.exchanges) for engine in rig.engines]
    assert rig.engines[0].exchanges[0].body == rig.engines[1].exchanges[0].body
    assert 2 == gateway.records[-1].attempts


async def test_case_06_retry_after_refused_connection(rig: Rig) -> None:
    """A replica that refuses connections costs the client nothing as long as another one works."""
    engine = await rig.engine()
    await rig.gateway(urls=[rig.refusing().url, engine.url, rig.refusing().url])

    seen = [await rig.post(ask()) for _ in range(6)]

    assert [200] * 6 == [answer.status for answer in seen]
    assert 6 == len(engine.exchanges)


async def test_case_06_retry_after_connect_timeout(rig: Rig) -> None:
    """A replica that does not finish the handshake is given up after connect_s."""
    engine = await rig.engine()
    await rig.gateway(urls=[rig.silent().url, engine.url], timeouts={"connect_s": 1.0})

    seen = await gather(*(rig.post(ask()) for _ in range(4)))

    assert [200] * 4 == [answer.status for answer in seen]


async def test_case_06_no_retry_of_other_statuses(rig: Rig) -> None:
    """A 4xx, and a 500, is passed through once, unchanged; no other replica is asked."""
    engines = [await rig.engine() for _ in range(2)]
    await rig.gateway()
    for number, status in enumerate(NOT_RETRYABLE, 1):
        for engine in engines:
            engine.script = _refusal(status)

        answer = await rig.post(ask())

        assert (status, number) == (answer.status, _asked(engines))
        assert answers.error(status, f"status {status}") == answer.body


async def test_case_06_no_retry_after_the_first_byte(rig: Rig) -> None:
    """A stream that breaks after its first frame is never sent to a second replica."""
    frame = answers.chat_chunk("m", {"content": "Hi"})
    engines = [await rig.engine(answers.streams_then(frame, then=answers.resets)) for _ in range(2)]
    await rig.gateway()

    answer = await rig.post(streamed())

    ends_with_error(answer)
    assert 1 == _asked(engines)


@pytest.mark.parametrize("status", [429, 503])
async def test_case_06_last_answer_of_engines_is_returned(rig: Rig, status: int) -> None:
    """When all attempts are refused, the client gets the engine's answer and its Retry-After."""
    engines = [await rig.engine(_refusal(status)) for _ in range(2)]
    await rig.gateway()

    answer = await rig.post(ask())

    assert (status, 2) == (answer.status, _asked(engines))
    assert answers.error(status, f"status {status}") == answer.body
    assert 7 == retry_after(answer)


async def test_case_06_attempts_are_bounded(rig: Rig) -> None:
    """No more replicas are asked than `retries.attempts`, and none twice."""
    engines = [await rig.engine(_refusal(503)) for _ in range(5)]
    await rig.gateway(retries={"attempts": 3})

    answer = await rig.post(ask())

    assert 503 == answer.status
    assert [0, 0, 1, 1, 1] == sorted(len(engine.exchanges) for engine in engines)


async def test_case_06_one_replica_is_not_asked_twice(rig: Rig) -> None:
    """With one replica there is no other to try: it is asked once."""
    engine = await rig.engine(_refusal(503))
    await rig.gateway(retries={"attempts": 5})

    assert 503 == (await rig.post(ask())).status
    assert 1 == len(engine.exchanges)


async def test_case_06_nobody_can_be_reached(rig: Rig) -> None:
    """When no replica can be reached the answer is 502 upstream_failed."""
    await rig.gateway(urls=[rig.refusing().url, rig.refusing().url])

    openai_error(await rig.post(ask()), 502, "upstream_failed")


async def test_case_06_retry_budget(rig: Rig) -> None:
    """Retries are a share of requests plus a few: when all replicas fail, they cannot storm."""
    engines = [await rig.engine(_refusal(503)) for _ in range(2)]
    await rig.gateway(retries={"budget": 0, "budget_min": 2})

    seen = [await rig.post(ask()) for _ in range(10)]

    assert [503] * 10 == [answer.status for answer in seen]
    assert 10 + 2 == _asked(engines)


async def test_case_06_deadline_spans_all_attempts(rig: Rig) -> None:
    """The total clock runs over all attempts; a retry does not start it again."""

    async def script(exchange: Exchange) -> None:
        await asyncio.sleep(0.3)
        await _refusal(503)(exchange)

    engines = [await rig.engine(script) for _ in range(4)]
    await rig.gateway(timeouts={"total_s": 0.5}, retries={"attempts": 4})

    answer = await rig.post(ask())

    openai_error(answer, 504, "timeout")  # each of four attempts alone would be in time
    assert 1 <= _asked(engines) < 4


@pytest.mark.parametrize("status", [400, 404, 422])
async def test_case_07_client_errors_do_not_count(rig: Rig, status: int) -> None:
    """However many 4xx a replica answers, it stays in use."""
    engine = await rig.engine(_refusal(status))
    await rig.gateway(timeouts={"queue_s": 0.2})
    refused = [await rig.post(ask()) for _ in range(30)]

    engine.script = answers.like_vllm

    assert [status] * 30 == [answer.status for answer in refused]
    assert 200 == (await rig.post(ask())).status


async def test_case_07_cancels_do_not_count(rig: Rig) -> None:
    """However many clients leave, the replica stays in use."""
    engine = await rig.engine(answers.hangs)
    await rig.gateway(timeouts={"queue_s": 0.2})
    for number in range(30):
        client = await rig.client().__aenter__()
        await client.send(request("POST", CHAT_PATH, ask()))
        await engine.exchange(number)
        client.close()
    await rig.idle()

    engine.script = answers.like_vllm

    assert 200 == (await rig.post(ask())).status


async def test_case_07_dead_fleet_is_never_404(rig: Rig) -> None:
    """A fleet that fails is 502, or 503 with Retry-After, never 404; and it recovers."""
    engine = await rig.engine()
    await rig.gateway(timeouts={"queue_s": 0.1})
    await engine.kill()

    seen = [await rig.post(ask()) for _ in range(12)]

    assert {answer.status for answer in seen} <= {502, 503}
    for answer in seen:
        openai_error(answer, answer.status)
        if answer.status == 503:
            retry_after(answer)
    await engine.start()
    await rig.recovery()


async def test_case_07_bad_replica_does_not_spoil_good_one(rig: Rig) -> None:
    """One replica that always fails: every request is still answered by the other."""
    await rig.engine(_refusal(503))
    good = await rig.engine()
    await rig.gateway()

    seen = [await rig.post(ask()) for _ in range(20)]

    assert [200] * 20 == [answer.status for answer in seen]
    assert 20 == len(good.exchanges)
