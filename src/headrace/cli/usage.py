"""
``headrace usage``: what was used, what it cost, and what the GPUs cost, from the configured ledger.

The sums are made in metering/report.py.
"""

import csv
import json
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from headrace.cli.app import examples
from headrace.cli.options import ConfigOption
from headrace.config.load import load
from headrace.config.metering import Metering
from headrace.config.pricebook import prices
from headrace.errors import ConfigError
from headrace.metering import report
from headrace.metering.prices import Book, Tariff, exact, money
from headrace.metering.report import GROUPS, Line, Span, Usage, Worked, counts
from headrace.metering.stores import reading

AGO = re.compile(r"(\d{1,5})([hdw])")
HOURS = {"h": 1, "d": 24, "w": 168}

Tenant = Annotated[
    str | None, typer.Option(metavar="NAME", show_default=False, help="Of this tenant only.")
]
Since = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        show_default=False,
        help="From this day or time (UTC) on, or so long ago: 2026-11-01, 24h, 7d.",
    ),
]
Until = Annotated[
    str | None,
    typer.Option(metavar="TIME", show_default=False, help="Before this day or time (UTC)."),
]
Format = Annotated[
    Literal["table", "csv", "json"],
    typer.Option("--format", help="For people, for spreadsheets, or for programs."),
]

Cells = Mapping[str, object]

usage = typer.Typer(
    add_completion=False,
    invoke_without_command=True,
    epilog=examples(
        "headrace usage --by model,day --since 7d",
        "headrace usage --tenant acme --format csv",
        "headrace usage statement --month 2026-11",
        "headrace usage cost --since 24h",
    ),
)


@usage.callback()
def show(
    ctx: typer.Context,
    *,
    config: ConfigOption = None,
    tenant: Tenant = None,
    key: Annotated[
        str | None, typer.Option(metavar="ID", show_default=False, help="Of this key only.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", show_default=False, help="Of this model only.")
    ] = None,
    by: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help="What to sum up by: tenant, key, model, replica, endpoint, outcome, price, day.",
        ),
    ] = "tenant,model",
    since: Since = None,
    until: Until = None,
    form: Format = "table",
) -> None:
    """Show what was used and what it cost, from the configured ledger."""
    if ctx.invoked_subcommand is not None:
        return
    settings, now = load(config).metering, datetime.now(UTC)
    names = groups(by)
    only = {"tenant": tenant, "key": key, "model": model}
    given = {name: value for name, value in only.items() if value is not None}
    with reading(settings) as store:
        found = report.usage(store, names, span(since, until, now), given)
    currency = _book(settings).currency
    _print([_used(names, each, currency) for each in found], form)


@usage.command(epilog=examples("headrace usage statement --month 2026-11 --tenant acme"))
def statement(
    *,
    config: ConfigOption = None,
    month: Annotated[
        str | None,
        typer.Option(metavar="YYYY-MM", show_default="this one", help="The month, of UTC."),
    ] = None,
    tenant: Tenant = None,
    form: Format = "table",
) -> None:
    """Show a month's bill: each tenant's models at the prices that were charged."""
    settings = load(config).metering
    month = month or f"{datetime.now(UTC):%Y-%m}"
    try:
        whole = report.month(month)
    except ValueError:
        raise ConfigError(f"--month {month!r} is no month; write it like 2026-11.") from None
    with reading(settings) as store:
        who = [tenant] if tenant is not None else report.tenants(store, whole)
        bills = {each: report.statement(store, each, whole) for each in who}
    currency = _book(settings).currency
    if form != "table":
        rows = [_billed(month, who, line, currency) for who, bill in bills.items() for line in bill]
        _print(rows, form)
        return
    for each, bill in bills.items():
        _print_bill(each, month, bill, currency)


@usage.command(epilog=examples("headrace usage cost --since 24h"))
def cost(
    *, config: ConfigOption = None, since: Since = None, until: Until = None, form: Format = "table"
) -> None:
    """Show what replicas cost, for a thousand tokens actually achieved and while they were idle."""
    settings, now = load(config).metering, datetime.now(UTC)
    book = _book(settings)
    with reading(settings) as store:
        replicas = report.worked(store, book, span(since, until, now))
    rows = [_cost(each, book.currency) for each in replicas]
    if replicas:
        rows.append(_cost(report.together(replicas), book.currency) | {"replica": "(all)"})
    _print(rows, form)


