"""The sources of the configuration as running tasks. What they find goes to the reconciler."""

import asyncio
import importlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from headrace.config.discovery import Discovery
from headrace.config.schema import Config
from headrace.errors import StartError
from headrace.fleet.discovery.file import FileSource
from headrace.fleet.discovery.reconciler import Reconciler, Replicas
from headrace.fleet.discovery.source import Log, Source, pauses

# type -> module, class, and what installs its libraries; loaded only where it is used.
LIBRARIES = {
    "dns": ("dns", "DnsSource", "headrace"),
    "kubernetes": ("kubernetes", "KubernetesSource", "headrace[kubernetes]"),
}


def watches(config: Config, models: Sequence[str], fleet: Replicas, log: Log) -> "Watches":
    """
    All sources of the configuration, ready to start.

    Raises:
        StartError: the libraries of one are not installed, or it has nothing to ask.

    """
    reserved = [backend.name for backend in config.backends]
    reserved += [name for engine in config.engines for name in engine.replica_names]
    sources = [(section.label, build(section, models, log)) for section in config.discovery]
    return Watches(sources, Reconciler(fleet, log, models, reserved), log)


def build(config: Discovery, models: Sequence[str], log: Log) -> Source:
    """
    The source that a section of the configuration describes.

    Raises:
        StartError: as in ``watches``.

    """
    if config.type == "file":
        return FileSource(config, models, log)
    module, name, package = LIBRARIES[config.type]
    try:
        found = importlib.import_module(f"headrace.fleet.discovery.{module}")
    except ModuleNotFoundError as error:
        raise StartError(
            f"Discovery of the type {config.type} needs the package {error.name};"
            f" install it with `pip install '{package}'`."
        ) from error
    kind: Callable[[Discovery, Log], Source] = getattr(found, name)
    return kind(config, log)


# A source that does not end in time must not hold up the end of the gateway.
STOP_S = 2.0


class Watches:
    """One task for each source. One that fails unexpectedly is logged and started again."""

    def __init__(self, sources: Iterable[tuple[str, Source]], to: Reconciler, log: Log) -> None:
        self._sources = [*sources]
        self._reconciler = to
        self._log = log
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._waits = {order: pauses() for order in range(len(self._sources))}
        self._restarts: dict[int, asyncio.TimerHandle] = {}

    def start(self) -> None:
        """Begin to watch."""
        for order in range(len(self._sources)):
            self._start(order)

    async def stop(self) -> None:
        """End all watches; the replicas stay."""
        for restart in self._restarts.values():
            restart.cancel()
        tasks = [*self._tasks.values()]
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_S)

    def _start(self, order: int) -> None:
        label, source = self._sources[order]
        changed = partial(self._reconciler.update, order, label)
        task = asyncio.get_running_loop().create_task(source.watch(changed))
        self._tasks[order] = task
        task.add_done_callback(partial(self._ended, order))

    def _ended(self, order: int, task: asyncio.Task[Any]) -> None:
        if task.cancelled() or self._tasks.get(order) is not task:
            return
        fault = task.exception()
        error = f"{type(fault).__name__}: {fault}" if fault else "it ended by itself"
        self._log.event("discovery_failed", source=self._sources[order][0], error=error)
        loop = asyncio.get_running_loop()
        self._restarts[order] = loop.call_later(next(self._waits[order]), self._start, order)
