"""
``headrace fleet``: the replicas of a running gateway, and drain and undrain, by its admin API.

It decides nothing: what a drain does is fleet/registry.py's.
"""

import json
import re
import time
from datetime import UTC, datetime
from functools import cached_property
from typing import Annotated, Any
from urllib.parse import quote

import httpx2
import typer
from rich.table import Table
from rich.text import Text

from headrace.cli import beacon, watch
from headrace.cli.app import examples
from headrace.cli.options import AsJson
from headrace.errors import StartError

DEFAULT_URL = "http://127.0.0.1:8001"  # where `headrace up` and `serve` open it by default
# Nobody may be there, but whoever takes the call answers: the first one builds the API, which takes
# a busy machine some seconds.
TIMEOUT = httpx2.Timeout(20.0, connect=5.0)
ERRNO = re.compile(r"^\[Errno -?\d+\] ")  # a number that says nothing to people
POLL_S = 0.25
UNAUTHORIZED = 401

COLOURS = {
    "ready": "green",
    "degraded": "yellow",
    "ejected": "red",
    "starting": "cyan",
    "warming": "cyan",
    "failed": "red",
    "died": "yellow",
}
# A name from an engine or a reason with an engine's words must not move the cursor.
UNPRINTABLE = dict.fromkeys((*range(32), *range(127, 160)))

AdminUrl = Annotated[
    str | None,
    typer.Option(
        envvar="HEADRACE_ADMIN_URL",
        metavar="URL",
        show_default=f"your gateway on this machine, else {DEFAULT_URL}",
        help="Where the gateway's admin API listens.",
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        envvar="HEADRACE_ADMIN_TOKEN", metavar="TOKEN", help="Its bearer token, if it wants one."
    ),
]
Name = Annotated[str, typer.Argument(metavar="REPLICA", help="The replica's name.")]

fleet = typer.Typer(
    add_completion=False,
    invoke_without_command=True,
    epilog=examples(
        "headrace fleet --watch", "headrace fleet drain gpu-1", "headrace fleet undrain gpu-1"
    ),
)


@fleet.callback()
def show(
    ctx: typer.Context,
    *,
    admin_url: AdminUrl = None,
    token: Token = None,
    watching: watch.Watch = False,
    as_json: AsJson = False,
) -> None:
    """Show the replicas of a running gateway, drain one, or take it back."""
    ctx.obj = Admin(admin_url, token)
    if ctx.invoked_subcommand is not None:
        return
    if as_json:
        typer.echo(json.dumps(ctx.obj.get("/admin/fleet"), indent=2))
        return
    watch.show(lambda: table(ctx.obj.get("/admin/fleet"), datetime.now(UTC)), watch=watching)


@fleet.command(epilog=examples("headrace fleet drain gpu-1 --deadline 120"))
def drain(
    ctx: typer.Context,
    replica: Name,
    *,
    deadline: Annotated[
        float,
        typer.Option(
            min=0, max=86_400, metavar="SECONDS", help="Running requests are ended after this."
        ),
    ] = 30.0,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until its last request has ended.")
    ] = True,
) -> None:
    """
    Send a replica no new requests, and wait until it is done.

    It stays in the list as gone; stop or restart its engine, then undrain it.
    """
    path = f"/admin/fleet/{quote(replica, safe='')}"
    seen = ctx.obj.post(f"{path}/drain", {"deadline_s": deadline})
    while wait and seen["state"] == "draining":
        time.sleep(POLL_S)
        seen = ctx.obj.get(path)
    typer.echo(_sentence(seen))


@fleet.command(epilog=examples("headrace fleet undrain gpu-1"))
def undrain(ctx: typer.Context, replica: Name) -> None:
    """Take a drained replica back; it gets requests when it is healthy and warm."""
    typer.echo(_sentence(ctx.obj.post(f"/admin/fleet/{quote(replica, safe='')}/undrain", {})))


