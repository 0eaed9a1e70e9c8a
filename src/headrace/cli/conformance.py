"""``headrace conformance``: try a gateway on the edge cases; print how to wire it."""

import asyncio
import contextlib
import json
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.status import Status

from headrace.cli.app import examples
from headrace.cli.options import AsJson, Out, save
from headrace.conformance import catalogue, report, suite
from headrace.conformance.program import Program
from headrace.conformance.stage import Stage
from headrace.conformance.verdict import Case, Result, Verdict
from headrace.conformance.wiring import WIRINGS, Front, Names, Wiring
from headrace.errors import ConfigError, StartError

REPLICAS = 2
COLOURS = {Verdict.PASS: "green", Verdict.FAIL: "red", Verdict.NOT_APPLICABLE: "yellow"}
SHOWN = 3  # failed checks of a case that are printed; --json has all

conformance = typer.Typer(
    add_completion=False,
    invoke_without_command=True,
    epilog=examples(
        "headrace conformance --gateway headrace",
        "headrace conformance --base-url http://127.0.0.1:8000 --case 1,4,A3",
        "headrace conformance wiring litellm",
    ),
)

EnginePort = Annotated[
    int,
    typer.Option(min=1, max=65_534, metavar="PORT", help="First port of the scripted engine."),
]
Port = Annotated[
    int, typer.Option(min=1, max=65_534, metavar="PORT", help="Port the gateway listens on.")
]


@dataclass(frozen=True, slots=True)
class Target:
    """The gateway that is tried, as the options say."""

    base_url: str | None
    gateway: str | None
    program: str | None
    port: int
    engine_port: int
    key: str | None
    metrics_url: str | None
    wait_s: float

    @property
    def front(self) -> Front:
        return front(self.port, self.engine_port)


def front(port: int, engine_port: int) -> Front:
    """The gateway's port and the replicas behind it."""
    return Front(port, tuple(f"127.0.0.1:{engine_port + n}" for n in range(REPLICAS)))


@conformance.callback()
def run(
    context: typer.Context,
    *,
    base_url: Annotated[
        str | None,
        typer.Option(metavar="URL", show_default=False, help="A gateway that runs already."),
    ] = None,
    gateway: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            show_default=False,
            help=f"Start this one first: {', '.join(WIRINGS)}.",
        ),
    ] = None,
    program: Annotated[
        str | None,
        typer.Option(metavar="PATH", show_default=False, help="Its program, if not in the PATH."),
    ] = None,
    key: Annotated[
        str | None, typer.Option(metavar="KEY", show_default=False, help="A key that it accepts.")
    ] = None,
    case: Annotated[
        str | None,
        typer.Option(metavar="LIST", show_default=False, help="Only these cases, as in 3,7,A2."),
    ] = None,
    engine_port: EnginePort = 8101,
    port: Annotated[
        int,
        typer.Option(min=1, max=65_534, metavar="PORT", help="Port for --gateway to listen on."),
    ] = 8100,
    wait: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="How long to wait for the gateway."),
    ] = 60.0,
    metrics_url: Annotated[
        str | None,
        typer.Option(metavar="URL", show_default="/metrics", help="Where its metrics are."),
    ] = None,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """
    Try a gateway on 25 edge cases and the shapes of the API.

    A scripted engine with two replicas stands behind the gateway, clients stand before it. Exit
    code 0: no case failed; 1: some did; 2: they could not be run.
    """
    if context.invoked_subcommand is not None:
        return
    target = Target(base_url, gateway, program, port, engine_port, key, metrics_url, wait)
    cases = _cases(case)
    _demand_one(target)
    started = time.monotonic()
    results = asyncio.run(_run(target, cases, Console(stderr=as_json)))
    name, took_s = gateway or str(base_url), time.monotonic() - started
    told = ", ".join(f"{number} {verdict}" for verdict, number in report.counts(results).items())
    typer.echo(f"{name}: {told} in {took_s:.0f} s", err=as_json)
    evidence = report.as_json(results, name, took_s)
    document = json.dumps(evidence, indent=1, ensure_ascii=False) + "\n"
    if as_json:
        typer.echo(document, nl=False)
    save(out, lambda: document)
    raise typer.Exit(report.exit_code(results))


