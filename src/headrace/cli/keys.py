"""
``headrace keys``: API keys in their store, a file or the shared state. What can be done with them
is admission/office.py's.
"""

import asyncio
import json
import os
import pwd
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from headrace.admission.book import Book, Unknown
from headrace.admission.keys import Key
from headrace.admission.office import Issued, Office, Order
from headrace.admission.store import store
from headrace.cli.app import examples
from headrace.cli.options import AsJson, ConfigOption
from headrace.config.load import load
from headrace.config.schema import Config
from headrace.gateway.door import routes
from headrace.state.redis import Silent, connect

T = TypeVar("T")

SPAN = re.compile(r"(\d+)(s|m|h|d)")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

Name = Annotated[str, typer.Argument(metavar="NAME", help="The key's name, as in logs and bills.")]

keys = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Create, list, rotate and revoke API keys.",
    epilog=examples("headrace keys create my-app", "headrace keys list"),
)


def _span(text: str, option: str) -> timedelta:
    """``90s``, ``15m``, ``24h``, ``30d``; ``option`` is where it was given."""
    found = SPAN.fullmatch(text)
    if found is None:
        raise typer.BadParameter(
            f"{text!r} must be a number and s, m, h or d, such as 24h or 30d",
            param_hint=f"'{option}'",
        )
    return timedelta(**{UNITS[found[2]]: int(found[1])})


@keys.command(
    epilog=examples(
        "headrace keys create my-app",
        "headrace keys create ci --tenant acme --model 'qwen3-*' --expires 90d",
        "headrace keys create demo --limit requests_per_minute=60 --limit tokens_per_day=100000",
        "headrace keys create ops --admin",
    )
)
def create(
    name: Name,
    *,
    tenant: Annotated[
        str, typer.Option(metavar="TENANT", help="The tenant that it belongs to.")
    ] = "default",
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL", show_default="all", help="Only this model; repeatable."),
    ] = None,
    endpoint: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH", show_default="all", help="Only this endpoint, such as /v1/embeddings."
        ),
    ] = None,
    admin: Annotated[
        bool, typer.Option("--admin", help="It may use the admin API, keys included.")
    ] = False,
    expires: Annotated[
        str | None,
        typer.Option(metavar="SPAN", show_default="never", help="It ends after this, such as 90d."),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=NUMBER",
            show_default="none",
            help="A limit of its own, such as requests_per_minute=60; repeatable.",
        ),
    ] = None,
    as_json: AsJson = False,
    config: ConfigOption = None,
) -> None:
    """
    Create a key and print it, once: only its hash is kept.

    The key goes to standard output, all else to standard error.
    """
    _check_endpoints(endpoint or [])
    order = Order(
        name=name,
        tenant=tenant,
        models=tuple(model or ()),
        endpoints=tuple(endpoint or ()),
        admin=admin,
        expires_at=datetime.now(UTC) + _span(expires, "--expires") if expires else None,
        limits=dict(map(_limit, limit or [])),
    )
    issued = _with(load(config), lambda office: office.create(_actor(), order))
    _hand_over(issued, as_json=as_json)


@keys.command("list", epilog=examples("headrace keys list"))
def list_(*, as_json: AsJson = False, config: ConfigOption = None) -> None:
    """List all keys, with their visible beginnings; not the keys themselves."""
    book = _with(load(config), Office.read)
    now = datetime.now(UTC)
    if as_json:
        typer.echo(json.dumps([_shown(book, key, now) for key in book.keys.values()], indent=2))
        return
    if not book.keys:
        typer.echo("There are no keys; `headrace keys create my-app` makes one.")
        return
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("name", "tenant", "key", "state", "expires", "last used", "scopes"):
        shown.add_column(column, overflow="fold")
    for key in book.keys.values():
        expires = f"{key.expires_at:%Y-%m-%d}" if key.expires_at else "never"
        used = book.used.get(key.name)
        shown.add_row(
            key.name,
            key.tenant,
            f"{key.secrets[0].prefix}-...",
            key.state(now),
            expires,
            f"{used:%Y-%m-%d %H:%M}" if used else "-",
            _scopes(key),
        )
    Console().print(shown)


@keys.command(epilog=examples("headrace keys show my-app"))
def show(name: Name, *, config: ConfigOption = None) -> None:
    """Show one key as JSON: its scopes, its times, the beginnings of its secrets."""
    book = _with(load(config), Office.read)
    key = book.keys.get(name)
    if key is None:
        raise Unknown(f"There is no key {name!r}; `headrace keys list` shows those there are.")
    typer.echo(json.dumps(_shown(book, key, datetime.now(UTC)), indent=2))


@keys.command(epilog=examples("headrace keys rotate my-app --overlap 7d"))
def rotate(
    name: Name,
    *,
    overlap: Annotated[
        str, typer.Option(metavar="SPAN", help="How long the present key stays good.")
    ] = "24h",
    as_json: AsJson = False,
    config: ConfigOption = None,
) -> None:
    """Give a key a new secret and print it, once; the present one stays good for a while."""
    span = _span(overlap, "--overlap")
    issued = _with(load(config), lambda office: office.rotate(_actor(), name, span))
    _hand_over(issued, as_json=as_json)


@keys.command(epilog=examples("headrace keys revoke my-app"))
def revoke(name: Name, *, config: ConfigOption = None) -> None:
    """End a key for good; every gateway refuses it within a second."""
    _with(load(config), lambda office: office.revoke(_actor(), name))
    typer.echo(f"{name} is revoked.")


def _limit(text: str) -> tuple[str, float]:
    """``tokens_per_day=100000``; which limits there are is the office's to say."""
    name, _, number = text.partition("=")
    try:
        return name.strip(), float(number)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} must be a limit and a number, such as tokens_per_day=100000"
        ) from None


def _with(config: Config, act: Callable[[Office], Awaitable[T]]) -> T:
    """Open the book that the configuration names, act, and close it."""

    async def work() -> T:
        link = connect(config.state, Silent(), Silent())
        try:
            return await act(Office(store(config.identity, link), config.identity, config.tenants))
        finally:
            if link is not None:
                await link.stop()

    return asyncio.run(work())


def _hand_over(issued: Issued, *, as_json: bool) -> None:
    key = issued.key
    if as_json:
        typer.echo(json.dumps({"name": key.name, "tenant": key.tenant, "secret": issued.secret}))
        return
    typer.echo(issued.secret)
    typer.echo(
        f"This is the key {key.name} of the tenant {key.tenant}; it is shown only now.", err=True
    )


def _check_endpoints(given: list[str]) -> None:
    known = [endpoint.path for endpoint in routes.ALL if not endpoint.open]
    for path in given:
        if path not in known and not any(sign in path for sign in "*?["):
            raise typer.BadParameter(f"there is no endpoint {path}; there are {', '.join(known)}")


def _scopes(key: Key) -> str:
    words = [*key.models, *key.endpoints, *(["admin"] if key.admin else [])]
    words += [f"{name}={most:g}" for name, most in key.limits.items()]
    return " ".join(words) or "all"


def _shown(book: Book, key: Key, now: datetime) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(key)
    for secret in plain["secrets"]:
        del secret["hash"]
    used = book.used.get(key.name)
    return {**plain, "state": key.state(now), "used_at": used.isoformat() if used else None}


def _actor() -> str:
    """Who runs this command, for the audit log."""
    try:
        return f"{pwd.getpwuid(os.getuid()).pw_name} (command line)"
    except KeyError:
        return f"user {os.getuid()} (command line)"
