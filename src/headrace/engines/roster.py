"""Whom engines tell about themselves: the fleet, the log, and what may stand between."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from headrace.config.backends import Backend


class Roster(Protocol):
    """Who must know which engines can be sent requests: the fleet."""

    def add(self, backend: Backend, *, trusted: bool | None = None) -> None: ...

    def remove(self, name: str, reason: str) -> None: ...


class Floor(Protocol):
    """
    What is seen of the calls for an engine, and who must know where it is (fleet/floor.py).

    Plain calls: what they return holds until the caller awaits, so that a replica without requests
    can be taken out before one comes.
    """

    def listen(self, wanted: Callable[[str], None], moved: Callable[[str, str], None]) -> None: ...

    def waiting(self, models: Iterable[str]) -> int: ...

    def queued(self, models: Iterable[str]) -> int: ...

    def state(self, name: str) -> str: ...

    def traffic(self, name: str) -> tuple[int, int] | None: ...

    def rest(self, name: str, reason: str) -> bool: ...

    def rise(self, name: str, reason: str) -> None: ...

    def leave(self, name: str, reason: str) -> bool: ...

    def tell(self, name: str, models: tuple[str, ...], why: str, reason: str) -> None: ...

    def refuse(self, models: Iterable[str], reason: str, retry_after_s: float) -> None: ...

    def started(self, model: str, kind: str, seconds: float) -> None: ...

    def rested(self, model: str, kind: str) -> None: ...


class Log(Protocol):
    """Where events go."""

    def event(self, event: str, **fields: object) -> None: ...


class Tape(Protocol):
    """What stands between the gateway and its engines."""

    def front(self, backend: Backend) -> Backend: ...

    async def start(self, log: Log) -> None: ...

    async def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Fronted:
    """The fleet behind a tape: what is added is reached through it."""

    roster: Roster
    tape: Tape

    def add(self, backend: Backend, *, trusted: bool | None = None) -> None:
        """Add what stands before the backend."""
        self.roster.add(self.tape.front(backend), trusted=trusted)

    def remove(self, name: str, reason: str) -> None:
        """Names are the backends' own."""
        self.roster.remove(name, reason)
