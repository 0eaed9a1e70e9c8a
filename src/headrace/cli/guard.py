"""``headrace guard``: what the guards of the configuration say of a text. No model sees it."""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from headrace.cli.app import examples
from headrace.cli.options import ConfigOption
from headrace.config.guards import GuardPolicy, Guards, Injection
from headrace.config.load import load
from headrace.config.schema import Config
from headrace.errors import ConfigError, Unguarded
from headrace.gateway.guards.guarding import Guarding, meaning
from headrace.gateway.guards.looks import Guard
from headrace.guard import limits
from headrace.guard.detectors import KINDS
from headrace.guard.screen import Found, Tally, redacted
from headrace.telemetry.guards import GuardMetrics
from headrace.telemetry.metrics import Metrics
from headrace.telemetry.writer import Writer

# What is tried where no guard is configured: what needs no package and no setting.
USUAL = (
    GuardPolicy(name="pii", kind="pii", mode="redact"),
    GuardPolicy(name="secrets", kind="secrets", mode="redact"),
    GuardPolicy(name="injection", kind="injection", injection=Injection(vectors=False)),
)

guard = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    epilog=examples(
        'headrace guard test --text "Write to anna@example.org"',
        "headrace guard test --file prompt.txt --guard pii",
    ),
    help="Tell what guards say of a text, without sending it to a model.",
)


class Said(msgspec.Struct):
    """What one guard says of a text; ``took_ms`` is its second look, the first loads things."""

    guard: str
    kind: str
    mode: str
    verdict: str
    found: dict[str, int]
    took_ms: float


@guard.callback()
def _group() -> None:
    """Keep ``test`` a command of a group, though it is the only one."""


@guard.command(
    "test",
    epilog=examples(
        'headrace guard test --text "Write to anna@example.org"',
        "headrace guard test --file prompt.txt --guard pii --json",
    ),
)
def say(
    text: Annotated[
        str | None, typer.Option("--text", "-t", metavar="TEXT", help="The text.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", metavar="FILE", help="A file with it; - reads it."),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option("--guard", "-g", metavar="NAME", help="Only this guard; repeatable."),
    ] = None,
    config: ConfigOption = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """
    Tell what each guard finds in a text, how long that takes, and what would be left of it.

    The guards are those of the configuration; without any, personal data, secrets and attacks are
    looked for by patterns. Guards of kind moderation ask their classifier.
    """
    whole = _text(text, file)
    guards = load(config).guards
    if not guards.policies:
        guards = Guards(policies=USUAL)
    said, left = asyncio.run(_look(_only(guards, name or ()), whole))
    if json:
        shown = {"guards": said, "text": left}
        typer.echo(msgspec.json.encode(shown))
    else:
        _print(said, left)


def _text(text: str | None, file: Path | None) -> str:
    """
    The text that was given.

    Raises:
        ConfigError: there is none, there are two, or the file cannot be read.

    """
    if (text is None) == (file is None):
        raise ConfigError("Give a text with --text TEXT or --file FILE, one of them.")
    if file is None:
        return text or ""
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise ConfigError(f"{file}: {why}.") from error


def _only(guards: Guards, names: Iterable[str]) -> Guards:
    """
    These guards, each with time enough, since nobody waits for it.

    Raises:
        ConfigError: there is none of such a name.

    """
    wanted = [*names] or [policy.name for policy in guards.policies]
    known = {policy.name: policy for policy in guards.policies}
    for name in wanted:
        if name not in known:
            raise ConfigError(f"There is no guard {name!r}; there are {', '.join(known)}.")
    patient = [known[name].model_copy(update={"deadline_s": 60.0}) for name in wanted]
    return guards.model_copy(update={"policies": tuple(patient), "default": tuple(wanted)})


async def _look(guards: Guards, text: str) -> tuple[list[Said], str]:
    metrics = Metrics([], [])
    log = Writer(metrics, requests=False, console=True, file=None)  # never started: writes nothing
    guarding = Guarding(guards, Config().tenants, GuardMetrics(metrics.registry), log, meaning)
    await guarding.start()
    try:
        said, spans = [], list[Found]()
        for each in guarding.guards:
            await _one(guarding, each, text)
            began = time.perf_counter()
            found, places = await _one(guarding, each, text)
            took_ms = round((time.perf_counter() - began) * 1000, 3)
            said.append(_said(each.policy, found, took_ms))
            if places and each.policy.mode == "redact":
                spans.append((each.policy.name, "redact", places))
        return said, redacted(text, spans, Tally())
    finally:
        guarding.stop()


async def _one(guarding: Guarding, each: Guard, text: str) -> tuple[list[str], Any]:
    """What a guard finds, by entity, and where."""
    policy, looks, tally = each.policy, guarding.looks, Tally()
    if policy.kind in KINDS:
        (found,) = await looks.find(each, [text], "input", tally)
        return [entity for entity, *_ in found], found
    if policy.kind == "limits":
        size = len(msgspec.json.encode(text))
        return [entity for entity, _ in limits.excess(policy.limits, size, None)], ()
    try:
        if policy.kind == "moderation":
            return [*await looks.moderated(each, text, tally)], ()
        fault = await looks.fault(each, None, text, tally)
        return [fault] if fault else [], ()
    except Unguarded:
        return [next(iter(tally.misses.values()), "failed")], ()


def _said(policy: GuardPolicy, found: list[str], took_ms: float) -> Said:
    verdicts = {"log": "found", "redact": "redacted", "block": "blocked"}
    verdict = verdicts[policy.mode] if found else "passed"
    if found in (["late"], ["failed"]):
        verdict, found = found[0], []
    return Said(policy.name, policy.kind, policy.mode, verdict, dict(Counter(found)), took_ms)


def _print(said: list[Said], left: str) -> None:
    console = Console(highlight=False)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("guard", "kind", "mode", "verdict", "found"):
        table.add_column(title)
    table.add_column("ms", justify="right")
    for each in said:
        found = ", ".join(
            name if count == 1 else f"{name} ({count})" for name, count in each.found.items()
        )
        table.add_row(
            each.guard, each.kind, each.mode, each.verdict, escape(found), f"{each.took_ms:.2f}"
        )
    console.print(table)
    console.print(f"\n{escape(left)}", soft_wrap=True)
