"""A tethered program ends with Headrace, and Headrace hears how it ended."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headrace.engines import tether

# Tells its process, and ends when it likes.
STAYS = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {STAYS}"


def start(*program: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-I", "-S", tether.__file__, *program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def running(pid: int) -> bool:
    """Whether a process still runs; one that nobody has waited for does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def ends(pid: int, within_s: float) -> bool:
    until = time.monotonic() + within_s
    while running(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return not running(pid)


def finish(process: "subprocess.Popen[bytes]") -> int:
    for stream in (process.stdin, process.stdout, process.stderr):
        assert stream is not None
        stream.close()
    return process.wait(30)


def pid_of(process: "subprocess.Popen[bytes]") -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


@pytest.mark.parametrize("code", [0, 3])
def test_its_exit_code_is_passed_on(code: int) -> None:
    """Who reads the tether's code reads the program's."""
    process = start(sys.executable, "-c", f"raise SystemExit({code})")
    process.wait(30)

    assert finish(process) == code


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_its_signal_is_passed_on(number: signal.Signals) -> None:
    """A program that was killed looks killed from outside."""
    process = start(sys.executable, "-c", STAYS)
    os.kill(pid_of(process), number)
    process.wait(30)

    assert finish(process) == -number


def test_a_program_that_cannot_run() -> None:
    """One sentence says which."""
    process = start("/no/such/program")
    assert process.stderr is not None
    told = process.stderr.read().decode()
    process.wait(30)

    assert told == "/no/such/program cannot be run: No such file or directory\n"
    assert finish(process) == 1


def test_it_ends_when_its_input_ends() -> None:
    """As when Headrace is killed: the kernel closes the pipe."""
    process = start(sys.executable, "-c", STAYS)
    child = pid_of(process)
    finish(process)

    assert ends(child, 20)


def test_a_stubborn_program_ends_too() -> None:
    """It may ignore SIGTERM, but not for longer than the grace."""
    process = start(sys.executable, "-c", STUBBORN)
    child = pid_of(process)
    began = time.monotonic()
    finish(process)

    assert ends(child, tether.GRACE_S + 20)
    assert time.monotonic() - began >= tether.GRACE_S - 0.5
