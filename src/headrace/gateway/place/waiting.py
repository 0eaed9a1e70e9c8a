"""
A request's wait, for a model that has no replica or for room: how long, and how its client is
kept company.

Who waits and in which order is fleet/hold.py's; who waits for room, and how long, is usher.py's.
"""

import asyncio
from collections.abc import Iterable
from typing import TypeVar

from headrace.config.backends import Model
from headrace.config.schema import Config
from headrace.errors import NoReplica
from headrace.fleet.registry import Group
from headrace.gateway.exchange import Exchange

T = TypeVar("T")

# How long a client should wait when nothing was ready within the queue clock.
RETRY_AFTER_S = 5


class Waiting:
    """What the configuration says about it, held once."""

    def __init__(self, config: Config, models: Iterable[Model]) -> None:
        usual = config.timeouts.queue_s
        self._patience_s = {m.name: max(usual, m.cold_start_s or 0.0) for m in models}
        self._keep_alive_s = config.hold.keep_alive_s

    async def wait(self, exchange: Exchange, group: Group) -> None:
        """
        Return when the model has a replica.

        Raises:
            NoReplica: none came within the queue clock, or none can be started.
            Overloaded: too many wait already.

        """
        patience_s = self._patience_s[exchange.served]
        if exchange.plan is not None and exchange.plan.queue_s is not None:
            patience_s = exchange.plan.queue_s
        try:
            async with asyncio.timeout(patience_s):
                await self._ready(exchange, group)
        except TimeoutError:
            trouble = f": {group.hold.trouble}" if group.hold.trouble else ""
            message = (
                f"No replica of `{exchange.served}` became ready within {patience_s:g} s{trouble}."
            )
            raise NoReplica(message, retry_after_s=RETRY_AFTER_S) from None

    async def company(self, exchange: Exchange, waiter: "asyncio.Future[T]") -> T:
        """What the waiter brings; the client of a stream hears from us meanwhile."""
        if self._keep_alive_s is None or not exchange.facts.stream:
            return await waiter
        while not (await asyncio.wait({waiter}, timeout=self._keep_alive_s))[0]:
            exchange.comfort()
        return waiter.result()

    async def _ready(self, exchange: Exchange, group: Group) -> None:
        size = exchange.request.size
        if self._keep_alive_s is None or not exchange.facts.stream:
            await group.ready(size)
            return
        ready = asyncio.ensure_future(group.ready(size))
        try:
            await self.company(exchange, ready)
        finally:
            ready.cancel()
