"""A PostgreSQL of the tests' own: made, started, frozen, stopped. It refuses to run as root."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HINT = "PostgreSQL is not installed; run scripts/install-servers"
START_S = 60.0


class Cluster:
    """One server on a free port of this machine; its data live in a folder that is removed."""

    def __init__(self) -> None:
        self._bin = _programs()
        self._user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        self._folder = Path(tempfile.mkdtemp(prefix="headrace-pg-"))
        if os.geteuid() == 0:
            owner = pwd.getpwnam(self._user)
            os.chown(self._folder, owner.pw_uid, owner.pw_gid)
        self._data = self._folder / "data"
        self._call("initdb", "-D", str(self._data), "-U", "headrace", "-A", "trust", "--no-sync")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres") -> str:
        """Where it listens."""
        return f"postgresql://headrace:secret@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start the server, and wait until it takes connections."""
        log = (self._folder / "log").open("wb")
        self._process = subprocess.Popen(
            [
                str(self._bin / "postgres"), "-D", str(self._data), "-p", str(self.port), "-F",
                "-h", "127.0.0.1", "-k", str(self._folder),
            ],
            stdout=log, stderr=log, **self._as_user(),
        )  # fmt: skip
        log.close()
        deadline = time.monotonic() + START_S
        ready = [str(self._bin / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(ready, check=False).returncode:
            assert time.monotonic() < deadline, (self._folder / "log").read_text()
            assert self._process.poll() is None, (self._folder / "log").read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it at once, as a crash would; its data stay."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGQUIT)
            process.wait(START_S)

    def database(self, name: str) -> str:
        """A new database; its URL."""
        self._call("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "headrace", name)
        return self.url(name)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """It takes packets, and answers none."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)  # the first: from here on nobody is born
        backends = _descendants(self._process.pid)
        for pid in backends:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in backends:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def remove(self) -> None:
        """Stop it, and remove its data."""
        self.stop()
        shutil.rmtree(self._folder)

    def _call(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._bin / program), *arguments],
            capture_output=True,
            check=False,
            **self._as_user(),
        )
        assert not done.returncode, done.stderr.decode()

    def _as_user(self) -> dict[str, Any]:
        as_root = {"user": self._user, "group": self._user} if os.geteuid() == 0 else {}
        return as_root | {"cwd": str(self._folder)}


def _programs() -> Path:
    """Debian has them beside each other by version, out of the PATH."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3])
    )
    named = shutil.which("initdb")
    if found:
        return found[-1].parent
    assert named is not None, HINT
    return Path(named).parent


def _descendants(pid: int) -> list[int]:
    """
    The process and all that came of it. By their parents: the kernel's own list of children leaves
    some out while others end.
    """
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state = (folder / "stat").read_text().rpartition(")")[2].split()
            parents[int(folder.name)] = int(state[1])
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found
