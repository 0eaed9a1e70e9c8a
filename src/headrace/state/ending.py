"""How a task that talks to the shared state is ended. What it does until then is its own."""

import asyncio
from collections.abc import Iterable

AGAIN_S = 0.5


async def end(tasks: Iterable["asyncio.Task[None]"]) -> None:
    """
    Cancel tasks until they have ended: a client library in between may take a cancellation that
    meets a time-out of its own for that time-out, and go on.
    """
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=AGAIN_S)
