"""What the tests of discovery share: a log, a fleet and a listener that remember."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from headrace.config.backends import Backend
from headrace.config.discovery import Discovery
from headrace.fleet.discovery.source import Found, Source


class Log:
    """Events in the order they came."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []

    def event(self, event: str, **fields: object) -> None:
        self.events.append((event, fields))

    def names(self) -> list[str]:
        return [name for name, _ in self.events]

    def errors(self) -> str:
        return "\n".join(str(fields.get("error", "")) for _, fields in self.events)


class Replicas:
    """A fleet that only remembers what was done to it."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.now: dict[str, Backend] = {}

    def add(self, backend: Backend, *, trusted: bool | None = None) -> None:
        assert trusted is False  # what was discovered is probed first
        self.done.append(f"+{backend.name}")
        self.now[backend.name] = backend

    def remove(self, name: str) -> None:
        self.done.append(f"-{name}")
        del self.now[name]


class Listener:
    """What a source told, newest last."""

    def __init__(self) -> None:
        self.told: list[Sequence[Found]] = []

    def __call__(self, found: Sequence[Found]) -> None:
        self.told.append(found)

    def urls(self) -> list[str] | None:
        """Of the newest list, in its order; None when nothing was told yet."""
        return [each.backend.url for each in self.told[-1]] if self.told else None

    def names(self) -> list[str] | None:
        return [each.backend.name for each in self.told[-1]] if self.told else None


@contextlib.asynccontextmanager
async def watching(source: Source) -> AsyncIterator[Listener]:
    """A source that is being watched; fails when its watch ends by itself."""
    listener = Listener()
    task = asyncio.create_task(source.watch(listener))
    try:
        yield listener
    finally:
        ended = task.done()
        task.cancel()
        results = await asyncio.gather(task, return_exceptions=True)
    assert not ended, results


async def until(true: Callable[[], Any], timeout_s: float = 20.0) -> None:
    """Wait for what a source will soon do."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            while not true():  # noqa: ASYNC110 - it is seen from outside only
                await asyncio.sleep(0.005)
    assert true()


def section(**settings: Any) -> Discovery:
    return Discovery.model_validate(settings)


def found(name: str, incarnation: str = "", url: str = "http://gpu:1", model: str = "m") -> Found:
    backend = Backend.model_validate({"url": url, "name": name, "serves": [model]})
    return Found(backend, incarnation)
