"""dispatch.py: how many retries there may be, and where they go when the fleet changes."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.conformance import answers
from headrace.conformance.fake import Exchange
from headrace.gateway.send.dispatch import RetryBudget
from tests.edge.rig import Rig, ask, eventually, openai_error


class TestRetryBudget:
    @given(
        st.floats(0, 1),
        st.integers(0, 20),
        st.lists(st.sampled_from(["request", "retry"]), max_size=200),
    )
    def test_never_more_than_a_share_and_a_reserve(
        self, share: float, reserve: int, steps: list[str]
    ) -> None:
        """In any order: retries so far <= reserve + share x requests so far."""
        budget = RetryBudget(share, reserve)
        requests = retries = 0
        for step in steps:
            if step == "request":
                requests += 1
                budget.deposit()
            elif budget.withdraw():
                retries += 1
            assert retries <= reserve + share * requests + 1e-6

    @given(st.floats(0, 1), st.integers(0, 20), st.integers(0, 300))
    def test_a_quiet_time_is_not_saved_up(self, share: float, reserve: int, requests: int) -> None:
        """After however many good requests a burst gets no more than the reserve (at least one)."""
        budget = RetryBudget(share, reserve)
        for _ in range(requests):
            budget.deposit()

        assert sum(budget.withdraw() for _ in range(100)) <= max(reserve, 1)

    @pytest.mark.parametrize(
        ("share", "reserve", "allowed"), [(0.0, 0, 0), (0.0, 3, 3), (0.5, 0, 1)]
    )
    def test_the_reserve_is_there_from_the_start(
        self, share: float, reserve: int, allowed: int
    ) -> None:
        """The first failures of a day may be retried; a budget of nothing allows nothing."""
        budget = RetryBudget(share, reserve)
        budget.deposit()
        budget.deposit()

        assert allowed == sum(budget.withdraw() for _ in range(10))

    def test_a_steady_share(self) -> None:
        """When everything fails, one in five is retried, once the reserve is gone."""
        budget = RetryBudget(0.2, 10)
        allowed = 0
        for _ in range(1000):
            budget.deposit()
            allowed += budget.withdraw()

        assert 200 <= allowed <= 210


async def test_the_others_left_meanwhile(rig: Rig) -> None:
    """
    A retry that was granted finds the other replicas gone: the one that failed is asked again
    or the request fails; either way there is an answer and no lease is left.
    """
    go = asyncio.Event()

    async def refuses(exchange: Exchange) -> None:
        await go.wait()
        await exchange.answer(503, answers.error(503))

    first, second = await rig.engine(refuses), await rig.engine(refuses)
    started = await rig.gateway()
    asked = asyncio.create_task(rig.post(ask()))
    await eventually(lambda: bool(first.exchanges or second.exchanges))
    idle = second if first.exchanges else first
    started.fleet.remove(f"127.0.0.1:{idle.port}")
    go.set()

    assert 503 == (await asked).status
    assert [] == idle.exchanges


async def test_a_retry_may_wait_for_a_replica(rig: Rig) -> None:
    """Between two attempts the whole fleet is replaced: the retry goes to the new replica."""
    started = await rig.gateway(urls=[], timeouts={"queue_s": 5})
    bad, spare, good = [await rig.engine() for _ in range(3)]

    async def refuses(exchange: Exchange) -> None:
        for engine in (bad, spare):
            started.fleet.remove(f"127.0.0.1:{engine.port}")
        started.fleet.add(rig.backend(good))
        await exchange.answer(503, answers.error(503))

    bad.script = spare.script = refuses
    started.fleet.add(rig.backend(bad))
    started.fleet.add(rig.backend(spare))

    answer = await rig.post(ask())

    assert (200, 1) == (answer.status, len(good.exchanges))


async def test_no_fleet_and_no_time(rig: Rig) -> None:
    """The queue clock's answer says which model is missing and when to come back."""
    await rig.gateway(urls=[], timeouts={"queue_s": 0.01})

    error = openai_error(await rig.post(ask()), 503, "no_replica")

    assert "`m`" in error["message"]


async def test_what_is_taken_back_costs_no_retry(rig: Rig) -> None:
    """All that waits at a stuck replica goes elsewhere, more than the retry budget would allow."""
    stuck = await rig.engine(answers.hangs)
    gateway = await rig.gateway(retries={"budget": 0, "budget_min": 0})
    waiting = [asyncio.create_task(rig.post(ask())) for _ in range(30)]
    await eventually(lambda: len(stuck.exchanges) == 30)
    gateway.fleet.add(rig.backend(await rig.engine()))
    gateway.fleet.replicas[f"127.0.0.1:{stuck.port}"].pool.give_up("it is stuck")

    assert [200] * 30 == [(await answer).status for answer in waiting]
