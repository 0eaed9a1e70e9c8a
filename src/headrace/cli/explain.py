"""
``headrace explain``: what one request met on its way and why, by a gateway's admin API or from a
file of its log. How it looks is waterfall.py's.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Protocol, TypeVar
from urllib.parse import quote, urlencode

import msgspec
import typer
from rich.console import Console, RenderableType

from headrace.cli.fleet import Admin, AdminUrl, Token
from headrace.cli.logfile import LogFile
from headrace.cli.options import AsJson
from headrace.cli.waterfall import listing, picture
from headrace.errors import ConfigError, StartError
from headrace.telemetry.decisions import Story, Summary

T = TypeVar("T")

RequestId = Annotated[
    str | None,
    typer.Argument(
        metavar="REQUEST_ID",
        show_default=False,
        help="As in the answer's x-request-id and in the log. Without one, the latest are listed.",
    ),
]
Last = Annotated[bool, typer.Option("--last", help="The request that ended last.")]
Slowest = Annotated[bool, typer.Option("--slowest", help="The one that took longest.")]
Failed = Annotated[bool, typer.Option("--failed", help="The latest that failed.")]
Model = Annotated[
    str | None, typer.Option(metavar="NAME", show_default=False, help="Of this model only.")
]
Tenant = Annotated[
    str | None, typer.Option(metavar="NAME", show_default=False, help="Of this tenant only.")
]
Replica = Annotated[
    str | None, typer.Option(metavar="NAME", show_default=False, help="Of this replica only.")
]
Log = Annotated[
    Path | None,
    typer.Option(
        "--log",
        metavar="FILE",
        show_default=False,
        help="Look in this file of log lines; they know less than a running gateway.",
    ),
]
LIST = 20
PIPED = 400  # columns of a line that no terminal shows


def explain(
    request_id: RequestId = None,
    *,
    last: Last = False,
    slowest: Slowest = False,
    failed: Failed = False,
    model: Model = None,
    tenant: Tenant = None,
    replica: Replica = None,
    log: Log = None,
    admin_url: AdminUrl = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """
    Tell what a request met on its way: its time, the decision and why, retries, predictions.

    The running gateway keeps the latest requests in memory (decisions.requests), and in a database
    for longer where decisions.archive.url names one.
    """
    order = _order(request_id, last=last, slowest=slowest, failed=failed)
    only = {"model": model, "tenant": tenant, "replica": replica}
    given = {name: value for name, value in only.items() if value is not None}
    source: Source = LogFile(log) if log is not None else Running(Admin(admin_url, token))
    if request_id is None and order is None:
        console = Console()
        width = console.width if console.is_terminal else PIPED  # for grep: whole lines
        latest = source.requests("latest", given, LIST)
        _show(latest, partial(listing, width=width), as_json=as_json, width=width)
        return
    if request_id is None and order is not None:
        first = source.requests(order, given, 1)
        if not first:
            raise StartError("No request is known that fits; send one, or ask for fewer things.")
        request_id = first[0].request_id
    _show(source.story(request_id or ""), picture, as_json=as_json)


def _show(
    found: T, drawn: Callable[[T], RenderableType], *, as_json: bool, width: int | None = None
) -> None:
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(found)).decode())
    else:
        Console(width=width).print(drawn(found))


def _order(request_id: str | None, **wanted: bool) -> str | None:
    named = [name for name, is_set in wanted.items() if is_set]
    if len(named) + (request_id is not None) > 1:
        raise ConfigError("Ask for one request: REQUEST_ID, or --last, --slowest or --failed.")
    return {"last": "latest"}.get(named[0], named[0]) if named else None


class Source(Protocol):
    """Where requests are looked up; both raise ``StartError`` when that does not work."""

    def requests(self, order: str, only: Mapping[str, str], most: int) -> list[Summary]: ...

    def story(self, request_id: str) -> Story: ...


class Running:
    """A running gateway (``Source``)."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin

    def requests(self, order: str, only: Mapping[str, str], most: int) -> list[Summary]:
        """The first of them, in this order."""
        query = urlencode({"order": order, "limit": most, **only})
        found = self._admin.get(f"/admin/requests?{query}")
        return msgspec.convert(found["requests"], list[Summary])

    def story(self, request_id: str) -> Story:
        """All that is known of one."""
        return msgspec.convert(
            self._admin.get(f"/admin/requests/{quote(request_id, safe='')}"), Story
        )
