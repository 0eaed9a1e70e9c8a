"""
The harness's end of the load client: one process for a whole run, a line in and a line out.
What the lines mean is in jobs.py.
"""

import contextlib
import os
import select
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from .jobs import Job, Outcome
from .process import cpu_s, pinned

_GRACE_S = 60.0
"""Beyond a job's own bound: encoding 20 MB of prompts, and waiting for what was started."""


class Driver:
    """Starts the client on `core`; `play` a job, or `hold` one open until `release`."""

    def __init__(self, root: Path, core: int) -> None:
        with pinned(core):
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.overhead.client"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=root,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout

    def play(self, job: Job) -> Outcome:
        """Sends a job and waits for its outcome, for an idle one: until its streams are open."""
        self._send(msgspec.json.encode(job))
        return self._receive(job.max_s + _GRACE_S)

    def release(self) -> Outcome:
        """Closes the streams of an idle job."""
        self._send(b"close")
        return self._receive(_GRACE_S)

    def cpu_s(self) -> float:
        return cpu_s(self._process.pid)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._stdout.close()
        # What a dead client did not read cannot be flushed any more.
        with contextlib.suppress(OSError):
            self._stdin.close()

    def _send(self, line: bytes) -> None:
        self._stdin.write(line + b"\n")
        self._stdin.flush()

    def _receive(self, limit_s: float) -> Outcome:
        line = b""
        deadline_s = time.monotonic() + limit_s
        while not line.endswith(b"\n"):
            left_s = max(0.0, deadline_s - time.monotonic())
            ready, _, _ = select.select([self._stdout], [], [], left_s)
            data = os.read(self._stdout.fileno(), 1 << 20) if ready else b""
            if not data:
                raise SystemExit("the load client did not answer: a bug of the harness")
            line += data
        return msgspec.json.decode(line, type=Outcome)
