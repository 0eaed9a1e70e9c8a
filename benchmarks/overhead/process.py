"""
Processes as /proc shows them: starting one on a chosen core, its tree's CPU time and memory,
and stopping it by pid. Linux only; nothing here knows about HTTP.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_STOP_GRACE_S = 1.0


@dataclass(frozen=True, slots=True)
class Stat:
    """What is read from /proc/PID/stat."""

    parent: int
    cpu_s: float
    started: int
    """Ticks since boot: with the pid, it names a process for good."""


def parse_stat(text: str, ticks_per_s: int = _TICKS_PER_S) -> Stat:
    """Reads proc(5) `stat`. The command may hold blanks and brackets: count from the last one."""
    fields = text[text.rindex(")") + 2 :].split()
    ticks = int(fields[11]) + int(fields[12])
    return Stat(parent=int(fields[1]), cpu_s=ticks / ticks_per_s, started=int(fields[19]))


def parse_busy(text: str, ticks_per_s: int = _TICKS_PER_S) -> float:
    """
    Seconds all cores together were busy, from the first line of /proc/stat.

    Stolen time is in it: to whoever measures here, a neighbour of the virtual machine is load too.
    """
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, text.split()[1:9])
    return (user + nice + system + irq + softirq + steal) / ticks_per_s


def busy_s() -> float:
    """CPU seconds of everything on this machine since it started."""
    return parse_busy((_PROC / "stat").read_text())


def parse_schedstat(text: str) -> float:
    """Seconds on CPU, from the first field of /proc/PID/task/TID/schedstat (nanoseconds)."""
    return int(text.split(maxsplit=1)[0]) / 1e9


def parse_rollup(text: str) -> int:
    """Bytes of the `Pss:` line of /proc/PID/smaps_rollup; shared pages count once per sharer."""
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def descendants(root: int, parents: Mapping[int, int]) -> list[int]:
    """`root` and everything below it, given each pid's parent."""
    found = [root]
    for pid in found:
        found.extend(child for child, parent in parents.items() if parent == pid)
    return found


def cpu_s(pid: int) -> float:
    """
    CPU seconds of one process, all its threads.

    `schedstat` counts nanoseconds; `stat` counts ticks of 10 ms, which is 5 % of a short run,
    so it is only used where the kernel has no schedstat.
    """
    try:
        tasks = list((_PROC / str(pid) / "task").iterdir())
        return sum(parse_schedstat((task / "schedstat").read_text()) for task in tasks)
    except (OSError, ValueError, IndexError):
        pass
    stat = _stat(pid)
    return 0.0 if stat is None else stat.cpu_s


@contextlib.contextmanager
def pinned(core: int) -> Iterator[None]:
    """What is started inside runs on `core` alone: a child inherits its parent's cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Tree:
    """A started process and everything it forks. Use as a context manager: it ends with it."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log

    @classmethod
    def start(
        cls, argv: Sequence[str], log: Path, env: Mapping[str, str], core: int | None = None
    ) -> Self:
        """
        Starts `argv` with its output in `log`; on `core`, or on any if None.

        Raises OSError when the program cannot be run.
        """
        place = contextlib.nullcontext() if core is None else pinned(core)
        with log.open("ab") as out, place:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **env},
                cwd=log.parent,
                start_new_session=True,
            )
        return cls(process, log)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def pids(self) -> list[int]:
        return descendants(self.process.pid, {pid: stat.parent for pid, stat in _living()})

    def cpu_s(self) -> float:
        return sum(cpu_s(pid) for pid in self.pids())

    def pss_bytes(self) -> int:
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                total += parse_rollup((_PROC / str(pid) / "smaps_rollup").read_text())
        return total

    def tail(self, lines: int = 2) -> str:
        """The last lines it printed: the reason, when it did not start."""
        with contextlib.suppress(OSError):
            text = self.log.read_bytes()[-4_000:].decode(errors="replace")
            return " / ".join(text.strip().splitlines()[-lines:])[-300:]
        return ""

    def stop(self) -> None:
        """SIGTERM to the root, then SIGKILL to whatever of the tree is left. By pid only."""
        tree = [(pid, _stat(pid)) for pid in self.pids()]
        if self.alive:
            self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_STOP_GRACE_S)
        for pid, before in tree:
            now = _stat(pid)
            # The start time guards against a pid that is somebody else's process by now.
            if before is not None and now is not None and now.started == before.started:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait()


def _living() -> Iterator[tuple[int, Stat]]:
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            pid = int(entry.name)
            stat = _stat(pid)
            if stat is not None:
                yield pid, stat


def _stat(pid: int) -> Stat | None:
    try:
        return parse_stat((_PROC / str(pid) / "stat").read_text())
    except (OSError, ValueError):
        return None
