"""The supervisor with tiny programs as engines: real processes, every way in which one can end."""

import asyncio
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from headrace.engines.child import Launch, last_line
from headrace.engines.supervisor import Backoff, Change, State, Supervisor
from headrace.errors import StartError

QUICK = Backoff(first_s=0.01, cap_s=0.05, deaths=3, window_s=60)

# A child that is healthy, ends with its parent, and does as its word says.
ENGINE = """
import http.server, os, signal, subprocess, sys, threading

word, port = sys.argv[1], int(sys.argv[2])
if word == "dies":
    sys.exit("cannot load the model: no such thing")
if word == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if word == "parent":
    print("child", subprocess.Popen(["sleep", "1000"]).pid, flush=True)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/die":
            os._exit(7)
        self.send_response(503 if word == "sick" else 200)
        self.end_headers()
    def log_message(self, *_):
        pass

def end_with_parent():
    sys.stdin.read()
    os._exit(0)

threading.Thread(target=end_with_parent, daemon=True).start()
print("engine starts", flush=True)
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""

# A parent that starts such a child, tells its process, and waits to be killed.
PARENT = """
import asyncio, sys
from headrace.engines.child import Launch
from headrace.engines.supervisor import Supervisor

async def main():
    argv = (sys.executable, sys.argv[1], "well", "{port}")
    supervisor = Supervisor(Launch("engine", argv), lambda change: None)
    await supervisor.start()
    print(supervisor.pid, flush=True)
    await asyncio.get_running_loop().create_future()

asyncio.run(main())
"""


class Changes:
    """What the supervisor told, in order."""

    def __init__(self) -> None:
        self.seen: list[Change] = []
        self._queue: asyncio.Queue[Change] = asyncio.Queue()

    def __call__(self, change: Change) -> None:
        self.seen.append(change)
        self._queue.put_nowait(change)

    async def until(self, state: State) -> Change:
        """Wait for the next change to this state."""
        while True:
            change = await asyncio.wait_for(self._queue.get(), 40)
            if change.state is state:
                return change

    def states(self) -> list[State]:
        return [change.state for change in self.seen]


Start = Callable[..., Supervisor]


@pytest.fixture
def changes() -> Changes:
    return Changes()


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "engine.py"
    path.write_text(ENGINE, encoding="utf-8")
    return path


@pytest.fixture
async def supervise(script: Path, changes: Changes) -> AsyncIterator[Start]:
    """Makes supervisors, and stops them after the test."""
    made: list[Supervisor] = []

    def make(word: str = "well", *, start_s: float = 20, stop_s: float = 5) -> Supervisor:
        launch = Launch(
            "engine",
            (sys.executable, str(script), word, "{port}"),
            start_s=start_s,
            stop_s=stop_s,
        )
        made.append(Supervisor(launch, changes, QUICK))
        return made[-1]

    yield make
    for supervisor in made:
        await supervisor.stop()


async def ask(url: str, path: str) -> bytes:
    """The status line of a GET, or nothing when the engine died of it."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    line = await reader.readline()
    writer.close()
    return line


