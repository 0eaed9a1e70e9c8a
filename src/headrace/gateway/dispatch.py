"""
From a decision to the first byte of an answer: the only place that tries again.

A request may be sent again only while the client has seen nothing, only to another replica, only
for failures that are the replica's, and only within attempts, the total clock and a retry budget.
"""

import itertools

from headrace.config.schema import Config
from headrace.errors import ApiError, TimedOut, UpstreamFailed
from headrace.fleet.registry import Fleet, Group, Replica
from headrace.gateway.clocks import now
from headrace.gateway.exchange import Exchange
from headrace.gateway.headers import forwarded
from headrace.gateway.scan import rename_model
from headrace.gateway.waiting import Waiting
from headrace.routing.router import Stickiness, choose, without
from headrace.upstream.connection import Broken, ConnectTimeout, Reply

# What an answer is expected to cost beyond its prompt when the client allows more, in tokens:
# clients often allow far more than models write, so the allowance itself would mislead.
EXPECTED_OUTPUT = 256


class RetryBudget:
    """
    Retries as a share of requests, so that a sick fleet is not buried under them.

    Each request deposits ``share``, each retry takes 1; the account never holds more than
    ``reserve``, with which it starts (the scheme of Finagle's RetryBudget).
    """

    def __init__(self, share: float, reserve: int) -> None:
        self._share = share
        self._reserve = float(reserve)
        self._balance = float(reserve)

    def deposit(self) -> None:
        """Count a request."""
        self._balance = min(self._balance + self._share, max(self._reserve, 1.0))

    def withdraw(self) -> bool:
        """Take one retry, if there is one."""
        if self._balance < 1:
            return False
        self._balance -= 1
        return True


class Dispatcher:
    """Sends requests to replicas until one begins to answer."""

    def __init__(self, config: Config, fleet: Fleet, waiting: Waiting, sticky: Stickiness) -> None:
        retries = config.retries
        self._fleet = fleet
        self._waiting = waiting
        self._attempts = retries.attempts
        self._statuses = retries.statuses
        self._timeouts = config.timeouts
        self._budget = RetryBudget(retries.budget, retries.budget_min)
        self._sticky = sticky
        self._turns = itertools.count()

    async def first_byte(self, exchange: Exchange, body: bytes) -> Reply:
        """
        The beginning of an answer, from the first replica that gives one worth passing on.

        Raises:
            NoReplica: the model had no replica for as long as the queue clock allows.
            Overloaded: too many requests wait for one already.
            UpstreamFailed: the replicas that were tried could not be reached or broke.
            TimedOut: the last of them could not be reached in time.

        """
        self._budget.deposit()
        tried: list[str] = []
        turn = next(self._turns)
        while True:
            group = self._fleet.groups[exchange.served]
            if not group.replicas:
                await self._waiting.wait(exchange, group)
            replica = self._choose(exchange, group, tried, turn)
            tried.append(replica.name)
            exchange.attempts += 1
            exchange.replica = replica
            exchange.lease = replica.lease(_cost(exchange))
            if exchange.facts.stream:
                timeouts = self._timeouts if exchange.plan is None else exchange.plan.timeouts
                exchange.wait("first_byte", now() + timeouts.first_byte_s)
            else:
                exchange.wait("total", exchange.total_at)
            try:
                reply = await replica.pool.send(*_request(exchange, replica, body))
            except Broken as broken:
                exchange.blame(broken.reason)
                if not self._may_retry(exchange, tried):
                    raise _failed(broken) from None
                exchange.let_go()
                continue
            exchange.connection = reply.connection
            if reply.status >= 500 and reply.status != 501:  # 501: it has no such endpoint
                exchange.blame(f"status {reply.status}")
            if reply.status not in self._statuses or not self._may_retry(exchange, tried):
                return reply
            exchange.let_go()

    def _choose(self, exchange: Exchange, group: Group, tried: list[str], turn: int) -> Replica:
        names, loads = group.names, group.loads
        if tried:
            names, loads = without(tried, names, loads)
            if not names:  # the others left while one was tried
                names, loads = group.names, group.loads
        holder = self._sticky.recall(exchange.facts.sticky) if exchange.facts.sticky else None
        replica = holder.replica if holder is not None else None
        decision = choose(names, loads, turn, replica)
        exchange.reason = decision.reason
        return self._fleet.replicas[names[decision.index]]

    def _may_retry(self, exchange: Exchange, tried: list[str]) -> bool:
        """
        Whether another replica may be tried: the replica that holds a stored response has no other.
        """
        if exchange.facts.sticky and self._sticky.recall(exchange.facts.sticky):
            return False
        others = set(self._fleet.groups[exchange.served].names) - set(tried)
        return len(tried) < self._attempts and bool(others) and self._budget.withdraw()


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
    head = b"%b %b HTTP/1.1\r\n%b%b%bcontent-length: %d\r\n\r\n" % (
        request.method.encode("ascii"),
        request.target,
        replica.head,
        forwarded(request.headers),
        exchange.id_line,
        len(body),
    )
    return head, (body,)
