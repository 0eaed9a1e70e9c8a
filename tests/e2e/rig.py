"""
``headrace up`` as one process for the whole group, with its outputs in files, and ways to look at
it: its metrics, its log, the processes it has started. The promises are in the tests beside.
"""

import contextlib
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2

MODEL = "SmolLM2-135M-Instruct"
SECRET = "sk-secret-0f3c9d7e"  # what every client sends as its key; no log may ever show it
START_S = 60.0  # alone it takes 1 s
STOP_S = 40.0  # more than server.drain_s, so that a stop that hangs is told from a long drain
PATIENCE_S = 30.0

# The longest answers the engine can be asked for: minutes on a small machine, unless it is let go.
ENDLESS: dict[str, Any] = {
    "model": MODEL,
    "prompt": "Once upon a time",
    "max_tokens": 4000,
    "extra_body": {"ignore_eos": True},
}
CURL = re.compile(r"(curl -N .*?-d '[^\n]*')", re.DOTALL)


@dataclasses.dataclass(frozen=True, slots=True)
class Up:
    """A running ``headrace up``; ``out`` and ``log`` are its standard output and error."""

    url: str
    out: Path
    log: Path
    process: subprocess.Popen[bytes]

    def curl(self) -> str:
        """The command that it tells the user to try."""
        found = CURL.search(self.out.read_text())
        assert found is not None, self.out.read_text()
        return found[1]

    def metric(self, name: str) -> float:
        """The value of one of its metrics, added up over labels."""
        text = httpx2.get(f"{self.url}/metrics", timeout=PATIENCE_S, trust_env=False).text
        values = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
        assert values, f"no metric {name}"
        return sum(map(float, values))

    def running(self) -> float:
        """How many requests the engine has in hand."""
        return self.metric("headrace_replica_inflight_requests")

    def lines(self) -> list[dict[str, Any]]:
        """Its log; every line must be a JSON object."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def record(self, request_id: str | None) -> dict[str, Any]:
        """The log's line about one request, which is written a moment after its answer."""
        assert request_id

        def line() -> dict[str, Any] | None:
            return next((x for x in self.lines() if x.get("request_id") == request_id), None)

        wait_until(lambda: line() is not None, f"{request_id} is in the log")
        found = line()
        assert found is not None
        return found


@contextlib.contextmanager
def started(folder: Path, *arguments: str, end: signal.Signals = signal.SIGINT) -> Iterator[Up]:
    """
    ``headrace up`` in this folder, ready. At the end it gets the signal ``end``, on which it must
    end in time with code 0 and take what it has started along.
    """
    out, log = folder / "out.txt", folder / "log.jsonl"
    with out.open("wb") as stdout, log.open("wb") as stderr:
        process = subprocess.Popen(
            [*program(), "up", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            cwd=folder,
            env=environment(folder),
        )
    try:
        wait_until(
            lambda: process.poll() is not None or "ready in" in out.read_text(), "ready", START_S
        )
        assert process.poll() is None, log.read_text()
        url = re.search(r"url +(http://\S+)", out.read_text())
        assert url is not None
        assert len(living_in(folder)) == 2
        yield Up(url[1], out, log, process)
        process.send_signal(end)
        assert process.wait(STOP_S) == 0
        nothing_lives_in(folder)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def living_in(folder: Path) -> list[int]:
    """The processes that were started in this folder: the gateway, the engine, whoever is left."""
    found = []
    for cwd in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):  # it has ended, or is somebody else's
            if cwd.readlink() == folder:
                found.append(int(cwd.parent.name))
    return found


def nothing_lives_in(folder: Path) -> None:
    """Nothing that was started in this folder is left, or will be in a moment."""
    wait_until(lambda: not living_in(folder), "nothing is left running")


def program() -> list[str]:
    """What the shell runs for ``headrace``."""
    return [sys.executable, "-m", "headrace"]


def environment(folder: Path) -> dict[str, str]:
    """A user's environment without settings of this machine that would lead elsewhere."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("HEADRACE_") and not name.lower().endswith("_proxy")
    }
    return kept | {"HOME": str(folder), "NO_COLOR": "1"}


def wait_until(holds: Callable[[], bool], what: str, limit_s: float = PATIENCE_S) -> None:
    """Wait until something holds. Fails, and says what, when it does not hold in time."""
    began = time.monotonic()
    while not holds():
        waited = time.monotonic() - began
        assert waited < limit_s, f"not so after {waited:.1f} s: {what}"
        time.sleep(0.02)