@conformance.command(epilog=examples("headrace conformance wiring litellm > litellm.yaml"))
def wiring(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"One of {', '.join(WIRINGS)}.")],
    engine_port: EnginePort = 8101,
    port: Port = 8100,
) -> None:
    """Print the configuration that puts a known gateway before the engine, and its command."""
    known = _known(name)
    where = front(port, engine_port)
    typer.echo(known.text(where), nl=False)
    words = [known.program or "headrace", *known.argv(where, known.file or "")]
    typer.echo(f"Start it with: {' '.join([*known.env, *words])}", err=bool(known.file))


def _cases(keys: str | None) -> tuple[Case, ...]:
    try:
        return catalogue.chosen(keys)
    except LookupError as error:
        raise ConfigError(
            f"There is no case {error.args[0]}; there are 1 to 25 and A1 to A12."
        ) from error


def _known(name: str) -> Wiring:
    if name not in WIRINGS:
        raise ConfigError(f"No wiring is known for {name!r}; use one of {', '.join(WIRINGS)}.")
    return WIRINGS[name]


def _demand_one(target: Target) -> None:
    if (target.base_url is None) == (target.gateway is None):
        raise ConfigError(
            "Give either --base-url (a gateway that runs) or --gateway (one to start)."
        )
    if target.base_url is not None and not target.base_url.startswith("http://"):
        raise ConfigError(
            f"--base-url must be http://host:port, not {target.base_url!r}: the cases look at the"
            " bytes on the wire."
        )
    if target.gateway is not None:
        _known(target.gateway)


async def _run(target: Target, cases: Sequence[Case], console: Console) -> list[Result]:
    url = target.base_url or f"http://127.0.0.1:{target.port}"
    stage = Stage(url, Names(), key=target.key, metrics_url=target.metrics_url)
    await stage.start(range(target.engine_port, target.engine_port + REPLICAS))
    try:
        async with _started(target, stage):
            with Console(stderr=True).status("waiting for the gateway") as status:
                await suite.meet(stage, target.wait_s)
                return await suite.run(stage, cases, Screen(console, status))
    finally:
        await stage.stop()


@contextlib.asynccontextmanager
async def _started(target: Target, stage: Stage) -> AsyncIterator[None]:
    """The gateway of --gateway, while the cases run; nothing when there is a --base-url."""
    if target.gateway is None:
        yield
        return
    known = _known(target.gateway)
    if target.metrics_url is None:
        stage.metrics_url = f"http://127.0.0.1:{target.port + known.metrics_offset}/metrics"
    with tempfile.TemporaryDirectory(prefix="headrace-conformance-") as folder:
        place = Path(folder)
        async with Program(known, target.front, place, target.program) as started:
            stage.gateway, stage.ready_path = started, known.ready
            try:
                yield
            except StartError as error:
                raise StartError(f"{error} Its output ends: {started.output()}") from error


class Screen:
    """One line per case as it ends, and what failed in it (``suite.Audience``)."""

    def __init__(self, console: Console, status: Status) -> None:
        self._console = console
        self._status = status

    def begins(self, case: Case) -> None:
        """Show what runs now."""
        self._status.update(f"case {case.key}: {case.name}")

    def ended(self, result: Result) -> None:
        """Print the verdict and the evidence against the gateway."""
        case, colour = result.case, COLOURS[result.verdict]
        verdict = f"[{colour}]{result.verdict:<14}[/]"
        missing = result.reason if result.verdict is Verdict.NOT_APPLICABLE else ""
        line = f"{case.key:>3}  {verdict} {case.name} ({result.took_s:.1f} s) {escape(missing)}"
        self._console.print(line.rstrip(), highlight=False, soft_wrap=True)
        for check in result.failures[:SHOWN]:
            lines = (check.sent, f"  expected {check.expected}", f"  saw {check.seen}")
            told = "\n".join(f"       {line}" for line in lines)
            self._console.print(escape(told), style="dim", highlight=False, soft_wrap=True)
        if len(result.failures) > SHOWN:
            more = f"       … and {len(result.failures) - SHOWN} more; --json has all"
            self._console.print(more, style="dim", highlight=False)
