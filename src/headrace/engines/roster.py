"""Whom engines tell about themselves: the fleet, the log, and what may stand between."""

from dataclasses import dataclass
from typing import Protocol

from headrace.config.schema import Backend


class Roster(Protocol):
    """Who must know which engines can be sent requests: the fleet."""

    def add(self, backend: Backend, *, trusted: bool | None = None) -> None: ...

    def remove(self, name: str, reason: str) -> None: ...


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
