"""``headrace classify``: which class texts have, how sure that is, and why. Nothing is sent."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from headrace.cli.options import ConfigOption
from headrace.config.classes import Classes
from headrace.config.load import load
from headrace.errors import ConfigError
from headrace.gateway.rules.classes import Classifier, Explained, classifier, words
from headrace.telemetry.classes import ClassMetrics
from headrace.telemetry.metrics import Metrics
from headrace.telemetry.writer import Writer
from headrace.types import Class

NEIGHBOURS = 3
PULLS = 4  # features that are shown: those that say most
SHOWN = 60  # characters of a text in a table


def classify(
    text: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT", show_default=False, help="Texts to judge."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", "-f", metavar="FILE", show_default=False, help="One text a line; - is stdin."
        ),
    ] = None,
    config: ConfigOption = None,
    neighbours: Annotated[
        int,
        typer.Option(min=0, max=20, metavar="N", help="Examples that are shown with each text."),
    ] = NEIGHBOURS,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """
    Tell which class texts have, how sure that is, and why.

    It learns from the examples of the configuration as the gateway does; no gateway has to run.
    """
    texts = [*(text or []), *_lines(file)]
    if not texts:
        raise ConfigError("There is no text to judge; give one, or --file FILE.")
    found = asyncio.run(_explain(load(config).classes, texts, neighbours))
    for each, explained in zip(texts, found, strict=True):
        if json:
            typer.echo(msgspec.json.encode(_plain(each, explained)))
        else:
            _print(each, explained)


def _lines(file: Path | None) -> list[str]:
    if file is None:
        return []
    try:
        whole = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise ConfigError(f"{file}: {why}.") from error
    return [line for line in whole.splitlines() if line.strip()]


def alone(config: Classes) -> Classifier:
    """A classifier without a gateway: its metrics and its log are nobody's."""
    metrics = Metrics([], [])
    log = Writer(metrics, requests=False, console=True, file=None)  # never started: writes nothing
    return classifier(config, ClassMetrics(metrics.registry), log)


async def judged(config: Classes, body: bytes) -> Class:
    """
    The class of a JSON body, as a gateway would find it that is in no hurry.

    Raises:
        StartError: nothing can be learned, or nothing judged.

    """
    asked = alone(config)
    try:
        await asked.start(wait=True)
        return (await asked.explain(words(body), 0)).verdict
    finally:
        await asked.close()


async def _explain(config: Classes, texts: list[str], neighbours: int) -> list[Explained]:
    asked = alone(config)
    try:
        await asked.start(wait=True)
        return [await asked.explain(text, neighbours) for text in texts]
    finally:
        await asked.close()


def _plain(text: str, explained: Explained) -> dict[str, object]:
    return {
        "text": text,
        "class": explained.verdict.name,
        "confidence": round(explained.verdict.confidence, 4),
        "why": explained.verdict.why,
        "shares": {name: round(share, 4) for name, share in explained.shares.items()},
        "neighbours": [
            {**example._asdict(), "likeness": round(likeness, 4)}
            for example, likeness in explained.neighbours
        ],
        "features": {name: round(v, 4) for name, v in explained.measured._asdict().items()},
        "pulls": {name: round(pull, 4) for name, pull in explained.pulls.items()},
    }


def _print(text: str, explained: Explained) -> None:
    console = Console(highlight=False)
    verdict = explained.verdict
    console.print(
        f"[bold]{escape(verdict.name)}[/] {verdict.confidence:.2f} ({verdict.why})"
        f"  {escape(_short(text))}"
    )
    pulls = sorted(explained.pulls.items(), key=lambda pull: -abs(pull[1]))[:PULLS]
    console.print("  features: " + ", ".join(f"{name} {pull:+.2f}" for name, pull in pulls))
    if explained.neighbours:
        table = Table(box=None, show_header=False, padding=(0, 1, 0, 1))
        for example, likeness in explained.neighbours:
            source = f" [{example.source}]" if example.source else ""
            table.add_row(f"{likeness:.2f}", example.name, escape(_short(example.text) + source))
        console.print(table)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 1]}…"
