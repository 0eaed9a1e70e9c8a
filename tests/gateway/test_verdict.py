"""verdict.py: which answers count against a replica, and which may be asked for again elsewhere."""

import pytest

from headrace.config.schema import Backend
from headrace.conformance import answers
from headrace.fleet.registry import Replica
from headrace.fleet.states import State
from headrace.gateway.verdict import judge
from tests.edge.rig import Rig, ask

BUSY = answers.error(503, message="The engine is currently busy and cannot accept new requests.")
ENDING = answers.error(500, message="cannot schedule new futures after shutdown")


@pytest.mark.parametrize(
    ("status", "probed", "counted"),
    [
        (400, True, "refused"),
        (429, True, "refused"),
        (500, True, "failures"),
        (501, True, "refused"),
        (502, True, "failures"),
        (503, True, "refused"),
        (503, False, "failures"),
    ],
)
def test_what_counts(status: int, probed: bool, counted: str) -> None:
    """Refusals say nothing of an engine; 503 only fails it where nobody asks for its health."""
    backend = {"url": "http://gpu:1", "serves": ["m"], "probe": probed}
    replica = Replica(Backend.model_validate(backend), 1)
    lease = replica.lease(1)
    judge(lease, status)
    lease.release()

    named = {"refused": replica.refused, "failures": replica.failures}
    assert {"refused": 0, "failures": 0, counted: 1} == named
    assert 0 == replica.answered


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
    for _ in range(4):
        await rig.engine(answers.says(503, BUSY))
    gateway = await rig.gateway()
    seen = {(await rig.post(ask())).status for _ in range(60)}

    assert ({503}, {State.READY}) == (seen, {r.state for r in gateway.fleet.replicas.values()})


async def test_an_engine_that_ends(rig: Rig) -> None:
    """What vLLM says 500 to on its way out goes to another replica, and nobody sees that."""
    leaving, staying = await rig.engine(answers.says(500, ENDING)), await rig.engine()
    await rig.gateway()
    seen = [(await rig.post(ask())).status for _ in range(8)]

    assert [200] * 8 == seen
    assert 8 == len(staying.exchanges)
    assert leaving.exchanges


async def test_another_500_is_the_answer(rig: Rig) -> None:
    """Any other 500 may have cost tokens: it is passed on."""
    await rig.engine(answers.says(500, answers.error(500)))
    other = await rig.engine()
    await rig.gateway()
    seen = sorted([(await rig.post(ask())).status for _ in range(2)])

    assert ([200, 500], 1) == (seen, len(other.exchanges))