class NobodyThere(StartError):
    """Nobody answers at the admin API's address."""


class Admin:
    """A gateway's admin API; without ``url`` that of the gateway that runs here."""

    def __init__(self, url: str | None, token: str | None) -> None:
        self._given = url
        self._headers = {"authorization": f"Bearer {token}"} if token else {}

    @cached_property
    def url(self) -> str:
        """Where it is; looked up when somebody asks, and once."""
        return self._given or beacon.found("admin_url", "--admin-url") or DEFAULT_URL

    def get(self, path: str) -> Any:
        """
        Ask.

        Raises:
            StartError: nobody answers there, or with an error.

        """
        return self._ask("GET", path, None)

    def post(self, path: str, body: dict[str, object]) -> Any:
        """Order; raises like ``get``."""
        return self._ask("POST", path, body)

    def _ask(self, method: str, path: str, body: dict[str, object] | None) -> Any:
        try:
            with httpx2.Client(timeout=TIMEOUT, trust_env=False) as client:
                answer = client.request(
                    method, self.url.rstrip("/") + path, json=body, headers=self._headers
                )
        except (httpx2.TransportError, httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
            why = ERRNO.sub("", str(error)) or type(error).__name__
            raise NobodyThere(
                f"No admin API answers at {self.url} ({why.rstrip('.')}); start the gateway, or say"
                " where its admin API is (--admin-url)."
            ) from None
        try:
            decoded = answer.json()
        except ValueError:
            if answer.is_server_error:
                raise StartError(
                    f"The admin API at {self.url} failed: {answer.status_code}"
                    f" {answer.reason_phrase}; the gateway's output has the reason."
                ) from None
            raise StartError(f"What answers at {self.url} is no admin API of Headrace.") from None
        if answer.is_error:
            inner = decoded.get("error") if isinstance(decoded, dict) else None
            known = inner.get("message") if isinstance(inner, dict) else None
            hint = " Give it with --token." if answer.status_code == UNAUTHORIZED else ""
            raise StartError(f"{known or f'It answered {answer.status_code}.'}{hint}")
        return decoded


def table(seen: Any, now: datetime) -> Table:
    """The fleet for people."""
    columns = ("replica", "state", "for", "requests", "running", "waiting", "kv", "read", "why")
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        numeric = column in {"for", "requests", "running", "waiting", "kv", "read"}
        shown.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for each in seen["replicas"]:
        state, load = each["state"], each["load"]
        since_s = (now - datetime.fromisoformat(each["since"])).total_seconds()
        shown.add_row(
            _safe(each["name"]),
            Text(state, COLOURS.get(state, "dim")),
            _span(since_s),
            str(each["inflight_requests"]),
            f"{load['running']:g}" if load else "-",
            f"{load['waiting']:g}" if load else "-",
            f"{load['kv_usage']:.0%}" if load else "-",
            f"{load['age_s']:.1f}s ago" if load else "-",
            _safe(each["reason"]),
        )
    for each in seen["away"]:
        state = each["state"]
        since_s = (now - datetime.fromisoformat(each["since"])).total_seconds()
        waiting = sum(seen["waiting"].get(model, 0) for model in each["serves"])
        name, why = _safe(each["name"]), each["reason"]
        why += f"; {waiting} waiting" if waiting else ""
        colour = COLOURS.get(state, "dim")
        shown.add_row(name, Text(state, colour), _span(since_s), *"-----", _safe(why))
    return shown


def _sentence(seen: Any) -> str:
    return str(_safe(f"{seen['name']} is {seen['state']}: {seen['reason']}"))


def _safe(text: str) -> Text:
    return Text(str(text).translate(UNPRINTABLE))


def _span(seconds: float) -> str:
    """``7s``, ``12m``, ``3h``, ``4d``."""
    whole = max(0, int(seconds))
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "m")):
        if whole >= size:
            return f"{whole // size}{unit}"
    return f"{whole}s"
