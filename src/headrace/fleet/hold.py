"""
Requests that wait for a model's first replica: bounded, in order, and a signal that wakes one.

It knows how many wait and how large they are; what starts a replica listens to ``wanted``.
"""

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable

from headrace.errors import NoReplica, Overloaded

# What a client should wait before it tries again when the queue is full: a cold start takes longer.
RETRY_AFTER_S = 10


class Hold:
    """
    The queue in front of one model while it has no replica.

    ``wanted`` is called with True when the first request begins to wait and with False when nobody
    waits any more: in between, somebody wants a replica. ``trouble`` says why none could be started
    so far, and is empty when nothing is known to be wrong.
    """

    def __init__(
        self, max_requests: int, max_bytes: int, wanted: Callable[[bool], None] | None = None
    ) -> None:
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self.wanted = wanted
        self.trouble = ""
        self._closed_until = 0.0  # the loop's clock
        self._waiters: OrderedDict[asyncio.Future[NoReplica | None], int] = OrderedDict()
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
            NoReplica: none can be started, as ``refuse`` was told.

        """
        loop = asyncio.get_running_loop()
        left_s = self._closed_until - loop.time()
        if left_s > 0:
            raise _refusal(self.trouble, left_s)
        if self.requests >= self._max_requests or self.bytes + size > self._max_bytes:
            raise Overloaded(
                f"{self.requests} requests wait for this model to start already.",
                retry_after_s=RETRY_AFTER_S,
            )
        waiter: asyncio.Future[NoReplica | None] = loop.create_future()
        self._waiters[waiter] = size
        self.bytes += size
        if self.requests == 1 and self.wanted is not None:
            self.wanted(True)
        try:
            refusal = await waiter
        finally:
            self._leave(waiter)
        if refusal is not None:
            raise refusal

    def release(self) -> None:
        """A replica is ready: everyone goes on, first come first."""
        self.trouble, self._closed_until = "", 0.0
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def refuse(self, reason: str, retry_after_s: float) -> None:
        """No replica can be started: tell everyone, and whoever comes within the next seconds."""
        self.trouble = reason
        self._closed_until = asyncio.get_running_loop().time() + retry_after_s
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(_refusal(reason, retry_after_s))

    def _leave(self, waiter: asyncio.Future[NoReplica | None]) -> None:
        self.bytes -= self._waiters.pop(waiter)
        if not self._waiters and self.wanted is not None:
            self.wanted(False)


def _refusal(reason: str, retry_after_s: float) -> NoReplica:
    seconds = math.ceil(retry_after_s)
    return NoReplica(f"{reason}.", outcome="upstream_failed_start", retry_after_s=seconds)
