"""``--watch``: something shown again and again until Ctrl-C. What is shown is the command's own."""

import time
from collections.abc import Callable
from typing import Annotated

import typer
from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from headrace.errors import StartError

EVERY_S = 1.0

Watch = Annotated[bool, typer.Option("--watch", "-w", help="Keep showing it, until Ctrl-C.")]


def show(look: Callable[[], RenderableType], *, watch: bool, every_s: float = EVERY_S) -> None:
    """
    Show a look once, or one every so many seconds in its place. A later one that fails says so and
    is tried again: what is watched may be restarting.

    Raises:
        StartError: the first one fails.

    """
    if not watch:
        Console().print(look())
        return
    with Live(look(), console=Console(), auto_refresh=False) as live:
        repeat(lambda: live.update(_tried(look), refresh=True), every_s)


def repeat(act: Callable[[], None], every_s: float) -> None:
    """Do it until Ctrl-C, at which there is nothing to say."""
    try:
        while True:
            act()
            time.sleep(every_s)
    except KeyboardInterrupt:
        return


def _tried(look: Callable[[], RenderableType]) -> RenderableType:
    try:
        return look()
    except StartError as error:
        return Text(f"{error} Trying again.", "yellow")
