"""
Where a gateway keeps the accounts of its limits: in its memory, in the shared state, or, while that
does not answer, in its memory with a part of each limit. What is asked of them is quota.py's.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from headrace.admission.limits import (
    RATES,
    Accounts,
    Amounts,
    Bound,
    Calendar,
    Claim,
    Level,
    Permit,
    Refusal,
    share,
    window,
)
from headrace.config.limits import Limits
from headrace.errors import LimitsLost, StateLost
from headrace.state.limits import Row, SharedLimits
from headrace.state.redis import Link


class Clocks(NamedTuple):
    """The time of day in seconds since 1970, and one that never goes back, in ns."""

    day: Callable[[], float] = time.time
    steady_ns: Callable[[], int] = time.monotonic_ns


class Known(NamedTuple):
    """What an account was when the shared state told of it, at a steady time."""

    bound: Bound
    window: int
    level: Level
    at_us: float


class Purse:
    """The accounts as one gateway uses them."""

    def __init__(
        self, config: Limits, link: Link | None, calendar: Calendar, clocks: Clocks
    ) -> None:
        self._config = config
        self._calendar = calendar
        self._clocks = clocks
        self._accounts = Accounts()
        self._known: dict[str, Known] = {}
        self._alone = False  # the shared state did not answer the latest request
        self.shared: SharedLimits | None = None
        self.lost = {"open": 0, "closed": 0}
        if link is not None:
            self.shared = SharedLimits(link, config.lease_s)
            link.when_back(self._remind)

    def hold(self, permit: Permit) -> list[Level] | Refusal:
        """Hold what a request may use, in this gateway's memory."""
        return self._accounts.take(permit.claims, self._clocks.steady_ns() / 1000)

    async def ask(self, shared: SharedLimits, permit: Permit) -> list[Level] | Refusal:
        """
        Hold it in the shared state, in one round trip; here, where that does not answer.

        Raises:
            LimitsLost: it does not answer, and nothing passes without it.

        """
        groups: dict[str, list[Row]] = {}
        for bound, at, cost in permit.claims:
            row = Row(
                bound.field, at, bound.kind, bound.most, bound.burst_us, cost,
                permit.likely[bound.unit],
            )  # fmt: skip
            groups.setdefault(bound.tag, []).append(row)
        lease = shared.lease()
        try:
            replies = await shared.take(lease, groups)
        except StateLost:
            return self._part(shared, permit)
        if self._alone:
            self._alone, self._accounts = False, Accounts()  # it hears what was used meanwhile
        permit.lease = lease
        levels = list[Level]()
        for tag, reply in zip(groups, replies, strict=True):
            mine = [claim for claim in permit.claims if claim.bound.tag == tag]
            if reply.refused:
                claim = mine[reply.refused - 1]
                return Refusal(claim, reply.lacking, Level(*reply.levels[0]))
            found = [Level(*each) for each in reply.levels]
            self._learn(mine, found)
            levels += found
        return levels

    def settle(self, permit: Permit, used: Amounts) -> None:
        """Give back what a request held, and spend what it used. Never waits."""
        shared = self.shared
        if permit.lease and shared is not None:
            by_tag: dict[str, list[int]] = {}
            for bound, _, _ in permit.claims:
                if bound.kind != "once":
                    by_tag.setdefault(bound.tag, []).append(used[bound.unit])
            shared.settle(permit.lease, by_tag)
            return
        self._accounts.settle(permit.claims, used, self._now_us)
        if shared is not None:  # it counts for the day and the month, when somebody can be told
            for bound, at, _ in permit.claims:
                if bound.kind == "window":
                    shared.lift(bound.tag, [(bound.field, at, 0, used[bound.unit])])

    def lift(self, bound: Bound, at: int, least: int) -> None:
        """At least so much of a budget was used."""
        if self.shared is None:
            self._accounts.lift(bound, at, least)
        else:
            self.shared.lift(bound.tag, [(bound.field, at, least, 0)])

    async def levels(self, asked: Sequence[tuple[Bound, int]]) -> list[Level]:
        """
        Accounts now, each of a bound and its window.

        Raises:
            StateLost: the shared state does not answer.

        """
        if self.shared is None:
            return [self._accounts.level(bound, at, self._now_us) for bound, at in asked]
        groups: dict[str, list[tuple[str, int, str]]] = {}
        for bound, at in asked:
            groups.setdefault(bound.tag, []).append((bound.field, at, bound.kind))
        found = {tag: iter(each) for tag, each in (await self.shared.look(groups)).items()}
        return [Level(*next(found[bound.tag])) for bound, _ in asked]

    def latest(self, bound: Bound, at: int) -> Level:
        """An account as far as it is known here."""
        if self.shared is None or self._alone:
            return self._accounts.level(bound, at, self._now_us)
        known = self._known.get(bound.account)
        if known is None or known.window != at:
            return Level(0.0, 0)
        if bound.kind in RATES:
            passed_us = self._now_us - known.at_us
            return Level(max(0.0, known.level.used - passed_us), known.level.held)
        return known.level

    # --- below ------------------------------------------------------------------------------

    @property
    def _now_us(self) -> float:
        return self._clocks.steady_ns() / 1000

    def _part(self, shared: SharedLimits, permit: Permit) -> list[Level] | Refusal:
        """Nobody can be asked: go on with a part of each limit, or with nothing."""
        on_loss = self._config.on_loss
        self.lost[on_loss] += 1
        if on_loss == "closed":
            raise LimitsLost(
                "What is used of the limits cannot be read now; try again in a moment.",
                retry_after_s=1,
            )
        self._alone = True
        gateways = self._config.gateways or shared.gateways
        permit.claims = [
            Claim(share(bound, gateways, self._before(bound, at)), at, cost)
            for bound, at, cost in permit.claims
        ]
        return self._accounts.take(permit.claims, self._now_us)

    def _learn(self, mine: Sequence[Claim], levels: Iterable[Level]) -> None:
        now_us = self._now_us
        for (bound, at, _), level in zip(mine, levels, strict=True):
            self._known[bound.account] = Known(bound, at, level, now_us)

    def _before(self, bound: Bound, at: int) -> Level:
        known = self._known.get(bound.account)
        return known.level if known is not None and known.window == at else Level(0.0, 0)

    def _remind(self) -> None:
        """The shared state is back; it may have lost what it knew of days and months."""
        if self.shared is None:
            return
        period = self._calendar.at(self._clocks.day())
        for bound, at, level, _ in self._known.values():
            if bound.kind == "window" and at == window(bound.span, period):
                self.shared.remind(bound.tag, [(bound.field, at, level.used, 0)])
