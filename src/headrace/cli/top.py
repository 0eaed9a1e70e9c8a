"""
``headrace top``: a gateway at a glance, by its admin API, again and again. What it draws is in
board.py.
"""

import asyncio
import sys
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, ClassVar

import typer
from rich.console import Console
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Footer, Static

from headrace.cli.board import SORTS, Board
from headrace.cli.fleet import Admin, AdminUrl, Token
from headrace.errors import StartError

PATH = "/admin/top"
LOOKS = 4  # most that --once takes, until engines have been read again: speeds need two readings
PIPE_COLUMNS = 120  # where the output is no terminal
Sort = StrEnum("Sort", [(name, name) for name in SORTS])  # type: ignore[misc] # Typer wants an enum


def top(
    *,
    admin_url: AdminUrl = None,
    token: Token = None,
    once: Annotated[
        bool, typer.Option("--once", help="Print it once and end; so it does in a pipe.")
    ] = False,
    interval: Annotated[
        float, typer.Option(min=0.2, max=60, metavar="SECONDS", help="How often to look.")
    ] = 1.0,
    sort: Annotated[Sort, typer.Option(help="How replicas are sorted; keys change it.")] = Sort(
        "name"
    ),
) -> None:
    """
    Show a running gateway at a glance: replicas, tenants and the slowest requests.

    Counts and times to the first token are those of the last minute; tokens/s are what engines say
    between two looks. Keys: q ends, p pauses, s sorts by the next column, r turns the order.
    """
    admin, board = Admin(admin_url, token), Board(sort.value)
    board.take(admin.get(PATH), time.monotonic())  # who is not there is told before the screen is
    if once or not sys.stdout.isatty():
        for _ in range(LOOKS):
            time.sleep(interval)
            board.take(admin.get(PATH), time.monotonic())
            if board.paced:
                break
        console = Console()
        width = console.width if sys.stdout.isatty() else PIPE_COLUMNS
        Console(width=width).print(board.render(width, 60))
        return
    Top(board, lambda: admin.get(PATH), admin.url, interval).run()


class Top(App[None]):
    """The screen; ``ask`` gives a look, or raises StartError."""

    CSS = """
    #title { height: 1; background: $primary; color: $text; padding: 0 1; }
    #board { padding: 0 1; }
    """
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("p,space", "pause", "Pause"),
        Binding("s", "sort", "Sort"),
        Binding("r", "reverse", "Reverse"),
        *(
            Binding(key, f"sort_by('{name}')", SORTS[name][0], show=False)
            for key, name in (
                ("n", "name"), ("l", "load"), ("u", "queue"), ("k", "kv"), ("t", "tokens"),
                ("f", "ttft"),
            )
        ),
    ]  # fmt: skip

    def __init__(self, board: Board, ask: Callable[[], Any], where: str, interval_s: float) -> None:
        super().__init__()
        self.board = board
        self._ask = ask
        self._where = where
        self._interval_s = interval_s
        self._asking = False
        self.paused = False
        self.note = ""

    def compose(self) -> ComposeResult:
        yield Static(id="title")
        with VerticalScroll():
            yield Static(id="board")
        yield Footer()

    def on_mount(self) -> None:
        self.set_interval(self._interval_s, self.look)
        self.draw()

    def on_resize(self) -> None:
        self.draw()

    async def look(self) -> None:
        """Ask, in a thread, unless an answer is still awaited."""
        if self.paused or self._asking:
            return
        self._asking = True
        try:
            seen = await asyncio.to_thread(self._ask)
        except StartError as error:
            self.note = f"{error} Trying again."
        else:
            self.note = ""
            self.board.take(seen, time.monotonic())
        finally:
            self._asking = False
        self.draw()

    def draw(self) -> None:
        """What is known, at the size that the terminal has."""
        order = SORTS[self.board.sort][0]
        turned = ", reversed" if self.board.reverse else ""
        paused = " · PAUSED" if self.paused else ""
        title = f"headrace top · {self._where} · by {order}{turned}{paused}"
        self.query_one("#title", Static).update(Text(title, no_wrap=True, overflow="ellipsis"))
        width, height = self.size
        self.query_one("#board", Static).update(self.board.render(width - 4, height, self.note))

    def action_pause(self) -> None:
        self.paused = not self.paused
        self.draw()

    def action_sort(self) -> None:
        names = [*SORTS]
        self.action_sort_by(names[(names.index(self.board.sort) + 1) % len(names)])

    def action_sort_by(self, name: str) -> None:
        self.board.sort = name
        self.draw()

    def action_reverse(self) -> None:
        self.board.reverse = not self.board.reverse
        self.draw()
