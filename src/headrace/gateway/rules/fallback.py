"""
A request whose rule names several targets: the first that has a replica and begins to answer gets
it. What happens within one target is dispatch.py's.
"""

from headrace.errors import NoReplica, Overloaded, TimedOut, UpstreamFailed
from headrace.fleet.registry import Fleet
from headrace.gateway.exchange import Exchange
from headrace.gateway.rules.steer import Steer
from headrace.gateway.send.dispatch import Dispatcher
from headrace.upstream.connection import Reply

# What a decision record says of a target that did not answer, beside why.
PASSED_OVER = ("rules", "passed over")


class Fallbacks:
    """Stands before the dispatcher, for such requests only."""

    def __init__(
        self, dispatcher: Dispatcher, fleet: Fleet, steer: Steer, statuses: frozenset[int]
    ) -> None:
        """``statuses`` are answers of a replica that count as none."""
        self._dispatcher = dispatcher
        self._fleet = fleet
        self._steer = steer
        self._statuses = statuses

    async def first_byte(self, exchange: Exchange, body: bytes) -> Reply:
        """
        The beginning of an answer, from the first target that gives one worth passing on.

        Targets without a replica are passed over; if none has one, the request waits for the
        first. Raises what the dispatcher raises for the last target that was tried.
        """
        plan = exchange.plan
        named = plan.targets if plan is not None else (exchange.served,)
        ready = [target for target in named if self._fleet.groups[target].replicas]
        *others, last = ready or [named[0]]
        for target in named[: named.index(ready[0])] if ready else ():
            exchange.note(*PASSED_OVER, f"{target} has no replica")
        for target in others:
            self._aim(exchange, target)
            try:
                reply = await self._dispatcher.first_byte(exchange, body)
            except (NoReplica, Overloaded, TimedOut, UpstreamFailed) as error:
                exchange.let_go()
                exchange.note(*PASSED_OVER, f"{target}: {error}")
                continue
            if reply.status not in self._statuses:
                return reply
            exchange.let_go()
            exchange.note(*PASSED_OVER, f"{target} answered {reply.status}")
        self._aim(exchange, last)
        return await self._dispatcher.first_byte(exchange, body)

    def _aim(self, exchange: Exchange, target: str) -> None:
        plan = exchange.plan
        self._steer.aim(exchange, target)
        if plan is not None and target != plan.targets[0]:
            self._steer.fallbacks[plan.ruling.rule] += 1
