"""``headrace fleet``: what it shows, and what it says when there is nothing to show."""

import asyncio
import io
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from headrace.cli.app import app
from headrace.cli.fleet import _span, table
from headrace.config.schema import Config
from headrace.conformance.ports import RefusingPort
from headrace.fleet.registry import Fleet
from headrace.fleet.states import State
from headrace.gateway.admin.annex import Annex
from headrace.gateway.app import Gateway

CONFIG = {
    "admin": {"port": 0, "token": "t-1"},
    "health": {"enabled": False},
    "load": {"enabled": False},
    "backends": [{"url": "http://127.0.0.1:9", "name": "gpu-1", "serves": ["m"]}],
}


class Running:
    """A gateway's admin API on a thread of its own."""

    def __init__(self) -> None:
        self.url = ""
        self.fleet: Fleet
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._live(),))

    def start(self) -> None:
        self._thread.start()
        assert self._up.wait(20)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(20)
        self._loop.close()

    async def _live(self) -> None:
        self._over = asyncio.Event()
        gateway = Gateway(Config.model_validate(CONFIG))
        self.fleet = gateway.fleet
        gateway.keeper.start()
        annex = Annex(gateway)
        await annex.start()
        self.url = annex.url
        self._up.set()
        await self._over.wait()
        await annex.stop()
        await gateway.keeper.stop()


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    up = Running()
    up.start()
    yield up
    up.stop()


def run(url: str, *words: str, token: str = "t-1") -> Result:
    return CliRunner().invoke(app, ["fleet", "--admin-url", url, "--token", token, *words])


def test_shows_the_fleet(running: Running) -> None:
    """A table for people, JSON for programs."""
    people, programs = run(running.url), run(running.url, "--json")

    assert (0, 0) == (people.exit_code, programs.exit_code)
    assert "gpu-1" in people.output
    assert "gpu-1" == json.loads(programs.output)["replicas"][0]["name"]


def test_shows_what_is_not_there() -> None:
    """A replica at zero is off, with its reason and who waits for it; a broken one has failed."""
    since = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    away = [
        {"name": "a", "serves": ["m"], "state": "off", "reason": "idle for 300 s"},
        {"name": "b", "serves": ["m", "n"], "state": "failed", "reason": "no GPU"},
    ]
    seen = {
        "replicas": [],
        "waiting": {"m": 0, "n": 3},
        "away": [each | {"since": since.isoformat()} for each in away],
    }
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(table(seen, since + timedelta(minutes=5)))
    lines = [line.split() for line in console.export_text().splitlines()[1:]]

    assert ["a", "off", "5m", *"-----", "idle", "for", "300", "s"] == lines[0]
    assert ["b", "failed", "5m", *"-----", "no", "GPU;", "3", "waiting"] == lines[1]


def test_drain_and_undrain(running: Running) -> None:
    """It waits until the replica is gone and says so; undrain brings it back."""
    drained = run(running.url, "drain", "gpu-1", "--deadline", "5")
    after = running.fleet.replicas["gpu-1"].state
    back = run(running.url, "undrain", "gpu-1")

    assert (0, "gpu-1 is gone: its last request has ended\n") == (
        drained.exit_code,
        drained.output,
    )
    assert State.GONE is after
    assert (0, "gpu-1 is starting: added\n") == (back.exit_code, back.output)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["drain", "gpu-9"], "There is no replica 'gpu-9'; there are: gpu-1."),
        (["undrain", "gpu-9"], "There is no replica 'gpu-9'; there are: gpu-1."),
    ],
)
def test_wrong_names(running: Running, words: list[str], says: str) -> None:
    """One sentence, and exit code 2."""
    result = run(running.url, *words)

    assert (2, f"headrace: {says}\n") == (result.exit_code, result.stderr)


def test_wrong_token(running: Running) -> None:
    """The sentence names the setting."""
    result = run(running.url, token="wrong")

    assert 2 == result.exit_code
    assert (
        "headrace: The admin API needs its bearer token (`admin.token`). Give it with --token.\n"
        == (result.stderr)
    )


@pytest.mark.parametrize("url", ["gpu", "ftp://gpu", "http://"])
def test_no_url(url: str) -> None:
    """What is no URL is told as one that nobody answers at."""
    result = run(url)

    assert 2 == result.exit_code
    assert result.stderr.startswith(f"headrace: No admin API answers at {url}")


def test_nobody_there() -> None:
    """The sentence says what to do."""
    port = RefusingPort()
    result = run(port.url)
    port.close()

    assert 2 == result.exit_code
    assert "start the gateway, or say where its admin API is (--admin-url)" in result.stderr


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, "What answers at {} is no admin API of Headrace."),
        (500, "The admin API at {} failed: 500 Internal Server Error;"),
    ],
)
def test_somebody_else_there(status: int, expected: str) -> None:
    """A page of another program is not taken for the API, and a fault of ours not for one."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        result = run(url)
        thread.join()

    assert 2 == result.exit_code
    assert result.stderr.startswith(f"headrace: {expected.format(url)}")


def test_table() -> None:
    """Each replica with what is known of it; a name cannot move the cursor."""
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    replica = {
        "name": "gpu-\x1b[2J1",
        "state": "ejected",
        "since": "2026-01-01T11:58:00Z",
        "inflight_requests": 7,
        "load": {"running": 3.0, "waiting": 12.0, "kv_usage": 0.87, "age_s": 1.26},
        "reason": "stuck",
    }
    console = Console(width=120, color_system=None)
    with console.capture() as shown:
        console.print(table({"replicas": [replica, replica | {"load": None}], "away": []}, now))

    head, first, second = shown.get().splitlines()
    columns = ["replica", "state", "for", "requests", "running", "waiting", "kv", "read", "why"]
    assert columns == head.split()
    cells = ["gpu-[2J1", "ejected", "2m", "7", "3", "12", "87%", "1.3s", "ago", "stuck"]
    assert cells == first.split()
    assert ["-", "-", "-", "-"] == second.split()[4:8]


@pytest.mark.parametrize(
    ("seconds", "shown"), [(-1, "0s"), (59.9, "59s"), (60, "1m"), (7300, "2h"), (200_000, "2d")]
)
def test_span(seconds: float, shown: str) -> None:
    """A time in its largest unit."""
    assert shown == _span(seconds)
