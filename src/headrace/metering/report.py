"""
What the ledger says: usage by whatever is asked for, a month's statement, and what the GPUs cost.
How it is shown is the command line's and the admin API's.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import NamedTuple

from headrace.metering.prices import DAY_US, MILLION, Book, Tariff, exact
from headrace.metering.stores import Store

# What usage may be grouped by, and its SQL; days and months are of UTC.
GROUPS: Mapping[str, str] = MappingProxyType(
    {
        "tenant": "tenant",
        "key": "key_id",
        "model": "model",
        "replica": "replica",
        "endpoint": "endpoint",
        "outcome": "outcome",
        "price": "price",
        "day": f"at_us / {DAY_US}",
    }
)
FILTERS: Mapping[str, str] = MappingProxyType(
    {name: GROUPS[name] for name in ("tenant", "key", "model", "replica")}
)
MINUTE_US = 60 * MILLION
MOST_US = 2**62


class Span(NamedTuple):
    """From a time to another, the end not included; microseconds since 1970."""

    since_us: int = 0
    until_us: int = MOST_US


class Usage(NamedTuple):
    """The sums of a group; ``names`` in the order that was asked for, cost in micro-cents."""

    names: tuple[str, ...]
    requests: int
    tokens_in: int
    tokens_cached: int
    tokens_out: int
    estimated: int
    cost: int


class Line(NamedTuple):
    """A line of a statement: a model at a price. ``tariff`` is None for what has no price."""

    model: str
    tariff: Tariff | None
    usage: Usage


class Worked(NamedTuple):
    """
    A replica's time and what became of it. Hours of presence; costs in micro-cents, None without
    a price; ``per_1k`` is for a thousand tokens, prompts and answers together, None for no token.
    """

    replica: str
    up_h: float
    busy_h: float
    utilisation: float
    requests: int
    tokens_in: int
    tokens_out: int
    cost: int | None
    idle_cost: int | None
    per_1k: int | None
    charged: int


def usage(
    store: Store, by: Sequence[str], span: Span, only: Mapping[str, str] = MappingProxyType({})
) -> list[Usage]:
    """
    The sums by these of ``GROUPS``, for what ``only`` (of ``FILTERS``) leaves, in their order.

    Raises:
        StoreLost: the ledger is away.

    """
    names = [GROUPS[each] for each in by]
    chosen = "".join(f"{name}, " for name in names)
    where, values = ["at_us >= $1", "at_us < $2"], [span.since_us, span.until_us]
    given: list[object] = [*values]
    for name, value in only.items():
        given.append(value)
        where.append(f"{FILTERS[name]} = ${len(given)}")
    order = ", ".join(str(n + 1) for n in range(len(names)))
    grouped = f" GROUP BY {order} ORDER BY {order}" if names else ""
    found = store.read(
        f"SELECT {chosen}COUNT(*), COALESCE(SUM(tokens_in), 0), COALESCE(SUM(tokens_cached), 0),"  # noqa: S608 - names are our own, values are parameters
        " COALESCE(SUM(tokens_out), 0), COALESCE(SUM(estimated), 0), COALESCE(SUM(cost), 0)"
        f" FROM usage WHERE {' AND '.join(where)}{grouped}",
        given,
    )
    return [_usage(by, each) for each in found]


def counts(each: Usage, currency: str) -> dict[str, object]:
    """The sums by name, for programs and spreadsheets; the cost in whole units of the currency."""
    return {
        "requests": each.requests,
        "tokens_in": each.tokens_in,
        "tokens_cached": each.tokens_cached,
        "tokens_out": each.tokens_out,
        "estimated": each.estimated,
        "cost": f"{exact(each.cost):f}",
        "currency": currency,
    }


def statement(store: Store, tenant: str, span: Span) -> list[Line]:
    """
    What a tenant used, by model and by the price that was in force.

    Raises:
        StoreLost: the ledger is away.

    """
    tariffs = {
        str(version): Tariff(version, currency, model, since, *numbers)
        for version, currency, model, since, *numbers in store.read(
            "SELECT version, currency, model, since, input, output, cached FROM price"
        )
    }
    sums = usage(store, ("model", "price"), span, {"tenant": tenant})
    return [Line(each.names[0], tariffs.get(each.names[1]), each) for each in sums]


def tenants(store: Store, span: Span) -> list[str]:
    """Who used anything."""
    return [each.names[0] for each in usage(store, ("tenant",), span)]


def worked(store: Store, book: Book, span: Span) -> list[Worked]:
    """
    Each replica's time, and its cost for a thousand tokens actually achieved.

    Raises:
        StoreLost: the ledger is away.

    """
    minutes = store.read(
        "SELECT replica, minute, up_s, busy_s FROM presence WHERE minute >= $1 AND minute < $2",
        (span.since_us // MINUTE_US, -(-span.until_us // MINUTE_US)),
    )
    up: dict[str, float] = {}
    busy: dict[str, float] = {}
    cost: dict[str, float | None] = {}
    idle: dict[str, float] = {}
    for replica, minute, up_s, busy_s in minutes:
        up[replica] = up.get(replica, 0.0) + up_s
        busy[replica] = busy.get(replica, 0.0) + busy_s
        hour = book.hour(replica, minute)
        if hour is not None:
            cost[replica] = (cost.get(replica) or 0.0) + hour * up_s / 3600
            idle[replica] = idle.get(replica, 0.0) + hour * (up_s - busy_s) / 3600
    sums = {each.names[0]: each for each in usage(store, ("replica",), span)}
    nothing = Usage(("",), 0, 0, 0, 0, 0, 0)
    return [
        _worked(name, (up[name], busy[name]), (cost.get(name), idle.get(name)),
                sums.get(name, nothing))
        for name in sorted(up)
    ]  # fmt: skip


def together(replicas: Sequence[Worked]) -> Worked:
    """
    The fleet as one: utilisation by hours, and the cost of all for the tokens of all. Its cost is
    None where a replica has no price.
    """
    priced = all(each.cost is not None for each in replicas)
    counts = Usage(
        ("",),
        sum(each.requests for each in replicas),
        sum(each.tokens_in for each in replicas),
        0,
        sum(each.tokens_out for each in replicas),
        0,
        sum(each.charged for each in replicas),
    )
    hours = sum(each.up_h for each in replicas), sum(each.busy_h for each in replicas)
    costs: tuple[float | None, float | None] = (None, None)
    if priced and replicas:
        costs = (
            float(sum(each.cost or 0 for each in replicas)),
            float(sum(each.idle_cost or 0 for each in replicas)),
        )
    return _worked("", (hours[0] * 3600, hours[1] * 3600), costs, counts)


def month(text: str) -> Span:
    """
    ``2026-11`` as a span, of UTC.

    Raises:
        ValueError: it is no month.

    """
    first = datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC)
    year, number = divmod(first.year * 12 + first.month, 12)
    return Span(at(first), at(first.replace(year=year, month=number + 1)))


def at(moment: datetime) -> int:
    """Microseconds since 1970 of a whole second."""
    return int(moment.timestamp()) * MILLION


def _usage(by: Sequence[str], found: Sequence[object]) -> Usage:
    names = [
        datetime.fromtimestamp(int(str(value)) * 86_400, UTC).date().isoformat()
        if name == "day"
        else str(value)
        for name, value in zip(by, found, strict=False)
    ]
    counts = [int(str(value)) for value in found[len(by) :]]
    requests, asked, cached, out, estimated, cost = counts
    return Usage(tuple(names), requests, asked, cached, out, estimated, cost)


def _worked(
    name: str,
    seconds: tuple[float, float],
    costs: tuple[float | None, float | None],
    sums: Usage,
) -> Worked:
    (up_s, busy_s), (cost, idle) = seconds, costs
    tokens = sums.tokens_in + sums.tokens_out
    return Worked(
        replica=name,
        up_h=up_s / 3600,
        busy_h=busy_s / 3600,
        utilisation=busy_s / up_s if up_s else 0.0,
        requests=sums.requests,
        tokens_in=sums.tokens_in,
        tokens_out=sums.tokens_out,
        cost=None if cost is None else round(cost),
        idle_cost=None if idle is None else round(idle),
        per_1k=None if cost is None or not tokens else round(cost * 1000 / tokens),
        charged=sums.cost,
    )
