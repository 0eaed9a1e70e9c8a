"""
One engine as a child process: its start, its output, its health check and its end.

It knows how to run a program, not which; when one is run again is supervisor.py's.
"""

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from headrace.config.load import environment

HOST = "127.0.0.1"
POLL_S = 0.02  # a health check on loopback costs less than a millisecond
PROBE_S = 5.0  # one health check; an engine that is loading may answer late
TAIL_BYTES = 16 * 1024
TAIL_LINES = 20
LINE_BYTES = 8 * 1024  # a longer line is passed on in parts
FRAME = " \t\r\n─│╭╮╰╯"  # that many programs draw around their last words


def last_line(log: Sequence[str]) -> str:
    """What a program said last; usually why it ended."""
    return next((text for line in reversed(log) if (text := line.strip(FRAME))), "")


@dataclass(frozen=True, slots=True)
class Launch:
    """
    How to run an engine.

    ``{port}`` in ``argv`` becomes ``port``, or a free loopback port if that is 0. ``env`` is added
    to our own environment. Its standard input is a pipe that ends when this process does, however
    that happens: the program must end with it (tether.py does for those that do not). ``hear`` is
    given each line of its output, ``explain`` finds the cause of a death in the last of them.
    """

    name: str
    argv: tuple[str, ...]
    health: str = "/health"
    start_s: float = 120.0
    stop_s: float = 5.0
    explain: Callable[[Sequence[str]], str] = last_line
    env: Mapping[str, str] = field(default_factory=dict)
    port: int = 0
    hear: Callable[[str], None] | None = None


class Died(Exception):
    """The child ended by itself."""

    def __init__(self, reason: str, log: tuple[str, ...]) -> None:
        super().__init__(reason)
        self.reason = reason
        self.log = log


async def spawn(launch: Launch) -> "Child":
    """
    Start the program.

    Raises:
        Died: it cannot be run.

    """
    port = launch.port or _free_port()
    argv = [word.replace("{port}", str(port)) for word in launch.argv]
    stdin, lifeline = os.pipe()
    output, stdout = os.pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=stdin,
            stdout=stdout,
            stderr=stdout,
            env=environment(launch.env),
            start_new_session=True,  # Ctrl-C in the terminal is for us; its group is ours to end
        )
    except BaseException as error:
        os.close(lifeline)
        os.close(output)
        if isinstance(error, OSError):
            reason = f"{launch.name} cannot be run: {argv[0]}: {error.strerror}"
            raise Died(reason, ()) from None
        raise
    finally:
        os.close(stdin)
        os.close(stdout)
    return Child(launch, process, port, lifeline, _Output(output, launch.hear))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class _Output:
    """
    The last lines that a child wrote.

    The pipe is read here and not by asyncio's subprocess, whose ``wait`` ends only when the pipe
    does (python/cpython#119710): an engine's own children would hide its death.
    """

    def __init__(self, pipe: int, hear: Callable[[str], None] | None) -> None:
        self._pipe: int | None = pipe
        self._hear = hear
        self._partial = b""
        self._tail = b""
        os.set_blocking(pipe, False)
        asyncio.get_running_loop().add_reader(pipe, self._read)

    def lines(self) -> tuple[str, ...]:
        return tuple(self._tail.decode("utf-8", "replace").splitlines()[-TAIL_LINES:])

    def close(self) -> None:
        """Take what is left in the pipe (64 KiB at most), without waiting for more."""
        for _ in range(8):
            if not self._read():
                break
        self._end()

    def _read(self) -> bool:
        """Whether there may be more."""
        if self._pipe is None:
            return False
        try:
            chunk = os.read(self._pipe, TAIL_BYTES)
        except BlockingIOError:
            return False
        self._tail = (self._tail + chunk)[-TAIL_BYTES:]
        if self._hear is not None:
            self._pass_on(chunk, self._hear)
        if not chunk:
            self._end()
        return bool(chunk)

    def _pass_on(self, chunk: bytes, hear: Callable[[str], None]) -> None:
        """Whole lines; the end of the output ends the last one."""
        *lines, self._partial = (self._partial + (chunk or b"\n")).split(b"\n")
        if len(self._partial) > LINE_BYTES:
            lines, self._partial = [*lines, self._partial], b""
        for line in lines:
            if text := line.decode("utf-8", "replace").rstrip():
                hear(text)

    def _end(self) -> None:
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            asyncio.get_running_loop().remove_reader(pipe)
            os.close(pipe)


class Child:
    """A running process, the end of its output, and the pipe it lives by."""

    def __init__(
        self,
        launch: Launch,
        process: asyncio.subprocess.Process,
        port: int,
        lifeline: int,
        output: _Output,
    ) -> None:
        self.url = f"http://{HOST}:{port}"
        self.pid = process.pid
        self._launch = launch
        self._process = process
        self._port = port
        self._lifeline = lifeline
        self._output = output
        self._ended = asyncio.get_running_loop().create_task(self._reap())

    @property
    def running(self) -> bool:
        return not self._ended.done()

    def log(self) -> tuple[str, ...]:
        """The last lines it wrote."""
        return self._output.lines()

    async def ready(self) -> None:
        """
        Wait until the health check says yes.

        Raises:
            Died: the process ended first.

        """
        while not await _healthy(self._port, self._launch.health):
            await asyncio.wait({self._ended}, timeout=POLL_S)
            if self._ended.done():
                raise await self.death()

    async def death(self) -> Died:
        """Wait until the process has ended by itself; tells how."""
        code = await asyncio.shield(self._ended)
        log = self.log()
        cause = self._launch.explain(log).rstrip(".")
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        reason = f"{self._launch.name} stopped ({how})"
        return Died(f"{reason}: {cause}" if cause else reason, log)

    async def end(self, grace_s: float) -> None:
        """Ask it to end, then make it; returns when it is gone."""
        if grace_s > 0:
            self._signal(signal.SIGTERM)
            await asyncio.wait({self._ended}, timeout=grace_s)
        self.kill()
        await asyncio.wait({self._ended})

    def kill(self) -> None:
        """End it and everything it started, without waiting."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self.running:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    async def _reap(self) -> int:
        code = await self._process.wait()
        with suppress(ProcessLookupError, PermissionError):  # what it started goes with it
            os.killpg(self.pid, signal.SIGKILL)
        os.close(self._lifeline)
        self._output.close()
        return code


async def _healthy(port: int, path: str) -> bool:
    """One GET; anything but 200 is a no."""
    writer = None
    try:
        async with asyncio.timeout(PROBE_S):
            reader, writer = await asyncio.open_connection(HOST, port)
            request = f"GET {path} HTTP/1.1\r\nhost: {HOST}:{port}\r\nconnection: close\r\n\r\n"
            writer.write(request.encode("ascii"))
            return (await reader.readline()).split(b" ")[1:2] == [b"200"]
    except OSError:  # refused while it starts; TimeoutError is one too
        return False
    finally:
        if writer is not None:
            writer.close()
