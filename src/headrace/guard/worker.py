"""
Processes that look at what takes long, so that the event loop never waits for it: Python holds one
lock while it matches, and a thread would hold it, too. gateway/guards/guarding.py says when.
"""

import asyncio
import contextlib
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
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

AGAIN_S = 1.0  # from one that died as it began to the next


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
    """
    The processes, each with one look at a time. They start with ``start``, and anew when one dies
    or is stuck; ``ended`` hears why (``died``, ``stuck``) and in whose look.
    """

    def __init__(
        self,
        policies: Sequence[GuardPolicy],
        count: int,
        queue: int,
        load: Load | None,
        stuck_s: float = 1.0,
    ) -> None:
        """
        ``queue`` is how many looks may wait, ``stuck_s`` how long one may go on after its deadline.
        """
        self._policies = tuple(policies)
        self._limits = {each.name: each.deadline_s + stuck_s for each in policies}
        self._count = count
        self._most = queue + count
        self._load = load
        self._pools: list[ProcessPoolExecutor] = []  # one process each
        self._idle: list[ProcessPoolExecutor] = []
        self._turns: deque[asyncio.Future[ProcessPoolExecutor]] = deque()
        self.waiting = 0
        self.ended: Callable[[str, str], None] = _nobody

    async def start(self) -> None:
        """
        Start them, and wait until they are ready.

        Raises:
            StartError: one of them could not load what it needs.

        """
        self._pools = [self._made() for _ in range(self._count)]
        loop = asyncio.get_running_loop()
        try:
            lacking = await asyncio.gather(
                *(loop.run_in_executor(pool, ready) for pool in self._pools)
            )
        except BrokenProcessPool as error:
            self.stop()
            raise StartError("A worker process of the guards ended while it started.") from error
        if any(lacking):
            self.stop()
            raise StartError(max(lacking))
        self._idle = [*self._pools]

    def stop(self) -> None:
        """End them."""
        pools, self._pools, self._idle = self._pools, [], []
        for pool in pools:
            _end(pool)
        for turn in self._turns:
            if not turn.done():
                turn.set_exception(Unavailable("no worker process runs"))

    def kill(self) -> None:
        """End the processes without a word, as the system does when memory is short."""
        for pool in self._pools:
            _end(pool, shut=False)

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

    # --- below -----------------------------------------------------------------------------

    async def _ask(self, function: Callable[..., object], name: str, *arguments: object) -> object:
        if not self._pools:
            raise Unavailable("no worker process runs")
        if self.waiting >= self._most:
            raise Unavailable(f"{self.waiting} looks wait already")
        self.waiting += 1
        try:
            pool = await self._turn()
        except BaseException:  # given up before its turn: nobody looks
            self.waiting -= 1
            raise
        loop = asyncio.get_running_loop()
        try:
            asked = loop.run_in_executor(pool, function, name, *arguments)
        except BrokenProcessPool:
            self.waiting -= 1
            self._renew(pool, "died", name)
            raise Unavailable("a worker process died") from None
        limit = loop.call_later(self._limits[name], self._renew, pool, "stuck", name)
        asked.add_done_callback(partial(self._landed, pool, name, limit))
        try:
            return await asyncio.shield(asked)
        except BrokenProcessPool:
            raise Unavailable("a worker process died") from None
        except asyncio.CancelledError:
            if asked.cancelled():  # not whoever asks: the processes were ended
                raise Unavailable("no worker process runs") from None
            raise

    async def _turn(self) -> ProcessPoolExecutor:
        """A process that has nothing to do, in the order of those who ask."""
        if self._idle:
            return self._idle.pop()
        turn: asyncio.Future[ProcessPoolExecutor] = asyncio.get_running_loop().create_future()
        self._turns.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._free(turn.result())
            raise

    def _free(self, pool: ProcessPoolExecutor) -> None:
        """It has nothing to do: whose turn is it?"""
        if pool not in self._pools:
            return
        while self._turns:
            turn = self._turns.popleft()
            if not turn.done():
                turn.set_result(pool)
                return
        self._idle.append(pool)

    def _landed(
        self,
        pool: ProcessPoolExecutor,
        name: str,
        limit: asyncio.TimerHandle,
        asked: "asyncio.Future[object]",
    ) -> None:
        """One look less; also when nobody waits for it any more."""
        limit.cancel()
        self.waiting -= 1
        if not asked.cancelled() and isinstance(asked.exception(), BrokenProcessPool):
            self._renew(pool, "died", name)
        else:
            self._free(pool)

    def _renew(self, pool: ProcessPoolExecutor, reason: str, name: str) -> None:
        """Another in its place, which looks once it is ready."""
        if pool not in self._pools:
            return
        self._pools.remove(pool)
        _end(pool)
        self.ended(reason, name)
        self._begin()

    def _begin(self) -> None:
        self._pools.append(fresh := self._made())
        begun = asyncio.get_running_loop().run_in_executor(fresh, ready)
        begun.add_done_callback(partial(self._begun, fresh))

    def _begun(self, pool: ProcessPoolExecutor, begun: "asyncio.Future[str]") -> None:
        if begun.cancelled():
            return
        if begun.exception() is None:
            self._free(pool)
            return
        asyncio.get_running_loop().call_later(AGAIN_S, self._renew, pool, "died", "")

    def _made(self) -> ProcessPoolExecutor:
        # one process that has this module and no threads, of which the others are copies
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        return ProcessPoolExecutor(
            1,
            mp_context=context,
            initializer=prepare,
            initargs=(self._policies, self._load),
        )


def _nobody(_reason: str, _guard: str) -> None:
    """Where nobody counts."""


def _end(pool: ProcessPoolExecutor, *, shut: bool = True) -> None:
    """Now: a look that takes for ever must not hold up the end of the gateway."""
    processes: Mapping[int, BaseProcess] = dict(getattr(pool, "_processes", None) or {})
    if shut:
        pool.shutdown(wait=False, cancel_futures=True)
    for process in processes.values():
        with contextlib.suppress(ProcessLookupError):
            process.kill()
