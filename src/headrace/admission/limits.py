"""
How much may pass: accounts of what was spent and what is held, and what a request lacks. Pure: the
time is an argument. Who has which limits is bounds.py's; state/limits.lua does the same in Redis.

A request *holds* what it may use at most, and *spends* what it has used when it ends, whatever the
end. It fits while what is spent, what is held and what it asks for are within the limit, so that no
order of requests spends more than the limit, as far as none uses more than it held.

Rates are a token bucket, kept as one time (GCRA, ITU-T I.371; https://en.wikipedia.org/wiki/GCRA):
``spent`` is when the bucket is full again. In any span of ``t`` seconds at most
``most * (burst_s + t) / 60`` are spent. Tokens leave the bucket when they are spent, not when they
are held: held ones that are given back would otherwise be on top of a bucket that has filled up.
Days and months are counters of a calendar window, concurrent requests are what is held.
"""

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal, NamedTuple

from msgspec import Struct

MINUTE_US = 60e6
SECOND_US = 1_000_000

# What limits count: the places in ``Amounts``.
REQUESTS, INPUT, OUTPUT, TOKENS, COST, SLOTS = range(6)
Amounts = tuple[int, int, int, int, int, int]
"""Of one request: 1, tokens in, tokens out, both, micro-cents, 1."""
NOTHING: Amounts = (0, 0, 0, 0, 0, 0)

Kind = Literal["once", "rate", "window", "slots"]
"""``once`` is a rate that is spent at the beginning, and never held."""
RATES = frozenset({"once", "rate"})


class Bound(Struct, frozen=True):
    """
    One limit of somebody. ``whom`` has it, ``name`` is its name in the configuration, ``most`` its
    value; ``burst_us`` is of rates. ``tag`` says which accounts are kept together, ``field`` which
    it is of these, and ``account`` which of all.
    """

    scope: str
    whom: str
    name: str
    most: float
    kind: Kind
    unit: int
    span: str
    tag: str
    field: str
    account: str
    burst_us: float


class Claim(NamedTuple):
    """What a request asks of a bound; ``window`` is the day or month that it counts in, or 0."""

    bound: Bound
    window: int
    cost: int


class Level(NamedTuple):
    """
    An account: ``used`` is what was spent, of rates the us until that has come back; and what is
    held.
    """

    used: float
    held: int


class Refusal(NamedTuple):
    """
    What does not fit, and by how much: of rates the us until it would, else what is lacking.
    """

    claim: Claim
    lacking: float
    level: Level


class Permit(Struct):
    """
    What a request holds of some ``bounds``. ``amounts`` are the most that it may use, ``likely``
    what it will be taken to have used if nobody ever knows; ``lease`` is its name in the shared
    state, empty where the accounts are this gateway's own. ``at_us`` is the time of day, for
    prices, if it is ``priced``. The claims are let go of at its end: what is kept of it longer
    needs the bounds only, which all requests like it share.
    """

    bounds: tuple[Bound, ...]
    claims: list[Claim]
    amounts: Amounts
    likely: Amounts
    at_us: int
    priced: bool = False
    lease: str = ""


_new = tuple.__new__  # a third of what a named tuple's own takes, on the way of each request


class Account:
    """What was spent and is held. Of rates ``spent`` is a time in us, see above."""

    __slots__ = ("held", "spent", "window")

    def __init__(self, window: int) -> None:
        self.spent = 0.0
        self.held = 0
        self.window = window


class Accounts:
    """The accounts of one gateway."""

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}

    def take(self, claims: list[Claim], now_us: float) -> "list[Level] | Refusal":
        """
        Hold what a request asks for, of all or of none; gives the levels afterwards.

        A clock that went back asks of a day that is over: it is held in the one that has begun, and
        the claim is changed to say so.
        """
        found, accounts = [], self._accounts
        for at, claim in enumerate(claims):
            bound, window, cost = claim
            account = accounts.get(bound.account)
            if account is None or account.window != window:
                account = self._turn(bound, window)
                claims[at] = _new(Claim, (bound, account.window, cost))
            if cost:
                lack = lacking(bound, account.spent, account.held, cost, now_us)
                if lack > 0:
                    return Refusal(claim, lack, _level(bound, account, now_us))
            found.append(account)
        levels = []
        for (bound, _, cost), account in zip(claims, found, strict=True):
            kind = bound.kind
            if kind == "once":
                _spend(bound, account, cost, now_us)
            else:
                account.held += cost
            spent = account.spent
            if kind in RATES:
                spent = spent - now_us if spent > now_us else 0.0
            levels.append(_new(Level, (spent, account.held)))
        return levels

    def settle(self, claims: Iterable[Claim], used: Amounts, now_us: float) -> None:
        """A request has ended: give back what it held, and spend what it used."""
        for bound, window, cost in claims:
            if bound.kind == "once":
                continue
            account = self._accounts.get(bound.account)
            if account is None or account.window != window:
                continue  # a window that is over holds nothing
            account.held = account.held - cost if account.held > cost else 0
            if bound.kind == "window":
                account.spent += used[bound.unit]
            elif bound.kind == "rate":
                _spend(bound, account, used[bound.unit], now_us)

    def lift(self, bound: Bound, window: int, least: float) -> None:
        """At least so much was spent in this window, as somebody else knows."""
        account = self._account(bound, window)
        if account.window == window:
            account.spent = max(account.spent, least)

    def level(self, bound: Bound, window: int, now_us: float) -> Level:
        """An account now."""
        account = self._accounts.get(bound.account)
        if account is None or account.window < window:
            return Level(0.0, 0)
        return _level(bound, account, now_us)

    def _turn(self, bound: Bound, window: int) -> Account:
        """An account at the beginning of a day or month, or asked by a clock that went back."""
        account = self._account(bound, window)
        if far(account.window, window):
            account.window = window
        return account

    def _account(self, bound: Bound, window: int) -> Account:
        account = self._accounts.get(bound.account)
        if account is None or account.window < window:
            account = self._accounts[bound.account] = Account(window)
        return account


