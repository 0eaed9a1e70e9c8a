"""
From a decision to the first byte of an answer: the only place that tries again.

A request may be sent again only while the client has seen nothing, only to another replica, only
for failures that are the replica's, and only within attempts, the total clock and a retry budget.
"""

import asyncio
import math

from headrace.config.schema import Config
from headrace.errors import ApiError, TimedOut, UpstreamFailed
from headrace.fleet.registry import Group, Replica
from headrace.gateway.body.prompt import Prompts
from headrace.gateway.body.scan import rename_model
from headrace.gateway.clocks import now
from headrace.gateway.door.headers import forwarded
from headrace.gateway.exchange import Exchange
from headrace.gateway.place.placement import Placement
from headrace.gateway.place.usher import Usher
from headrace.gateway.place.waiting import Waiting
from headrace.gateway.send import verdict
from headrace.gateway.send.attempt import Attempt
from headrace.routing.lane import Ask, Lease
from headrace.routing.policies import BLIND
from headrace.routing.stickiness import Stickiness
from headrace.upstream.connection import Broken, ConnectTimeout, Reply, TakenBack

# What an answer is expected to cost beyond its prompt when the client allows more, in tokens:
# clients often allow far more than models write, so the allowance itself would mislead.
EXPECTED_OUTPUT = 256

# ``Exchange.held_at`` of a request that waits for a model's first replica, until it waits no more.
HELD = math.inf


class RetryBudget:
    """
    Retries as a share of requests, so that a sick fleet is not buried under them.

    Each request deposits ``share``, each retry takes 1; the account never holds more than
    ``reserve``, with which it starts (the scheme of Finagle's RetryBudget).
    """

    def __init__(self, share: float, reserve: int) -> None:
        self._share = share
        self._balance = float(reserve)
        self._most = max(float(reserve), 1.0)
        self.refused = 0  # retries, so far

    @property
    def left(self) -> int:
        """Retries that may be made in a row now."""
        return int(self._balance)

    def deposit(self) -> None:
        """Count a request."""
        if self._balance < self._most:
            self._balance = min(self._balance + self._share, self._most)

    def withdraw(self) -> bool:
        """Take one retry, if there is one."""
        if self._balance < 1:
            self.refused += 1
            return False
        self._balance -= 1
        return True


