"""``headrace`` as a real process: what it prints, its signals, the processes it leaves."""

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

PATIENCE_S = 40.0


class Program:
    """A running ``headrace``. It is killed at the end of the ``with``, if it still runs."""

    def __init__(self, arguments: Sequence[str], folder: Path) -> None:
        env = {k: v for k, v in os.environ.items() if not k.startswith("HEADRACE_")}
        self.out = b""
        self.err = b""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "headrace", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=env | {"HOME": str(folder), "NO_COLOR": "1"},
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._stdout = self.process.stdout.fileno()
        self._open = {self._stdout, self.process.stderr.fileno()}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()

    def read_until(self, pattern: str) -> str:
        """Read both outputs until one of them matches; returns the first group or the match."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            text = self.text()
            if match := re.search(pattern, text):
                return match[match.re.groups and 1]
            assert time.monotonic() < deadline, text
            assert self._read(deadline - time.monotonic()), f"ended without {pattern}: {text}"

    def text(self) -> str:
        """What it has printed so far, standard output first."""
        return (self.out + b"\n" + self.err).decode()

    def signal(self, number: signal.Signals) -> None:
        """Like Ctrl-C when it is SIGINT."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Its exit code; the rest of its output is read."""
        deadline = time.monotonic() + PATIENCE_S
        while self._read(deadline - time.monotonic()):
            assert time.monotonic() < deadline, self.text()
        return self.process.wait(PATIENCE_S)

    def _read(self, timeout_s: float) -> bool:
        """Whether anything is still open."""
        ready, _, _ = select.select(self._open, [], [], max(0.0, timeout_s))
        for pipe in ready:
            chunk = os.read(pipe, 65_536)
            if pipe == self._stdout:
                self.out += chunk
            else:
                self.err += chunk
            if not chunk:
                self._open.discard(pipe)
        return bool(self._open)


def children(pid: int) -> list[int]:
    """The processes that it has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == pid:
            found.append(int(stat.parent.name))
    return found


def gone(pid: int) -> bool:
    """Whether a process ends in time."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([watched], [], [], PATIENCE_S)[0])
    finally:
        os.close(watched)
