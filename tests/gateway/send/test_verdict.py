"""verdict.py: which answers count against a replica, and which may be asked for again elsewhere."""

import pytest

from headrace.config.backends import Backend
from headrace.conformance import answers
from headrace.conformance.wire import request
from headrace.fleet.registry import Replica
from headrace.fleet.states import State
from headrace.gateway.send.verdict import judge
from tests.edge.rig import CHAT_PATH, Rig, ask, eventually

BUSY = answers.error(503, message="The engine is currently busy and cannot accept new requests.")
ENDING = answers.error(500, message="cannot schedule new futures after shutdown")


@pytest.mark.parametrize(
    ("status", "probed", "others", "counted"),
    [
        (400, True, 0, "refused"),
        (429, True, 0, "refused"),
        (500, True, 1, "failures"),
        (501, True, 0, "refused"),
        (502, True, 1, "failures"),
        (503, True, 1, "refused"),
        (503, True, 0, "failures"),
        (503, False, 1, "failures"),
    ],
)
def test_what_counts(status: int, probed: bool, others: int, counted: str) -> None:
    """Refusals say nothing of an engine; nor does 503 of one that works and is probed."""
    backend = {"url": "http://gpu:1", "serves": ["m"], "probe": probed}
    replica = Replica(Backend.model_validate(backend), 1)
    more = [replica.lease(1) for _ in range(others)]
    lease = replica.lease(1)
    judge(lease, status)
    lease.release()

    named = {"refused": replica.refused, "failures": replica.failures}
    assert {"refused": 0, "failures": 0, counted: 1} == named
    assert (0, others) == (replica.answered, len(more))


def test_busy_with_the_requests_of_others() -> None:
    """What another gateway has sent there fills its queue as well; its metrics tell."""
    replica = Replica(Backend.model_validate({"url": "http://gpu:1", "serves": ["m"]}), 1)
    replica.running = 3.0
    judge(lease := replica.lease(1), 503)
    lease.release()

    assert (1, 0) == (replica.refused, replica.failures)


def test_one_word_for_each_request() -> None:
    """An answer of 500 that then breaks off, and whose client leaves, is one failure."""
    replica = Replica(Backend.model_validate({"url": "http://gpu:1", "serves": ["m"]}), 1)
    lease = replica.lease(1)
    lease.fail("status 500")
    lease.fail("it broke off")
    lease.abandon()
    lease.release()

    assert (1, 0, 0) == (replica.failures, replica.abandoned, replica.answered)


async def test_a_busy_fleet_stays(rig: Rig) -> None:
    """Engines with full queues answer 503 to everybody, and none of them is set aside for it."""
    engines = [await rig.engine(answers.hangs) for _ in range(4)]
    gateway = await rig.gateway()
    clients = [await rig.client().__aenter__() for _ in engines]
    for client in clients:
        await client.send(request("POST", CHAT_PATH, ask()))
    replicas = gateway.fleet.replicas.values()
    await eventually(lambda: all(replica.inflight_requests for replica in replicas))
    for engine in engines:
        engine.script = answers.says(503, BUSY)
    seen = {(await rig.post(ask())).status for _ in range(60)}

    assert ({503}, {State.READY}) == (seen, {replica.state for replica in replicas})


async def test_an_engine_that_ends(rig: Rig) -> None:
    """What vLLM says 500 to on its way out goes to another replica, and nobody sees that."""
    leaving, staying = await rig.engine(answers.says(500, ENDING)), await rig.engine()
    await rig.gateway()
    seen = [(await rig.post(ask())).status for _ in range(20)]

    assert [200] * 20 == seen
    assert 20 == len(staying.exchanges)
    assert leaving.exchanges


async def test_another_500_is_the_answer(rig: Rig) -> None:
    """Any other 500 may have cost tokens: it is passed on."""
    engines = [await rig.engine(answers.says(500, answers.error(500))) for _ in range(2)]
    await rig.gateway()
    status = (await rig.post(ask())).status

    assert (500, 1) == (status, sum(len(engine.exchanges) for engine in engines))
