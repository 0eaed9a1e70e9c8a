"""``headrace top``: the screen over a real gateway with simulated engines, its keys, and a pipe."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from textual.widgets import Static
from typer.testing import CliRunner

from headrace.cli.app import app
from headrace.cli.board import Board
from headrace.cli.fleet import Admin
from headrace.cli.top import Top
from headrace.conformance.ports import RefusingPort
from headrace.errors import StartError
from tests.cli.test_board import replica, seen
from tests.observability.busy import Busy


def text(screen: Top, name: str = "#board") -> str:
    """What stands in a part of the screen."""
    console = Console(width=screen.size.width, color_system=None)
    with console.capture() as shown:
        console.print(screen.query_one(name, Static).content)
    return shown.get()


def top(ask: Callable[[], Any]) -> Top:
    return Top(Board(), ask, "http://gateway", interval_s=60)


async def test_shows_a_running_gateway(tmp_path: Path) -> None:
    """Replicas with their speed, tenants and requests of a fleet at work, at 80 by 24."""
    async with Busy(tmp_path, replicas=2) as busy:
        admin = Admin(busy.admin_url, None)
        screen = Top(Board(), lambda: admin.get("/admin/top"), busy.admin_url, interval_s=60)
        async with screen.run_test(size=(80, 24)) as pilot:
            await screen.look()
            await busy.work(1.5, users=4)
            await screen.look()
            await pilot.pause()
            shown = text(screen)

    assert "2/2 ready" in shown
    for part in ("engine-0", "engine-1", "acme", "globex", "slowest request", "req_"):
        assert part in shown
    speeds = [trail.tokens_per_s for trail in screen.board.trails.values()]
    assert all(speed is not None and speed > 0 for speed in speeds), speeds


async def test_keys() -> None:
    """Letters and s sort, r turns the order, p stops looking and goes on, q ends it."""
    looks = 0

    def ask() -> Any:
        nonlocal looks
        looks += 1
        return seen(replica("a", ttft_p99_ms=1.0), replica("b", ttft_p99_ms=2.0))

    screen = top(ask)
    async with screen.run_test(size=(80, 24)) as pilot:
        await screen.look()
        await pilot.press("f")
        by_ttft = text(screen)
        await pilot.press("r")
        turned = text(screen, "#title")
        await pilot.press("s")
        after_the_last = screen.board.sort
        await pilot.press("p")
        await screen.look()
        paused, while_paused = text(screen, "#title"), looks
        await pilot.press("p")
        await screen.look()
        assert (1, 2) == (while_paused, looks)
        await pilot.press("q")

    assert by_ttft.index("\nb ") < by_ttft.index("\na ")
    assert "by TTFT p99, reversed" in turned
    assert "name" == after_the_last
    assert "PAUSED" in paused
    assert 0 == screen.return_code


async def test_a_gateway_that_goes_away() -> None:
    """What was seen stays on the screen, with a note, until it answers again."""
    answers: list[Any] = [seen(replica("gpu-7")), StartError("No admin API answers."), seen()]

    def ask() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, StartError):
            raise answer
        return answer

    screen = top(ask)
    async with screen.run_test(size=(100, 30)):
        await screen.look()
        await screen.look()
        gone = text(screen)
        await screen.look()
        back = text(screen)

    assert "No admin API answers. Trying again." in gone
    assert "gpu-7" in gone
    assert "Trying again" not in back


def run(*words: str) -> Any:
    return CliRunner().invoke(app, ["top", *words])


async def test_prints_once_in_a_pipe(tmp_path: Path) -> None:
    """Where there is no terminal it prints what it has seen in two looks, and ends."""
    async with Busy(tmp_path, replicas=1) as busy:
        work = asyncio.create_task(busy.work(3, users=2))
        result = await asyncio.to_thread(
            run, "--admin-url", busy.admin_url, "--interval", "0.7", "--sort", "load"
        )
        await work

    assert 0 == result.exit_code, result.output
    assert "1/1 ready" in result.output
    assert "engine-0" in result.output
    assert "\x1b" not in result.output


def test_nobody_there() -> None:
    """One sentence that says what to do, before any screen is drawn."""
    port = RefusingPort()
    result = run("--admin-url", port.url)
    port.close()

    assert 2 == result.exit_code
    assert "start the gateway, or say where its admin API is (--admin-url)" in result.stderr


@pytest.mark.parametrize("words", [["--sort", "size"], ["--interval", "0"]])
def test_wrong_options(words: list[str]) -> None:
    """What it cannot do is refused with what it can."""
    assert 2 == run(*words).exit_code