def far(later: int, window: int) -> bool:
    """
    Whether a day (20261130) or month (202611) is further ahead of another than clocks that are set
    or that differ explain: some days, a month. Then the one that set it was wrong.
    """
    if later < 1_000_000:
        return _serial(later, 12) - _serial(window, 12) > 1
    return _serial(later // 100, 12) * 31 + later % 100 > (
        _serial(window // 100, 12) * 31 + window % 100 + 4
    )


def _serial(number: int, unit: int) -> int:
    return number // 100 * unit + number % 100


def lacking(bound: Bound, spent: float, held: int, cost: int, now_us: float) -> float:
    """What a request lacks; 0 or less when it fits."""
    if not cost:
        return 0.0
    most = bound.most
    if bound.kind not in RATES:
        return spent + held + cost - most
    if not most:
        return math.inf
    wait_us = math.ceil((held + cost) * MINUTE_US / most) - bound.burst_us
    return wait_us + (spent - now_us) if spent > now_us else wait_us


def never(bound: Bound, cost: int) -> bool:
    """Whether it would not fit even if nothing else was there."""
    return lacking(bound, 0.0, 0, cost, 0.0) > 0


def left(bound: Bound, level: Level) -> int:
    """How much is left of a limit, in its own unit."""
    if bound.kind in RATES:
        room = (bound.burst_us - level.used) * bound.most / MINUTE_US
        room = room - level.held + 1e-6
    else:
        room = bound.most - level.used - level.held
    return int(room) if room > 0 else 0


def share(bound: Bound, gateways: int, before: Level) -> Bound:
    """
    One of several gateways' part of a limit, for the time in which they cannot ask each other.
    ``before`` is what is known to be used of it. A rate's bucket is a part of the whole one.
    """
    if bound.kind == "slots":
        most: float = max(1, int(bound.most) // gateways) if bound.most else 0
    elif bound.kind == "window":
        most = max(0.0, bound.most - before.used - before.held) / gateways
    else:
        most = bound.most / gateways
    return Bound(
        bound.scope, bound.whom, bound.name, most, bound.kind, bound.unit, bound.span,
        bound.tag, bound.field, bound.account, bound.burst_us,
    )  # fmt: skip


class Period(NamedTuple):
    """A moment's day (20261130) and month (202611), and when they end (s since 1970)."""

    day: int
    month: int
    day_ends: float
    month_ends: float


class Calendar:
    """Days and months of a time zone."""

    def __init__(self, zone: tzinfo = UTC) -> None:
        self._zone = zone
        self._period = Period(0, 0, 0.0, 0.0)
        self._began = 0.0

    def at(self, now_s: float) -> Period:
        """The period of a time, in seconds since 1970."""
        if self._began <= now_s < self._period.day_ends:
            return self._period
        local = datetime.fromtimestamp(now_s, self._zone)
        today = datetime(local.year, local.month, local.day, tzinfo=self._zone)
        tomorrow = today + timedelta(days=1)  # of the clock on the wall, however long it is
        year, month = divmod(local.year * 12 + local.month, 12)
        self._began = today.timestamp()
        self._period = Period(
            day=local.year * 10_000 + local.month * 100 + local.day,
            month=local.year * 100 + local.month,
            day_ends=tomorrow.timestamp(),
            month_ends=datetime(year, month + 1, 1, tzinfo=self._zone).timestamp(),
        )
        return self._period

    def begins(self, span: str, now_s: float) -> float:
        """When the day or month of a time began, in seconds since 1970."""
        local = datetime.fromtimestamp(now_s, self._zone)
        day = local.day if span == "day" else 1
        return datetime(local.year, local.month, day, tzinfo=self._zone).timestamp()


def window(span: str, period: Period) -> int:
    """The window of a bound's span."""
    if not span:
        return 0
    return period.day if span == "day" else period.month


def claims(bounds: Sequence[Bound], amounts: Amounts, period: Period) -> list[Claim]:
    """What a request of this size asks of these bounds."""
    return [
        _new(Claim, (bound, window(bound.span, period) if bound.span else 0, amounts[bound.unit]))
        for bound in bounds
    ]


def _level(bound: Bound, account: Account, now_us: float) -> Level:
    spent = account.spent
    if bound.kind in RATES:
        spent = spent - now_us if spent > now_us else 0.0
    return _new(Level, (spent, account.held))


def _spend(bound: Bound, account: Account, amount: int, now_us: float) -> None:
    if amount <= 0 or bound.kind == "slots":
        return
    if bound.kind == "window":
        account.spent += amount
    elif bound.most:
        # Rounded up, so that nothing is for nothing.
        account.spent = max(account.spent, now_us) + math.ceil(amount * MINUTE_US / bound.most)
