"""
One engine as a child process: starts it, waits until it is healthy, restarts it, ends it.

It knows how to run a program, not which: an engine is an argv and the path of its health check.
"""

import asyncio
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from headrace.errors import StartError

HOST = "127.0.0.1"
POLL_S = 0.02  # a health check on loopback costs less than a millisecond
PROBE_S = 5.0  # one health check; an engine that is loading may answer late
TAIL_BYTES = 16 * 1024
TAIL_LINES = 20


class State(StrEnum):
    """What became of the engine; ``FAILED`` and ``STOPPED`` are final."""

    STARTING = "starting"
    READY = "ready"
    DIED = "died"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Change:
    """
    A step in the engine's life.

    ``url`` is where it listens (READY), ``reason`` one sentence (DIED, FAILED), ``log`` its last
    lines (DIED, FAILED), ``seconds`` how long the start took (READY) or until the next one (DIED).
    """

    state: State
    url: str = ""
    reason: str = ""
    log: tuple[str, ...] = ()
    seconds: float = 0.0


Listener = Callable[[Change], None]


def last_line(log: Sequence[str]) -> str:
    """What a program said last; usually why it ended."""
    return next((line.strip() for line in reversed(log) if line.strip()), "")


@dataclass(frozen=True, slots=True)
class Launch:
    """
    How to run an engine.

    ``{port}`` in ``argv`` becomes a free loopback port. Its standard input is a pipe that ends when
    this process does, however that happens: the program must end with it. ``explain`` finds the
    cause of a death in the last lines of its output.
    """

    name: str
    argv: tuple[str, ...]
    health: str = "/health"
    start_s: float = 120.0
    stop_s: float = 5.0
    explain: Callable[[Sequence[str]], str] = last_line


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses before restarts, doubling up to a cap; ``deaths`` in ``window_s`` are a crash loop."""

    first_s: float = 0.25
    cap_s: float = 10.0
    deaths: int = 5
    window_s: float = 60.0

    def pause(self, deaths: int) -> float:
        """Seconds to wait after so many recent deaths."""
        return min(self.cap_s, self.first_s * 2.0 ** (deaths - 1))


class Supervisor:
    """Owns one engine from ``start`` to ``stop``. ``listener`` is called in the event loop."""

    def __init__(self, launch: Launch, listener: Listener, backoff: Backoff | None = None) -> None:
        self._launch = launch
        self._listener = listener
        self._backoff = backoff or Backoff()
        self._child: _Child | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The engine's process while it runs."""
        return self._child.pid if self._child is not None and self._child.running else None

    async def start(self) -> None:
        """
        Return when the engine is ready; from then on it is restarted when it dies.

        Raises:
            StartError: it ended, or was not ready in time. It is gone then.

        """
        try:
            child = await self._begin()
        except _Died as died:
            raise StartError(f"{died.reason}.") from None
        self._keeper = asyncio.get_running_loop().create_task(self._keep(child))

    async def stop(self) -> None:
        """Ask the engine to end, make it after the grace period, report STOPPED."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            with suppress(asyncio.CancelledError):
                await keeper
        child, self._child = self._child, None
        if child is not None:
            await child.end(self._launch.stop_s)
            self._listener(Change(State.STOPPED))

    def kill(self) -> None:
        """End the engine at once, without waiting; the last resort."""
        if self._child is not None:
            self._child.kill()

    async def _keep(self, child: "_Child") -> None:
        """Restart the engine whenever it dies, until that happens too often."""
        deaths: deque[float] = deque(maxlen=self._backoff.deaths)
        running: _Child | None = child
        while True:
            try:
                running = running or await self._begin()
                died = await running.death()
            except _Died as at_start:
                died = at_start
            running = None
            deaths.append(time.monotonic())
            recent = [at for at in deaths if deaths[-1] - at <= self._backoff.window_s]
            if len(recent) >= self._backoff.deaths:
                reason = f"{died.reason}; {len(recent)} times in {self._backoff.window_s:.0f} s"
                self._listener(Change(State.FAILED, reason=reason, log=died.log))
                return
            pause = self._backoff.pause(len(recent))
            self._listener(Change(State.DIED, reason=died.reason, log=died.log, seconds=pause))
            await asyncio.sleep(pause)

    async def _begin(self) -> "_Child":
        """
        A child that is ready.

        Raises:
            _Died: it did not get there.

        """
        started = time.monotonic()
        child = self._child = await _spawn(self._launch)
        self._listener(Change(State.STARTING))
        try:
            async with asyncio.timeout(self._launch.start_s):
                await child.ready()
        except TimeoutError:
            await child.end(0)
            reason = f"{self._launch.name} was not ready within {self._launch.start_s:g} s"
            raise _Died(reason, child.log()) from None
        except BaseException:  # also when the start is cancelled
            await child.end(0)
            raise
        self._listener(
            Change(State.READY, url=child.url, seconds=round(time.monotonic() - started, 3))
        )
        return child


class _Died(Exception):
    """The child ended by itself."""

    def __init__(self, reason: str, log: tuple[str, ...]) -> None:
        super().__init__(reason)
        self.reason = reason
        self.log = log


async def _spawn(launch: Launch) -> "_Child":
    port = _free_port()
    argv = [word.replace("{port}", str(port)) for word in launch.argv]
    stdin, lifeline = os.pipe()
    output, stdout = os.pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=stdin,
            stdout=stdout,
            stderr=stdout,
            start_new_session=True,  # Ctrl-C in the terminal is for us; its group is ours to end
        )
    except BaseException as error:
        os.close(lifeline)
        os.close(output)
        if isinstance(error, OSError):
            reason = f"{launch.name} cannot be run: {argv[0]}: {error.strerror}"
            raise _Died(reason, ()) from None
        raise
    finally:
        os.close(stdin)
        os.close(stdout)
    return _Child(launch, process, port, lifeline, _Output(output))


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

    def __init__(self, pipe: int) -> None:
        self._pipe: int | None = pipe
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
        if not chunk:
            self._end()
        return bool(chunk)

    def _end(self) -> None:
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            asyncio.get_running_loop().remove_reader(pipe)
            os.close(pipe)


class _Child:
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
            _Died: the process ended first.

        """
        while not await _healthy(self._port, self._launch.health):
            await asyncio.wait({self._ended}, timeout=POLL_S)
            if self._ended.done():
                raise await self.death()

    async def death(self) -> _Died:
        """Wait until the process has ended by itself; tells how."""
        code = await asyncio.shield(self._ended)
        log = self.log()
        cause = self._launch.explain(log).rstrip(".")
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        reason = f"{self._launch.name} stopped ({how})"
        return _Died(f"{reason}: {cause}" if cause else reason, log)

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
