"""
Requests that wait for a model's first replica: bounded, in order, and a signal that wakes one.

It knows how many wait and how large they are; what starts a replica listens to ``wanted``.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from headrace.errors import Overloaded

# What a client should wait before it tries again when the queue is full: a cold start takes longer.
RETRY_AFTER_S = 10


class Hold:
    """
    The queue in front of one model while it has no replica.

    ``wanted`` is called with True when the first request begins to wait and with False when nobody
    waits any more: in between, somebody wants a replica.
    """

    def __init__(
        self, max_requests: int, max_bytes: int, wanted: Callable[[bool], None] | None = None
    ) -> None:
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._wanted = wanted
        self._waiters: OrderedDict[asyncio.Future[None], int] = OrderedDict()
        self.bytes = 0

    @property
    def requests(self) -> int:
        """Requests that wait."""
        return len(self._waiters)

    async def wait(self, size: int) -> None:
        """
        Wait for ``release``; a request of ``size`` bytes keeps its place in the queue meanwhile.

        Raises:
            Overloaded: the queue is full.

        """
        if self.requests >= self._max_requests or self.bytes + size > self._max_bytes:
            raise Overloaded(
                f"{self.requests} requests wait for this model to start already.",
                retry_after_s=RETRY_AFTER_S,
            )
        waiter = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = size
        self.bytes += size
        if self.requests == 1 and self._wanted is not None:
            self._wanted(True)
        try:
            await waiter
        finally:
            self._leave(waiter)

    def release(self) -> None:
        """A replica is ready: everyone goes on, first come first."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _leave(self, waiter: asyncio.Future[None]) -> None:
        self.bytes -= self._waiters.pop(waiter)
        if not self._waiters and self._wanted is not None:
            self._wanted(False)
