"""
Processes that look at what takes long, so that the event loop never waits for it: Python holds one
lock while it matches, and a thread would hold it, too. gateway/guards/guarding.py says when.
"""

import asyncio
import contextlib
import multiprocessing
import signal
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from typing import cast

from headrace.config.guards import GuardPolicy
from headrace.errors import HeadraceError, StartError
from headrace.guard.detectors import KINDS, build
from headrace.guard.injection import Embeds
from headrace.guard.schema import Schema, read
from headrace.guard.types import Detector, Finding, Unavailable

Load = Callable[[], Embeds]
"""Makes what gives vectors; runs in the worker, so that it must be a name of a module."""

_detectors: dict[str, Detector] = {}  # of this process, which is a worker
_schemas: dict[str, Schema] = {}
_problems: list[str] = []  # likewise: why it cannot look


def prepare(policies: Sequence[GuardPolicy], load: Load | None) -> None:
    """The first thing in a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the gateway, which ends us
    try:
        embeds = load() if load is not None else None
        for policy in policies:
            if policy.kind in KINDS:
                _detectors[policy.name] = build(policy, embeds)
            elif policy.json_schema.file is not None:
                _schemas[policy.name] = read(policy.json_schema.file)
    except HeadraceError as error:
        _problems.append(str(error))


def ready() -> str:
    """What a worker that has started lacks; empty for nothing."""
    return _problems[0] if _problems else ""


def look(name: str, texts: Sequence[str]) -> list[Sequence[Finding]]:
    """
    What a guard finds in each text.

    Raises:
        Unavailable: its detector failed; of the fault only its kind, since it may hold the text.

    """
    try:
        return [_detectors[name].find(text) for text in texts]
    except Exception as fault:  # noqa: BLE001 - whatever a library does, the guard says what then
        raise Unavailable(f"it failed with {type(fault).__name__}") from None


def check(name: str, wanted: object, text: str) -> str:
    """What is wrong with a text by a guard's own schema, or else by the client's."""
    if name in _schemas:
        return _schemas[name].fault(text)
    try:
        return Schema(wanted).fault(text)
    except ValueError:
        return ""  # what is no schema is the engine's to refuse


class Workers:
    """The processes. They start with ``start`` and anew when one dies."""

    def __init__(
        self, policies: Sequence[GuardPolicy], count: int, queue: int, load: Load | None
    ) -> None:
        """``queue`` is how many looks may wait."""
        self._policies = tuple(policies)
        self._count = count
        self._most = queue + count
        self._load = load
        self._pool: ProcessPoolExecutor | None = None
        self.waiting = 0

    async def start(self) -> None:
        """
        Start them, and wait until they are ready.

        Raises:
            StartError: one of them could not load what it needs.

        """
        self._pool = self._made()
        loop = asyncio.get_running_loop()
        try:
            lacking = await asyncio.gather(
                *(loop.run_in_executor(self._pool, ready) for _ in range(self._count))
            )
        except BrokenProcessPool as error:
            raise StartError("A worker process of the guards ended while it started.") from error
        if any(lacking):
            self.stop()
            raise StartError(max(lacking))

    def stop(self) -> None:
        """End them."""
        pool, self._pool = self._pool, None
        if pool is not None:
            _end(pool)

    def kill(self) -> None:
        """End the processes without a word, as the system does when memory is short."""
        if self._pool is not None:
            _end(self._pool, shut=False)

    async def find(self, name: str, texts: Sequence[str]) -> list[Sequence[Finding]]:
        """
        What a guard finds in each text.

        Raises:
            Unavailable: too many looks wait already, or the worker died.

        """
        return cast(list[Sequence[Finding]], await self._ask(look, name, texts))

    async def fault(self, name: str, wanted: object, text: str) -> str:
        """
        What is wrong with a text by a guard's schema or the client's; empty for nothing.

        Raises:
            Unavailable: too many looks wait already, or the worker died.

        """
        return cast(str, await self._ask(check, name, wanted, text))

    async def _ask(self, function: Callable[..., object], *arguments: object) -> object:
        if self._pool is None:
            raise Unavailable("no worker process runs")
        if self.waiting >= self._most:
            raise Unavailable(f"{self.waiting} looks wait already")
        self.waiting += 1
        pool, loop = self._pool, asyncio.get_running_loop()
        try:
            asked = loop.run_in_executor(pool, function, *arguments)
            asked.add_done_callback(self._landed)
        except BrokenProcessPool:
            self.waiting -= 1
            self._renew(pool)
            raise Unavailable("a worker process died") from None
        try:
            return await asyncio.shield(asked)
        except BrokenProcessPool:
            self._renew(pool)
            raise Unavailable("a worker process died") from None

    def _landed(self, asked: "asyncio.Future[object]") -> None:
        """One look less; also when nobody waits for it any more."""
        self.waiting -= 1
        if not asked.cancelled():
            asked.exception()

    def _renew(self, broken: ProcessPoolExecutor) -> None:
        if self._pool is broken:
            self._pool = self._made()

    def _made(self) -> ProcessPoolExecutor:
        # one process that has this module and no threads, of which the others are copies
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        return ProcessPoolExecutor(
            self._count,
            mp_context=context,
            initializer=prepare,
            initargs=(self._policies, self._load),
        )


def _end(pool: ProcessPoolExecutor, *, shut: bool = True) -> None:
    """Now: a look that takes for ever must not hold up the end of the gateway."""
    processes: Mapping[int, BaseProcess] = dict(getattr(pool, "_processes", None) or {})
    if shut:
        pool.shutdown(wait=False, cancel_futures=True)
    for process in processes.values():
        with contextlib.suppress(ProcessLookupError):
            process.kill()
