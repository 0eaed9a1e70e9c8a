"""``headrace limits``: what is used of the limits of a running gateway, by its admin API."""

import json
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import urlencode

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace.cli.app import examples
from headrace.cli.fleet import UNPRINTABLE, Admin, AdminUrl, Token
from headrace.cli.options import AsJson

# From these parts of a limit on it is shown in another colour.
COLOURS = ((1.0, "red"), (0.8, "yellow"), (0.0, "green"))
BAR = 12

limits = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Show what tenants, keys and models have used of their limits.",
    epilog=examples("headrace limits show", "headrace limits show --tenant acme"),
)


@limits.callback()
def _group() -> None:
    """Show what tenants, keys and models have used of their limits."""


@limits.command(epilog=examples("headrace limits show", "headrace limits show --tenant acme"))
def show(
    *,
    tenant: Annotated[
        str | None,
        typer.Option(
            metavar="TENANT", show_default="all", help="Only this tenant's, and those of its keys."
        ),
    ] = None,
    admin_url: AdminUrl = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Show what is used of each limit now, and what running requests hold of it."""
    query = f"?{urlencode({'tenant': tenant})}" if tenant is not None else ""
    found = Admin(admin_url, token).get(f"/admin/limits{query}")
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    elif not found:
        typer.echo("Nothing is limited; see `limits` in the configuration.")
    else:
        Console().print(table(found))


def table(found: list[dict[str, Any]]) -> Table:
    """The limits for people, the fullest first within whoever has them."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("whose", "limit", "used", "held", "of", "", "until"):
        numeric = column in {"used", "held", "of"}
        shown.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for each in found:
        shown.add_row(
            _whose(each["scope"], each["whom"]),
            each["unit"],
            _number(each["used"]),
            _number(each["held"]),
            _number(each["most"]),
            _bar(each["ratio"]),
            f"{datetime.fromisoformat(each['resets_at']):%Y-%m-%d %H:%M}Z"
            if each["resets_at"]
            else "",
        )
    return shown


def _whose(scope: str, whom: str) -> Text:
    words = {"tenant_model": "tenant and model"}.get(scope, scope)
    return Text(f"{words} {whom or '(no key)'}".translate(UNPRINTABLE))


def _number(amount: float | str) -> str:
    return f"{float(amount):,.2f}" if isinstance(amount, str) else f"{amount:,.0f}"


def _bar(ratio: float) -> Text:
    full = min(BAR, round(ratio * BAR))
    colour = next(name for least, name in COLOURS if ratio >= least)
    return Text(f"{'█' * full}{'░' * (BAR - full)} {ratio:4.0%}", style=colour)
