"""
``headrace why``: what is wrong with a running gateway and its fleet, from evidence, by its admin
API. What it means is diagnose's; here it is asked for and shown.
"""

import json
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from datetime import time as clock_time
from typing import Annotated, Any
from urllib.parse import urlencode

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from headrace.cli.fleet import UNPRINTABLE, Admin, AdminUrl, Token
from headrace.cli.options import AsJson
from headrace.errors import ConfigError

FOUND = 1  # exit code: something is wrong
SPAN = re.compile(r"(\d+(?:\.\d+)?)([smh])")
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
LEAST_S, MOST_S = 60.0, 3600.0
NO_DATA = "no-data"  # the finding of a look at what is not known
FEW = 4  # names in a sentence

Model = Annotated[
    str | None,
    typer.Option(metavar="NAME", show_default=False, help="This model only; by default all."),
]
Since = Annotated[
    str, typer.Option(metavar="SPAN", help="How far back to look: 90s, 15m, 1h at most.")
]
At = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        show_default=False,
        help="Look at a moment of the past: 14:05, or 2026-11-21T14:05:00Z; by default now.",
    ),
]
Full = Annotated[bool, typer.Option("--full", help="Say of each other cause why it is not it.")]


def why(
    *,
    model: Model = None,
    since: Since = "15m",
    at: At = None,
    full: Full = False,
    admin_url: AdminUrl = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """
    Tell what is wrong and why: the finding, its evidence, what it is not, and what to do.

    Exit code 0: nothing is wrong. 1: something is. 2: nobody could be asked.
    """
    asked = {"since_s": f"{seconds(since):g}"}
    if model is not None:
        asked["model"] = model
    at_s = moment(at, time.time()) if at is not None else None
    if at_s is not None:
        asked["at_s"] = f"{at_s:.3f}"
    answer = Admin(admin_url, token).get(f"/admin/why?{urlencode(asked)}")
    found = answer["diagnoses"]
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
    else:
        console = Console(highlight=False)
        told = notes(answer, at_s)
        for each in merged(found):
            if not (told and each["finding"]["name"] == NO_DATA):  # that is said better below
                show(console, each, full=full)
        for note in told:
            console.print(Text(_safe(note), "yellow"))
    if not all(each["healthy"] for each in found):
        raise typer.Exit(FOUND)


def seconds(text: str) -> float:
    """
    A span as people write it, in seconds.

    Raises:
        ConfigError: it is none, or not within what can be looked at.

    """
    found = SPAN.fullmatch(text)
    value = float(found[1]) * UNITS[found[2]] if found else 0.0
    if not LEAST_S <= value <= MOST_S:
        raise ConfigError(f"--since {text}: must be 60s to 1h, such as 90s or 15m.")
    return value


def moment(text: str, now_s: float) -> float:
    """
    A time as people write it, in seconds since 1970; a time of day is the last one that was.

    Raises:
        ConfigError: it is none.

    """
    try:
        if len(text) <= 8 and ":" in text:
            today = datetime.fromtimestamp(now_s).astimezone()
            clock = clock_time.fromisoformat(text)
            at_s = datetime.combine(today.date(), clock, today.tzinfo).timestamp()
            return at_s if at_s <= now_s else at_s - 86_400
        at_s = datetime.fromisoformat(text).astimezone(UTC).timestamp()
    except ValueError:
        raise ConfigError(
            f"--at {text}: is no time; write 14:05 or 2026-11-21T14:05:00Z."
        ) from None
    if at_s > now_s:
        raise ConfigError(f"--at {text}: has not come yet; give a moment of the past.")
    return at_s


def merged(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is found of several models in the same words is of the gateway, and told once."""
    told: list[dict[str, Any]] = []
    for each in found:
        same = next((m for m in told if m["finding"] == each["finding"]), None)
        if same is None:
            told.append(dict(each))
        else:
            same["model"] = f"{same['model']}, {each['model']}"
    return told


def notes(answer: Mapping[str, Any], at_s: float | None) -> list[str]:
    """What the answer does not cover: time before the history, replicas without room in it."""
    told = []
    from_s, unseen = answer.get("known_from_s"), answer.get("unseen", [])
    if at_s is not None and from_s is not None and at_s < from_s:
        told.append(
            f"Nothing is known of {_clock(at_s)}: the gateway's history begins at"
            f" {_clock(from_s)}. `diagnosis.prometheus` asks a server that keeps more."
        )
    if unseen:
        few = ", ".join(unseen[:FEW]) + (" and more" if len(unseen) > FEW else "")
        told.append(
            f"Not looked at: {len(unseen)} replicas without room in the history ({few});"
            " set `diagnosis.prometheus`, or give each gateway fewer replicas."
        )
    return told


def show(console: Console, diagnosis: Mapping[str, Any], *, full: bool = False) -> None:
    """One model's diagnosis for people; ``full`` says why it is no other cause."""
    finding = diagnosis["finding"]
    name = _safe(diagnosis["model"] or "all models")
    if finding["name"] == NO_DATA:
        console.print(Text.assemble((f"{name}: ", "bold"), ("too early to tell", "yellow")))
        console.print(Padding(_safe(finding["summary"]), (0, 0, 0, 2)))
        return
    colour = "green" if diagnosis["healthy"] else "red"
    console.print(Text.assemble((f"{name}: ", "bold"), (_safe(finding["title"]), f"bold {colour}")))
    if diagnosis["healthy"]:
        return
    span = f"{_clock(diagnosis['begin_s'])} to {_clock(diagnosis['end_s'])}"
    over = diagnosis["end_s"] < diagnosis["at_s"] - 1
    _indented(console, f"{finding['summary']} ({'it was so from ' if over else ''}{span})")
    for symptom in diagnosis["symptoms"]:
        _indented(console, f"felt: {symptom['text']}")
    _indented(console, f"What to do: {finding['advice']}", style="bold")
    _indented(console, f"Runbook: {finding['runbook']}")
    console.print()
    console.print(Padding(_evidence(finding["evidence"]), (0, 0, 0, 2)))
    console.print()
    for evidence in finding["evidence"]:
        _indented(console, f"{evidence['text']}:  {evidence['promql']}", style="dim")
    console.print()
    for also in diagnosis["also"]:
        _indented(console, f"also: {also['title']}. {also['summary']}")
    if full:
        for cleared in diagnosis["ruled_out"]:
            _indented(console, f"not {cleared['name']}: {cleared['why']}", style="dim")
    elif diagnosis["ruled_out"]:
        names = ", ".join(each["name"] for each in diagnosis["ruled_out"])
        _indented(console, f"It is not (--full says why): {names}.", style="dim")


# --- below -------------------------------------------------------------------------------------


def _evidence(evidence: list[dict[str, Any]]) -> Table:
    shown = Table(box=None, pad_edge=False, header_style="bold")
    shown.add_column("evidence")
    shown.add_column("now", justify="right")
    shown.add_column("usually", justify="right")
    for each in evidence:
        shown.add_row(
            _safe(each["text"]), number(each["now"], each["unit"]),
            number(each["usual"], each["unit"]),
        )  # fmt: skip
    return shown


def number(value: float | None, unit: str) -> str:
    """A number with its unit, three digits of it."""
    if value is None:
        return "-"
    if unit == "share":
        return f"{value:.1%}"
    if unit == "s":
        return f"{value:.2f} s" if abs(value) >= 1 else f"{value * 1000:.1f} ms"
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{text} {unit}".rstrip() if not unit.startswith("/") else f"{text}{unit}"


def _indented(console: Console, text: str, style: str = "") -> None:
    console.print(Padding(Text(str(_safe(text)), style), (0, 0, 0, 2)))


def _clock(at_s: float) -> str:
    then, now = (datetime.fromtimestamp(each).astimezone() for each in (at_s, time.time()))
    return f"{then:%H:%M:%S}" if then.date() == now.date() else f"{then:%Y-%m-%d %H:%M:%S}"


def _safe(text: str) -> str:
    return str(text).translate(UNPRINTABLE)
