"""
Limits on the way of a request: what it may use is held before it is sent, and settled when it has
ended. The arithmetic is admission/limits.py's, who has which limits bounds.py's, where the accounts
are purse.py's, and what the caller is told allowance.py's.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from headrace.admission.bounds import Bounds, Own, Plan, check, spoken, unknown
from headrace.admission.door import Door
from headrace.admission.limits import (
    MINUTE_US,
    RATES,
    SECOND_US,
    TOKENS,
    Amounts,
    Bound,
    Calendar,
    Level,
    Period,
    Permit,
    Refusal,
    claims,
    window,
)
from headrace.admission.types import Caller
from headrace.config.pricebook import prices
from headrace.config.schema import Config
from headrace.errors import TooLong
from headrace.gateway.accounts.allowance import ends, lines, refusal
from headrace.gateway.accounts.purse import Clocks, Purse
from headrace.gateway.accounts.recall import Recall
from headrace.gateway.body import length
from headrace.gateway.body.scan import BYTES_PER_TOKEN, TOKENS_PER_MEDIUM, Body
from headrace.gateway.exchange import Exchange
from headrace.gateway.gate import Gate, Hear
from headrace.metering.prices import Book
from headrace.metering.rows import EXPECTED_OUTPUT, counted
from headrace.state.redis import Link
from headrace.telemetry.limits import LimitsSeen
from headrace.telemetry.records import Record
from headrace.telemetry.writer import Writer

# Endpoints at which an engine works next to nothing: requests there count, tokens do not.
FREE = frozenset({"/tokenize", "/detokenize", "/v1/messages/count_tokens"})
# Tenants that have series of their own.
MOST_TENANTS = 200


class Shown(NamedTuple):
    """
    A limit and what is used of it, in its own unit. Of rates that is what has not come back yet;
    ``ends`` is the end of a day or month (s since 1970), else 0.
    """

    bound: Bound
    used: float
    held: int
    ends: float


class Quota:
    """The limits of one gateway. ``on`` is False while there are none."""

    def __init__(
        self,
        config: Config,
        models: Sequence[str],
        link: Link | None,
        log: Writer,
        clocks: Clocks | None = None,
    ) -> None:
        """
        Nothing is read or asked yet.

        Raises:
            ConfigError: the limits name models that there are not, or money that nothing costs; or
                the price book is wrong.

        """
        clocks = self._clocks = clocks or Clocks()
        self._config = config.limits
        self._models = models
        self._log = log
        book = prices(config.metering)
        check(config.limits, models, priced=bool(book.tokens))
        self._book = Book(book)
        self._bounds = Bounds(config.limits)
        self._calendar = Calendar(ZoneInfo(config.limits.time_zone))
        self.purse = Purse(config.limits, link, self._calendar, clocks)
        self.recall = Recall(config.metering, self.purse, self._calendar, clocks, log)
        self._plans: dict[tuple[str, str, str, int], Plan | None] = {}
        self._tenants: tuple[str, ...] = ()
        self._keys: dict[str, str] = {}
        self._strange: set[tuple[str, str]] = set()
        self._rejected: dict[tuple[str, str], int] = {}
        self._reserved = self._spent = self._held = 0
        self._reading: asyncio.Task[None] | None = None
        self._runs = False
        self.on = self._bounds.any

    @property
    def currency(self) -> str:
        """What money is counted in."""
        return self._book.currency

    # --- what the gateway calls -----------------------------------------------------------

    def gates(self) -> tuple[Gate, ...]:
        """Who stands in the way of requests; nobody, while nothing is limited."""
        return (self.admit,) if self.on else ()

    def hears(self) -> tuple[Hear, ...]:
        """Who hears of their ends."""
        return (self.settled,) if self.on else ()

    def adopt(self, door: Door) -> None:
        """Tenants or keys have changed. What is used of limits stays."""
        tenants = {name: each.limits for name, each in door.register.tenants.items()}
        keys = {
            name: Own(key.tenant, key.limits)
            for name, key in door.book.keys.items()
            if key.revoked_at is None
        }
        self._bounds.adopt(tenants, keys)
        self._tenants = (*tenants, *(() if keys else ("",)))  # nobody in particular has no name
        self._keys = {name: own.tenant for name, own in keys.items()}
        self._plans.clear()
        if not self.on and self._bounds.any:
            self.on = True
            if self._runs:  # the first limit of a gateway that has run without
                self._reading = asyncio.get_running_loop().create_task(self.recall.start())
        found: list[tuple[str, str, Mapping[str, float]]]
        found = [("tenant", name, limits) for name, limits in tenants.items()]
        found += [("key", name, own.limits) for name, own in keys.items()]
        for scope, name, limits in found:
            strange = unknown(limits)
            if strange and (scope, name) not in self._strange:
                self._strange.add((scope, name))
                self._log.event("limits_unknown", scope=scope, name=name, limits=strange)

    async def start(self) -> None:
        """Find the other gateways, and what was used before."""
        self._runs = True
        if self.purse.shared is not None:
            await self.purse.shared.start()
        if self.on:
            await self.recall.start()

    async def stop(self) -> None:
        """Tell the shared state what is left to tell."""
        reading, self._reading = self._reading, None
        if reading is not None:
            await asyncio.wait({reading})
        await self.recall.stop()
        if self.purse.shared is not None:
            await self.purse.shared.stop()

    async def admit(self, exchange: Exchange, body: bytes) -> bytes:
        """
        Hold what a request may use, or refuse it (``Gate``).

        Raises:
            RateLimited: a limit has no room for it; QuotaExceeded where waiting does not help.
            TooLong: it asks for a longer answer than it may.
            LimitsLost: the shared state does not answer, and nothing passes without it.

        """
        plan = self._plan(exchange.caller, exchange.served)
        if plan is None:
            return body
        output = 0
        path = exchange.endpoint.path
        if path in length.NAMES and (plan.tokens or plan.longest.tokens):
            body, output = self._bounded(exchange, body, plan)
        if not plan.bounds:
            return body
        now_s = self._clocks.day()
        period = self._calendar.at(now_s)
        permit = self._permit(exchange, plan, output, (now_s, period))
        shared = self.purse.shared
        if shared is None:
            found = self.purse.hold(permit)
        else:
            found = await self.purse.ask(shared, permit)
        dialect = exchange.endpoint.dialect
        if isinstance(found, Refusal):
            bound = found.claim.bound
            self.reject(bound.scope, bound.name)
            if bound.kind != "slots":
                exchange.put(lines([found.claim], [found.level], period, now_s, dialect))
            exchange.note("limits", "refused", f"{bound.name} of {spoken(bound.scope, bound.whom)}")
            part = shared is not None and not permit.lease
            raise refusal(found, period, now_s, self._book.currency, part=part)
        exchange.permit = permit
        self._held += 1
        exchange.put(lines(permit.claims, found, period, now_s, dialect))
        return body

    def settled(self, exchange: Exchange, record: Record) -> None:
        """A request has ended (``Hear``)."""
        permit = exchange.permit
        if permit is None:
            return
        exchange.permit = None
        used = self._used(permit, record)
        self._held -= 1
        self._reserved += permit.amounts[TOKENS]
        self._spent += used[TOKENS]
        self.purse.settle(permit, used)
        permit.claims = []

    def seen(self) -> LimitsSeen:
        """How it is going, for the metrics."""
        shared = self.purse.shared
        return LimitsSeen(
            rejected=dict(self._rejected),
            reserved=self._reserved,
            used=self._spent,
            held=self._held,
            lost=dict(self.purse.lost),
            settlements={
                "written": shared.written if shared is not None else 0,
                "dropped": shared.dropped if shared is not None else 0,
            },
            waiting=shared.waiting if shared is not None else 0,
            ratios=self._ratios(),
        )

    async def shown(self, tenant: str | None = None) -> list[Shown]:
        """
        All limits and what is used of them now, or those of one tenant and its keys.

        Raises:
            StateLost: the shared state does not answer.

        """
        bounds = {bound.account: bound for bound in self._all(tenant)}
        period = self._calendar.at(self._clocks.day())
        asked = [(bound, window(bound.span, period)) for bound in bounds.values()]
        levels = await self.purse.levels(asked)
        return [
            Shown(bound, _amount(bound, level), level.held, ends(bound, period))
            for (bound, _), level in zip(asked, levels, strict=True)
        ]

    # --- a request --------------------------------------------------------------------------

    def _plan(self, caller: Caller, model: str) -> Plan | None:
        who = caller.tenant, caller.key, model, self.recall.version
        try:
            return self._plans[who]
        except KeyError:
            plan = self._plans[who] = self._bounds.plan(caller, model)
            if plan is not None:
                self.recall.lift(caller, model, plan)
            return plan

    def _bounded(self, exchange: Exchange, body: bytes, plan: Plan) -> tuple[bytes, int]:
        """The body with an answer as long as it may be, and the tokens of all its answers."""
        path, most = exchange.endpoint.path, plan.longest.tokens
        first = exchange.prompt if exchange.plan is None else None  # a rule may have edited it
        said = first if isinstance(first, Body) else length.read(body)
        if not most:
            each = length.asked(said, path) or plan.default_output
            return body, each * length.choices(said, path)
        refuse = self._config.too_long == "refuse"
        try:
            body, each = length.bounded(body, said, path, most, refuse=refuse)
        except TooLong as error:
            self.reject(plan.longest.scope, "max_tokens")
            whose = spoken(plan.longest.scope, plan.longest.whom)
            exchange.note("limits", "refused", f"max_tokens of {whose}")
            message = f"{error.message} That is the limit of {whose}."
            raise TooLong(message, param=error.param) from None
        if each != exchange.facts.max_tokens:
            exchange.note("limits", "bounded", f"an answer of at most {each} tokens")
            exchange.facts = msgspec.structs.replace(exchange.facts, max_tokens=each)
        return body, each * length.choices(said, path)

    def _permit(
        self, exchange: Exchange, plan: Plan, output: int, at: tuple[float, Period]
    ) -> Permit:
        now_s, period = at
        endpoint, prompt = exchange.endpoint, 0
        if plan.tokens and endpoint.kind != "stored" and endpoint.path not in FREE:
            prompt = int(
                exchange.facts.prompt_tokens * BYTES_PER_TOKEN / self._config.bytes_per_token
            )
            if endpoint.kind == "multipart":  # a file is no text
                prompt = min(prompt, TOKENS_PER_MEDIUM)
        at_us = int(now_s * SECOND_US)
        probable = min(output, EXPECTED_OUTPUT)
        cost = likely = 0
        if plan.priced:
            _, cost = self._book.charge(exchange.served, at_us, prompt, output, 0)
            likely = cost
            if probable < output:
                _, likely = self._book.charge(exchange.served, at_us, prompt, probable, 0)
        amounts = 1, prompt, output, prompt + output, cost, 1
        return Permit(
            plan.bounds,
            claims(plan.bounds, amounts, period),
            amounts,
            (1, prompt, probable, prompt + probable, likely, 1),
            at_us,
            plan.priced,
        )

    def _used(self, permit: Permit, record: Record) -> Amounts:
        """What a request has used in the end."""
        asked, out, cached = counted(record)
        if not permit.amounts[TOKENS]:
            return 1, 0, 0, 0, 0, 1
        if record.estimated and not record.stream and asked:
            # Nobody has said how long the answer was, or would have been.
            asked, out = permit.likely[1], permit.likely[2]
        cost = 0
        if permit.priced:
            _, cost = self._book.charge(record.served, permit.at_us, asked, out, cached)
        return 1, asked, out, asked + out, cost, 1

    def reject(self, scope: str, name: str) -> None:
        """A limit has refused a request."""
        self._rejected[scope, name] = self._rejected.get((scope, name), 0) + 1

    # --- for people -------------------------------------------------------------------------

    def _all(self, tenant: str | None) -> Iterable[Bound]:
        names = self._tenants if tenant is None else (tenant,)
        for name in names:
            yield from self._bounds.of("tenant", name)
            for model in self._models:
                yield from self._bounds.of("tenant_model", f"{name} {model}")
        for key, whose in self._keys.items():
            if whose in names:
                yield from self._bounds.of("key", key)
        for model in self._models if tenant is None else ():
            yield from self._bounds.of("model", model)

    def _ratios(self) -> Mapping[tuple[str, str], float]:
        period = self._calendar.at(self._clocks.day())
        found = {}
        for tenant in self._bounds.tenants[:MOST_TENANTS]:
            for bound in self._bounds.of("tenant", tenant):
                level = self.purse.latest(bound, window(bound.span, period))
                if bound.most:
                    found[tenant, bound.name] = (_amount(bound, level) + level.held) / bound.most
        return found


def _amount(bound: Bound, level: Level) -> float:
    """What was used, in the limit's own unit; of rates what has not come back yet."""
    if bound.kind in RATES:
        return level.used * bound.most / MINUTE_US
    return level.used