# --- what was asked -------------------------------------------------------------------------


def groups(by: str) -> tuple[str, ...]:
    """
    The names of a list like ``model,day``.

    Raises:
        ConfigError: one of them is none of ``GROUPS``.

    """
    names = tuple(dict.fromkeys(name.strip() for name in by.split(",") if name.strip()))
    for name in names:
        if name not in GROUPS:
            raise ConfigError(f"--by {name!r} is unknown; there are {', '.join(GROUPS)}.")
    return names


def span(since: str | None, until: str | None, now: datetime) -> Span:
    """
    A span of time; what is not given is open.

    Raises:
        ConfigError: one of them is no time.

    """
    everything = Span()
    return Span(
        everything.since_us if since is None else report.at(_time("--since", since, now)),
        everything.until_us if until is None else report.at(_time("--until", until, now)),
    )


def _time(option: str, text: str, now: datetime) -> datetime:
    ago = AGO.fullmatch(text)
    if ago:
        return now - timedelta(hours=int(ago[1]) * HOURS[ago[2]])
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"{option} {text!r} is no time; write a day (2026-11-01), a time (2026-11-01T08:00),"
            " or how long ago (24h, 7d)."
        ) from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def _book(config: Metering) -> Book:
    return Book(prices(config))


# --- what is shown ----------------------------------------------------------------------------


def _used(names: Sequence[str], each: Usage, currency: str) -> Cells:
    return {**dict(zip(names, each.names, strict=True)), **counts(each, currency)}


def _billed(month: str, tenant: str, line: Line, currency: str) -> Cells:
    tariff = line.tariff
    return {
        "month": month,
        "tenant": tenant,
        "model": line.model,
        "price": tariff.version if tariff else "",
        "price_in": _price(tariff, "input"),
        "price_cached": _price(tariff, "cached"),
        "price_out": _price(tariff, "output"),
        **counts(line.usage, tariff.currency if tariff else currency),
    }


def _price(tariff: Tariff | None, kind: Literal["input", "cached", "output"]) -> str:
    if tariff is None:
        return ""
    numbers = {"input": tariff.input, "cached": tariff.cached, "output": tariff.output}
    return f"{exact(numbers[kind]).normalize():f}"


def _cost(each: Worked, currency: str) -> dict[str, object]:
    return {
        "replica": each.replica,
        "up_h": round(each.up_h, 2),
        "busy_h": round(each.busy_h, 2),
        "utilisation": round(each.utilisation, 3),
        "requests": each.requests,
        "tokens_in": each.tokens_in,
        "tokens_out": each.tokens_out,
        "cost": _amount(each.cost, 4),
        "idle_cost": _amount(each.idle_cost, 4),
        "per_1k_tokens": _amount(each.per_1k, 6),
        "charged": _amount(each.charged, 4),
        "currency": currency,
    }


def _amount(microcents: int | None, decimals: int) -> str:
    return "" if microcents is None else money(microcents, decimals)


def _print(rows: Sequence[Cells], form: str) -> None:
    if form == "json":
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    elif form == "csv":
        if rows:
            writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    elif rows:
        _table(rows, "")
    else:
        typer.echo("Nothing was used in this time.")


def _cell(value: object) -> object:
    """A spreadsheet takes text that begins like this for a formula."""
    dangerous = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{value}" if dangerous else value


def _print_bill(tenant: str, month: str, bill: Sequence[Line], currency: str) -> None:
    rows = [_billed(month, tenant, line, currency) for line in bill]
    kept = [{k: v for k, v in row.items() if k not in {"month", "tenant", "price"}} for row in rows]
    _table(kept, f"{month}  {tenant or '(no tenant)'}")
    total = sum(line.usage.cost for line in bill)
    typer.echo(f"Total: {money(total)} {currency} (exactly {exact(total):f})\n")


def _table(rows: Sequence[Cells], title: str) -> None:
    shown = Table(box=None, pad_edge=False, title=title or None, title_justify="left")
    for name, value in rows[0].items():
        number = isinstance(value, int | float) or "cost" in name or name.startswith("price_")
        shown.add_column(name, justify="right" if number else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(_printable(value) for value in row.values()))
    width = None if sys.stdout.isatty() else 200  # files are not folded
    Console(width=width, markup=False, highlight=False).print(shown)


def _printable(value: object) -> str:
    """A name from a client must not move the cursor."""
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return "".join(letter if letter.isprintable() else "?" for letter in text)
