"""Options that several commands have, spelled once. What they lead to is the commands' own."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from headrace.errors import ConfigError

ConfigArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="FILE",
        show_default=False,
        help="The file; else $HEADRACE_CONFIG, else headrace.yaml in this directory.",
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        show_default=False,
        help="The configuration; else $HEADRACE_CONFIG, else headrace.yaml in this directory.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        metavar="FILE",
        show_default=False,
        help="Write what --json prints to this file.",
    ),
]


def save(path: Path | None, text: Callable[[], str]) -> None:
    """
    Write a file if one was asked for, and say so on stderr.

    Raises:
        ConfigError: it cannot be written.

    """
    if path is None:
        return
    try:
        path.write_text(text(), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from error
    typer.echo(f"Written: {path}", err=True)