def gone(pid: int, within_s: float = 10) -> bool:
    """Whether a process ends in time. It is no longer anyone's then, not even a zombie's."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([watched], [], [], within_s)[0])
    finally:
        os.close(watched)


def started(supervisor: Supervisor) -> int:
    assert supervisor.pid is not None
    return supervisor.pid


class TestStart:
    """Becoming ready, or one clear sentence."""

    async def test_is_ready_when_the_health_check_says_so(
        self, supervise: Start, changes: Changes
    ) -> None:
        """``start`` returns when the engine answers 200, and its address has been told."""
        supervisor = supervise()

        await supervisor.start()

        assert changes.states() == [State.STARTING, State.READY]
        assert b" 200 " in await ask(changes.seen[-1].url, "/health")
        assert changes.seen[-1].seconds > 0

    async def test_a_program_that_ends_says_why(self, supervise: Start) -> None:
        """Ending during the start is an error at once, with the code and the last line."""
        supervisor = supervise("dies")

        with pytest.raises(StartError) as caught:
            await supervisor.start()

        expected = "engine stopped (exit code 1): cannot load the model: no such thing."
        assert str(caught.value) == expected
        assert supervisor.pid is None

    async def test_a_program_that_never_is_healthy_is_ended(
        self, supervise: Start, changes: Changes
    ) -> None:
        """After ``start_s`` the start fails and the process is gone."""
        supervisor = supervise("sick", start_s=0.5)
        starting = asyncio.create_task(supervisor.start())
        await changes.until(State.STARTING)

        with pytest.raises(StartError, match=r"^engine was not ready within 0\.5 s\.$"):
            await starting

        assert supervisor.pid is None

    async def test_a_program_that_does_not_exist(self, changes: Changes) -> None:
        """An argv that cannot be run is named."""
        supervisor = Supervisor(Launch("engine", ("/no/such/program",)), changes)

        with pytest.raises(StartError) as caught:
            await supervisor.start()

        expected = "engine cannot be run: /no/such/program: No such file or directory."
        assert str(caught.value) == expected

    async def test_a_cancelled_start_leaves_nothing(
        self, supervise: Start, changes: Changes
    ) -> None:
        """Ctrl-C while the model loads ends the process."""
        supervisor = supervise("sick")
        starting = asyncio.create_task(supervisor.start())
        await changes.until(State.STARTING)
        pid = started(supervisor)

        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting

        assert gone(pid)


class TestStop:
    """Nothing is left behind."""

    async def test_asks_first(self, supervise: Start, changes: Changes) -> None:
        """SIGTERM is enough for a program that listens to it; STOPPED is told once."""
        supervisor = supervise()
        await supervisor.start()
        pid = started(supervisor)

        await supervisor.stop()
        await supervisor.stop()

        assert gone(pid, 0)
        assert changes.states() == [State.STARTING, State.READY, State.STOPPED]

    async def test_kills_what_ignores_it(self, supervise: Start) -> None:
        """After ``stop_s`` comes SIGKILL."""
        supervisor = supervise("stubborn", stop_s=0.2)
        await supervisor.start()
        pid = started(supervisor)
        before = time.monotonic()

        await supervisor.stop()

        assert gone(pid, 0)
        assert 0.2 <= time.monotonic() - before

    async def test_kill_does_not_wait(self, supervise: Start) -> None:
        """``kill`` needs no event loop; the process is gone, however stubborn."""
        supervisor = supervise("stubborn")
        await supervisor.start()
        pid = started(supervisor)

        supervisor.kill()

        assert gone(pid)

    async def test_what_the_engine_started_ends_with_it(
        self, supervise: Start, changes: Changes
    ) -> None:
        """An engine's own children do not outlive it, also when it is killed from outside."""
        supervisor = supervise("parent")
        await supervisor.start()
        os.kill(started(supervisor), signal.SIGKILL)

        died = await changes.until(State.DIED)

        children = [int(line.split()[1]) for line in died.log if line.startswith("child")]
        assert [gone(pid) for pid in children] == [True]

    def test_a_killed_parent_takes_the_engine_along(self, script: Path, tmp_path: Path) -> None:
        """SIGKILL for the supervisor's process ends the engine too."""
        parent = tmp_path / "parent.py"
        parent.write_text(PARENT, encoding="utf-8")
        with subprocess.Popen(
            [sys.executable, str(parent), str(script)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            pid = int(process.stdout.readline())
            process.kill()

        assert gone(pid)


def break_script(script: Path) -> None:
    script.write_text("raise SystemExit('the disk is on fire')", encoding="utf-8")


class TestRestart:
    """An engine that dies comes back, unless it dies too often."""

    async def test_comes_back(self, supervise: Start, changes: Changes) -> None:
        """A death is told at once, with its cause; then the engine is ready again."""
        supervisor = supervise()
        await supervisor.start()
        first = await changes.until(State.READY)
        pid = started(supervisor)

        await ask(first.url, "/die")
        died = await changes.until(State.DIED)
        again = await changes.until(State.READY)

        assert died.reason == "engine stopped (exit code 7): engine starts"
        assert died.log == ("engine starts",)
        assert died.seconds == QUICK.first_s
        assert b" 200 " in await ask(again.url, "/health")
        assert started(supervisor) != pid

    async def test_a_crash_loop_ends(
        self, supervise: Start, changes: Changes, script: Path
    ) -> None:
        """After too many deaths it is left alone, and the last lines are told."""
        supervisor = supervise()
        await supervisor.start()
        break_script(script)
        os.kill(started(supervisor), signal.SIGKILL)

        failed = await changes.until(State.FAILED)

        assert failed.log == ("the disk is on fire",)
        assert failed.reason == (
            "engine stopped (exit code 1): the disk is on fire; 3 times in 60 s"
        )
        assert changes.states().count(State.DIED) == QUICK.deaths - 1
        assert supervisor.pid is None

    async def test_stop_during_a_pause(self, script: Path, changes: Changes) -> None:
        """A stop while the next start is being waited for is final."""
        launch = Launch("engine", (sys.executable, str(script), "well", "{port}"))
        supervisor = Supervisor(launch, changes, Backoff(first_s=1000, cap_s=1000))
        await supervisor.start()
        supervisor.kill()
        await changes.until(State.DIED)

        await supervisor.stop()

        assert changes.states()[-1] is State.STOPPED


def test_pauses_double_up_to_a_cap() -> None:
    """Backoff: 0.25, 0.5, 1, … and never more than the cap."""
    backoff = Backoff(first_s=0.25, cap_s=1.5)

    assert [backoff.pause(deaths) for deaths in (1, 2, 3, 4, 50)] == [0.25, 0.5, 1.0, 1.5, 1.5]


def test_the_last_line_is_the_last_that_says_something() -> None:
    """Blank lines at the end of a log hide nothing."""
    assert last_line(("first", " why it ended ", "", "  ")) == "why it ended"
    assert last_line(()) == ""


def test_last_words_in_a_box() -> None:
    """What a program said last is a sentence, not the frame that it drew around it."""
    log = ("Usage: engine", "╭─ Error ─────╮", "│ No such option: --x │", "╰─────╯", "  ")

    assert "No such option: --x" == last_line(log)