class Dispatcher:
    """Sends requests to replicas until one begins to answer."""

    def __init__(
        self,
        config: Config,
        placement: Placement,
        waiting: Waiting,
        usher: Usher,
        sticky: Stickiness,
    ) -> None:
        retries = config.retries
        self._placement = placement
        self._groups = placement.groups
        self._prompts = Prompts(config.routing, usher.rank)
        self._usher = usher
        self._policy = config.routing.policy
        self._waiting = waiting
        self._attempts = retries.attempts
        self._statuses = retries.statuses
        self._timeouts = config.timeouts
        self.budget = RetryBudget(retries.budget, retries.budget_min)
        self._sticky = sticky

    async def first_byte(self, exchange: Exchange, body: bytes) -> Reply:
        """
        The beginning of an answer, from the first replica that gives one worth passing on.

        Raises:
            NoReplica: the model had no replica for as long as the queue clock allows.
            Overloaded: too many requests wait for one, or for room, already.
            UpstreamFailed: the replicas that were tried could not be reached or broke.
            TimedOut: the last of them could not be reached in time.

        """
        self.budget.deposit()
        tried: list[str] = []
        while True:
            replica = await self._place(exchange, body, tried)
            tried.append(replica.name)
            exchange.attempts += 1
            exchange.replica = replica
            exchange.lease = replica.lease(_cost(exchange))
            attempt = _begin(exchange, replica)
            if exchange.facts.stream:
                timeouts = self._timeouts if exchange.plan is None else exchange.plan.timeouts
                exchange.wait("first_byte", attempt.placed_at + timeouts.first_byte_s)
            else:
                exchange.wait("total", exchange.total_at)
            try:
                reply = await replica.pool.send(*_request(exchange, replica, body))
            except Broken as broken:
                exchange.blame(broken.reason)
                attempt.ended_at, attempt.error = now(), broken.reason
                taken_back = isinstance(broken, TakenBack)
                if not self._may_retry(exchange, tried, free=taken_back):
                    raise _failed(broken) from None
                exchange.let_go()
                continue
            exchange.connection = reply.connection
            attempt.answer(now(), reply)
            if reply.status < 400:
                return reply
            verdict.judge(exchange.lease, reply.status)
            again = verdict.may_repeat(reply, self._statuses)
            if not again or not self._may_retry(exchange, tried):
                return reply
            attempt.ended_at = attempt.answered_at
            exchange.let_go()

    async def _place(self, exchange: Exchange, body: bytes, tried: list[str]) -> Replica:
        """The replica that gets the request, once there is one with room for it."""
        placement, model = self._placement, exchange.served
        while True:
            group = self._groups[model]
            if not group.replicas:
                exchange.held_at = HELD
                try:
                    await self._waiting.wait(exchange, group)
                finally:
                    exchange.held_at = now()
            holder = self._holder(exchange, group) if exchange.facts.sticky else None
            lease: Lease | asyncio.Future[Lease | None] | None
            if holder is not None:
                lease = placement.bind(self._prompts.short(exchange), model, holder)
            else:
                ask = self._ask(exchange, group, body, tried)
                lease = placement.offer(ask, model)
                if isinstance(lease, asyncio.Future):
                    lease = await self._queue(exchange, ask, lease)
            if lease is not None:
                replica, exchange.place = placement.place(lease, model)
                if lease.decision is not None:
                    exchange.reason = lease.decision.reason
                return replica

    def _ask(self, exchange: Exchange, group: Group, body: bytes, tried: list[str]) -> Ask:
        """The request as routing sees it; its blocks only where they make a difference."""
        named = exchange.plan.policy if exchange.plan is not None else ""
        if len(group.replicas) == 1 or (named or self._policy) in BLIND:
            ask = self._prompts.short(exchange)
        else:
            density = self._placement.models[exchange.served].density
            ask = self._prompts.full(exchange, body, density)
        if tried:
            ask.tried = set(tried)
        return ask

    async def _queue(
        self, exchange: Exchange, ask: Ask, lease: "asyncio.Future[Lease | None]"
    ) -> Lease | None:
        """Its lease; None when the last replica left while it waited."""
        model = exchange.served
        exchange.wait("queue", self._usher.seat(exchange, ask, self._placement.models[model].pool))
        try:
            granted = await self._waiting.company(exchange, lease)
        except BaseException:
            self._placement.withdraw(ask, model)
            raise
        self._usher.leave(exchange, ask)
        return granted

    def _holder(self, exchange: Exchange, group: Group) -> Replica | None:
        """The replica that holds the stored response which the request continues."""
        holder = self._sticky.recall(exchange.facts.sticky)
        if holder is None or holder.replica not in group.names or len(group.names) == 1:
            return None
        return group.replicas[group.names.index(holder.replica)]

    def _may_retry(self, exchange: Exchange, tried: list[str], *, free: bool = False) -> bool:
        """
        Whether another replica may be tried: the replica that holds a stored response has no other.
        What we took back ourselves is ``free``: it was no try, and happens once for each replica.
        """
        if exchange.facts.sticky and self._sticky.recall(exchange.facts.sticky):
            return False
        others = set(self._groups[exchange.served].names) - set(tried)
        return len(tried) < self._attempts and bool(others) and (free or self.budget.withdraw())


def _begin(exchange: Exchange, replica: Replica) -> Attempt:
    """Note an attempt, and let the engine's spans be its children."""
    place = exchange.place
    assert place is not None  # noqa: S101 - _place has set it
    lease, trace = place.lease, exchange.trace
    attempt = Attempt(
        replica.name, lease.decision, lease.predicted, lease.ask.arrived_at, lease.taken_at, now()
    )
    if trace is not None:
        attempt.span = trace.go_on(exchange.request.headers)
    exchange.tries.append(attempt)
    return attempt


def _failed(broken: Broken) -> ApiError:
    message = f"The replica failed before its answer began: {broken.reason}."
    if isinstance(broken, ConnectTimeout):
        return TimedOut(message, outcome="timed_out_connect")
    return UpstreamFailed(message)


def _cost(exchange: Exchange) -> int:
    facts = exchange.facts
    output = min(facts.max_tokens, EXPECTED_OUTPUT) if facts.max_tokens else EXPECTED_OUTPUT
    return facts.prompt_tokens + output


def _request(exchange: Exchange, replica: Replica, body: bytes) -> tuple[bytes, tuple[bytes, ...]]:
    """
    The head and the body to send: the engine's own name for the model, and none of the client's
    secrets.
    """
    request = exchange.request
    facts = exchange.facts
    upstream = replica.serves[exchange.served]
    if exchange.endpoint.kind == "json" and upstream != facts.model:
        body = rename_model(body, facts.model, upstream)
    elif exchange.span is not None:
        start, end = exchange.span
        body = b"".join((body[:start], upstream.encode(), body[end:]))
    place = exchange.place
    tag = place.lease.tag if place is not None else ""
    head = b"%b %b HTTP/1.1\r\n%b%b%bcontent-length: %d\r\n\r\n" % (
        request.method.encode("ascii"),
        request.target,
        # vLLM puts this into the KV events of the prompt's blocks
        replica.head + b"x-session-id: %b\r\n" % tag.encode() if tag else replica.head,
        forwarded(request.headers),
        exchange.id_line,
        len(body),
    )
    return head, (body,)
