"""``headrace engine calibrate``: asks a real engine, prints the fit, writes the preset."""

import asyncio
import datetime as dt
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console

from headrace.config.backends import Backend
from headrace.engines.calibrate import report
from headrace.engines.calibrate.findings import findings
from headrace.engines.calibrate.session import Session, Survey
from headrace.engines.calibrate.target import Target
from headrace.engines.sim import sheet
from headrace.errors import ConfigError

TOLD_S = 10.0  # between two lines of progress, where there is no terminal


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the options say."""

    backend: Backend
    model: str | None
    time_s: float


def calibrate(
    *,
    url: Annotated[
        str, typer.Option(metavar="URL", show_default=False, help="Base URL of the engine.")
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME",
            show_default="the engine's first",
            help="Model to calibrate.",
        ),
    ] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", show_default=False, help="A file that holds its key, if it wants one."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default="standard output",
            help="Where the preset is written; must end in .yaml. Its name is the preset's.",
        ),
    ] = None,
    time_s: Annotated[
        float,
        typer.Option("--time", min=1, metavar="SECONDS", help="About how long it may take."),
    ] = 120.0,
) -> None:
    """
    Fit the simulator to a real engine, and write the preset.

    The engine must have nothing else to do. The report goes to standard error.
    """
    if out is not None and not sheet.is_file(out.name):
        raise ConfigError(f"--out {out}: must end in .yaml, so that --preset takes it for a file.")
    if out is not None and not out.expanduser().absolute().parent.is_dir():
        raise ConfigError(f"--out {out}: there is no folder {out.parent}; make it first.")
    wanted = Wanted(_backend(url, api_key_file), model, time_s)
    survey = asyncio.run(_survey(wanted))
    found = findings(survey, _name(survey, out), _source(survey))
    told = [*report.lines(found)]
    for line in told:
        typer.echo(line, err=True)
    text = sheet.text(found.preset, told)
    if out is None:
        typer.echo(text, nl=False)
        return
    out.expanduser().write_text(text, encoding="utf-8")
    typer.echo(f"Written: headrace engine sim --preset {out}", err=True)


def _backend(url: str, key_file: Path | None) -> Backend:
    try:
        return Backend(url=url, name="--url", serves={"any": "any"}, api_key_file=key_file)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"--url {url!r} {reason}.") from None


async def _survey(wanted: Wanted) -> Survey:
    with Console(stderr=True).status("looking at the engine") as status:
        async with Target(wanted.backend) as target:
            facts = await target.facts(wanted.model)
            began = told = time.monotonic()
            if not status.console.is_terminal:
                typer.echo(f"calibrating {facts.model!r} at {wanted.backend.url}", err=True)

            def say(text: str) -> None:
                nonlocal told
                now = time.monotonic()
                line = f"{now - began:.0f} of {wanted.time_s:.0f} s: {text}"
                status.update(line)
                if not status.console.is_terminal and now - told > TOLD_S:
                    told = now
                    typer.echo(line, err=True)

            nonce = f"{time.time_ns():x}"
            return await Session(target, facts, say, nonce).run(wanted.time_s)


def _name(survey: Survey, out: Path | None) -> str:
    """The file's name, or one made of the model's."""
    if out is not None:
        return out.stem
    return re.sub(r"[^a-z0-9.]+", "-", survey.facts.model.lower()).strip("-") or "calibrated"


def _source(survey: Survey) -> str:
    facts = survey.facts
    day = dt.datetime.now(tz=dt.UTC).date().isoformat()
    engine = f"{facts.kind} {facts.version}".strip()
    return (
        f"fitted to {engine} with {facts.model} by `headrace engine calibrate`,"
        f" {survey.rounds} rounds, {day}"
    )
