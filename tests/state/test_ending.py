"""ending.py: tasks end, whoever swallows a cancellation."""

import asyncio
import contextlib

from headrace.state.ending import end


async def test_a_swallowed_cancellation_is_repeated() -> None:
    """A task that goes on after its first cancellation is cancelled again."""
    swallowed: list[int] = []

    async def stubborn() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        swallowed.append(1)
        await asyncio.Event().wait()

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    await end([task])

    assert task.cancelled()
    assert [1] == swallowed


async def test_nothing_to_end() -> None:
    """Without tasks it returns at once."""
    await end([])
