"""
Keeps one engine alive: starts it, starts it again when it dies, gives up on a crash loop, ends it.

What a running engine is, a child process with a health check, is child.py's.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from headrace.engines.child import Child, Died, Launch, spawn
from headrace.errors import StartError


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


@dataclass(frozen=True, slots=True)
class Backoff:
    """
    Pauses before restarts, doubling up to a cap; ``deaths`` in ``window_s`` are a crash loop.

    Only time in which the engine was ready counts into the window: an engine that dies after
    loading for two minutes, five times, is in a crash loop too.
    """

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
        self._child: Child | None = None
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
        except Died as died:
            raise StartError(f"{died.reason}.") from None
        self._keeper = asyncio.get_running_loop().create_task(self._keep(child))

    def watch(self) -> None:
        """Start it in the background; a first start that fails is a death like any other."""
        self._keeper = asyncio.get_running_loop().create_task(self._keep(None))

    async def stop(self) -> None:
        """Ask the engine to end, make it after the grace period, report STOPPED."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            with suppress(asyncio.CancelledError):
                await keeper
        child = self._child
        if child is None:
            return
        await child.end(self._launch.stop_s)
        if self._child is child:  # kept until here: a stop that is cancelled can be asked for again
            self._child = None
            self._listener(Change(State.STOPPED))

    def kill(self) -> None:
        """End the engine at once, without waiting; the last resort."""
        if self._child is not None:
            self._child.kill()

    async def _keep(self, child: Child | None) -> None:
        """Restart the engine whenever it dies, until that happens too often."""
        deaths: deque[float] = deque(maxlen=self._backoff.deaths)
        served_s = 0.0  # how long it was ready, over all of its lives
        running = child
        while True:
            try:
                running = running or await self._begin()
                since = time.monotonic()
                died = await running.death()
                served_s += time.monotonic() - since
            except Died as at_start:
                died = at_start
            running = None
            deaths.append(served_s)
            recent = [at for at in deaths if deaths[-1] - at <= self._backoff.window_s]
            if len(recent) >= self._backoff.deaths:
                reason = f"{died.reason}; {len(recent)} times in {self._backoff.window_s:.0f} s"
                self._listener(Change(State.FAILED, reason=reason, log=died.log))
                return
            pause = self._backoff.pause(len(recent))
            self._listener(Change(State.DIED, reason=died.reason, log=died.log, seconds=pause))
            await asyncio.sleep(pause)

    async def _begin(self) -> Child:
        """
        A child that is ready.

        Raises:
            Died: it did not get there.

        """
        started = time.monotonic()
        child = self._child = await spawn(self._launch)
        self._listener(Change(State.STARTING))
        try:
            async with asyncio.timeout(self._launch.start_s):
                await child.ready()
        except TimeoutError:
            await child.end(0)
            reason = f"{self._launch.name} was not ready within {self._launch.start_s:g} s"
            raise Died(reason, child.log()) from None
        except BaseException:  # also when the start is cancelled
            await child.end(0)
            raise
        self._listener(
            Change(State.READY, url=child.url, seconds=round(time.monotonic() - started, 3))
        )
        return child
