"""What a source of replicas is, and what all of them share. The sources are beside this file."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from headrace.config.backends import Backend
from headrace.config.discovery import Discovery

# Pauses after failures: quick to notice that it works again, slow enough to be no burden.
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0


@dataclass(frozen=True, slots=True)
class Found:
    """
    A replica that a source knows now.

    ``incarnation`` differs when another engine has taken the same address or name (a pod's uid);
    empty where the source cannot tell.
    """

    backend: Backend
    incarnation: str = ""


Changed = Callable[[Sequence[Found]], None]
"""Told with everything that a source knows, whenever that may have changed."""


class Log(Protocol):
    """Where events go."""

    def event(self, event: str, **fields: object) -> None: ...


class Source(Protocol):
    """One place that knows replicas."""

    async def watch(self, changed: Changed) -> None:
        """Tell what is there now and after each change, until cancelled; failures are its own."""


class Trouble:
    """The failures of a source: one event when they begin or change, one when they are over."""

    def __init__(self, label: str, log: Log) -> None:
        self._label = label
        self._log = log
        self._kind = ""

    def begins(self, error: str, kind: str = "") -> None:
        """
        Say what is wrong; what was found before stays in use. Where the text has times or counters
        in it, ``kind`` tells whether it is the same failure as before.
        """
        if (kind or error) != self._kind:
            self._kind = kind or error
            self._log.event("discovery_failed", source=self._label, error=error)

    def ends(self) -> None:
        """Say that it works again, if it did not before."""
        if self._kind:
            self._kind = ""
            self._log.event("discovery_recovered", source=self._label)


def pauses(first_s: float = FIRST_PAUSE_S, longest_s: float = LONGEST_PAUSE_S) -> Iterator[float]:
    """
    Seconds to wait after the first failure in a row, the second, and so on: twice as long each
    time, and between half of that and all of it, so that many gateways do not come at once.
    """
    pause_s = first_s
    while True:
        yield pause_s * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, hides nothing
        pause_s = min(2 * pause_s, longest_s)


def replica(config: Discovery, name: str, host: str, port: int, serves: dict[str, str]) -> Backend:
    """
    A replica at this address, with what the configuration says about all replicas of its source.

    Raises:
        ValueError: the address or the name cannot be one.

    """
    address = f"[{host}]" if ":" in host else host
    scheme = "https" if config.tls else "http"
    return Backend(
        url=f"{scheme}://{address}:{port}",
        name=name,
        serves=serves,
        api_key=config.api_key,
        tls_verify=config.tls_verify,
        tls_ca=config.tls_ca,
    )
