"""hold.py: who waits for a model goes on in order, within bounds, and nothing of it stays."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import NoReplica, Overloaded
from headrace.fleet.hold import Hold


async def turns(count: int = 3) -> None:
    """Let the loop go round."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_first_come_first() -> None:
    """When a replica is ready, requests go on in the order in which they came."""
    hold, order = Hold(10, 1000), []

    async def visit(number: int) -> None:
        await hold.wait(1)
        order.append(number)

    visits = [asyncio.create_task(visit(number)) for number in range(5)]
    await turns()
    hold.release()
    await asyncio.gather(*visits)

    assert [0, 1, 2, 3, 4] == order
    assert (0, 0) == (hold.requests, hold.bytes)


@pytest.mark.parametrize("sizes", [[1, 1, 1], [60, 50]])
async def test_the_bounds(sizes: list[int]) -> None:
    """The request that would exceed the count or the bytes is refused; those that wait stay."""
    hold = Hold(2, 100)
    *fits, too_much = sizes
    waiting = [asyncio.create_task(hold.wait(size)) for size in fits]
    await turns()

    with pytest.raises(Overloaded) as caught:
        await hold.wait(too_much)
    hold.release()
    await asyncio.gather(*waiting)

    assert (503, 10) == (caught.value.status, caught.value.retry_after_s)


async def test_a_wish_lasts_as_long_as_somebody_waits() -> None:
    """One call when the first comes, one when the last has gone, by success or by giving up."""
    said: list[bool] = []
    hold = Hold(10, 1000, said.append)
    first, second = asyncio.create_task(hold.wait(1)), asyncio.create_task(hold.wait(1))
    await turns()
    first.cancel()
    await turns()
    wished = list(said)
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)

    assert ([True], [True, False]) == (wished, said)


async def test_a_refusal_reaches_all_and_passes() -> None:
    """Who waits and who comes within its time is told; later ones wait, and a replica ends it."""
    hold = Hold(10, 1000)
    waiting = [asyncio.create_task(hold.wait(1)) for _ in range(2)]
    await turns()
    hold.refuse("no GPU", 0.5)
    told = await asyncio.gather(*waiting, return_exceptions=True)
    with pytest.raises(NoReplica) as soon:
        await hold.wait(1)
    await asyncio.sleep(0.55)
    later = asyncio.create_task(hold.wait(1))
    await turns()
    waits = not later.done()
    hold.refuse("no GPU", 60)
    await asyncio.gather(later, return_exceptions=True)
    hold.release()
    after = asyncio.create_task(hold.wait(1))
    await turns()
    hold.release()
    await after

    assert ["no GPU.", "no GPU."] == [str(error) for error in told]
    assert (503, 1) == (soon.value.status, soon.value.retry_after_s)
    assert (True, 0, "") == (waits, hold.requests, hold.trouble)


async def test_who_left_is_not_refused() -> None:
    """A request whose client has gone just now takes no answer along."""
    hold = Hold(10, 1000)
    waiting = asyncio.create_task(hold.wait(1))
    await turns()
    waiting.cancel()
    hold.refuse("no GPU", 0.01)
    await asyncio.gather(waiting, return_exceptions=True)

    assert (True, 0) == (waiting.cancelled(), hold.requests)


@settings(max_examples=100)
@given(st.lists(st.sampled_from(["come", "give up", "release"]), max_size=20))
def test_nothing_stays(steps: list[str]) -> None:
    """Whatever comes, gives up and is released: the counts are those of who still waits."""

    async def play() -> None:
        hold, waiting = Hold(5, 1000), list[asyncio.Task[None]]()
        for step in steps:
            if step == "come" and hold.requests < 5:
                waiting.append(asyncio.create_task(hold.wait(7)))
            elif step == "give up" and waiting:
                waiting.pop(0).cancel()
            elif step == "release":
                hold.release()
            await turns()
            left = sum(not task.done() for task in waiting)
            assert (left, 7 * left) == (hold.requests, hold.bytes)
        hold.release()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert (0, 0) == (hold.requests, hold.bytes)

    asyncio.run(play())
