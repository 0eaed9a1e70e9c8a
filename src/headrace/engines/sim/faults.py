"""
Which faults a replica has now, and which of them hits a request. What each of them does to the
wire is in serving.py, what it does to an engine in engine.py.
"""

import random
from collections.abc import Callable, Iterable
from itertools import count

from pydantic import ValidationError

from headrace.config.simulator import FAULT_KINDS, Fault
from headrace.errors import ConfigError

# Kinds that hit single requests, in the order in which they are tried.
OF_REQUESTS = ("error", "limit", "reset", "stuck", "length", "die", "freeze", "garbage")
AFTER_TOKENS = 3


class Faults:
    """The faults of one replica, each with its own seeded dice."""

    def __init__(
        self, seed: str, time: Callable[[], float], changed: Callable[[], None] = lambda: None
    ) -> None:
        self._seed = seed
        self._time = time
        self._changed = changed
        self._numbers = count(1)
        self._set: dict[int, tuple[Fault, float, random.Random]] = {}
        self.frozen: list[Callable[[], None]] = []

    def add(self, fault: Fault) -> int:
        """Set a fault; returns its number."""
        number = next(self._numbers)
        dice = random.Random(f"{self._seed}/{fault.kind}/{number}")  # noqa: S311 - repeatable
        self._set[number] = (fault, self._time(), dice)
        self._changed()
        return number

    def clear(self, kind: str | None = None) -> int:
        """End all faults, or all of a kind; returns how many these were."""
        ended = [n for n, (fault, _, _) in self._set.items() if kind in {None, fault.kind}]
        for number in ended:
            del self._set[number]
        self._changed()
        return len(ended)

    def thaw(self) -> None:
        """Let go of frozen connections, once no freeze is in force."""
        if self.active("freeze") is None:
            for release in self.frozen:
                release()
            self.frozen.clear()

    def all(self) -> list[dict[str, object]]:
        """Those that are set, each with its number and whether it is in force now."""
        return [
            {"id": number, "active": self._active(fault, since), **fault.model_dump()}
            for number, (fault, since, _) in self._set.items()
        ]

    def active(self, kind: str) -> Fault | None:
        """The first of a kind that is in force, whatever its share."""
        return next(
            (f for f, since, _ in self._set.values() if f.kind == kind and self._active(f, since)),
            None,
        )

    def drawn(self, kind: str) -> Fault | None:
        """The first of a kind that is in force and whose dice say yes this time."""
        for fault, since, dice in self._set.values():
            hit = fault.kind == kind and self._active(fault, since)
            if hit and (fault.share >= 1 or dice.random() < fault.share):
                return fault
        return None

    def for_request(self) -> Fault | None:
        """The fault that a new request meets, if any."""
        if not self._set:
            return None
        return next((found for kind in OF_REQUESTS if (found := self.drawn(kind))), None)

    def changes_at(self) -> Iterable[float]:
        """When faults begin or end, in seconds of the clock."""
        for fault, since, _ in self._set.values():
            yield since + fault.begin_s
            if fault.duration_s is not None:
                yield since + fault.begin_s + fault.duration_s

    # --- what the engine asks ------------------------------------------------------------------

    def slowness(self) -> float:
        """How many times longer an iteration takes."""
        fault = self.drawn("slow") if self._set else None
        return fault.factor if fault else 1.0

    def hangs(self) -> bool:
        """Whether the engine stands still."""
        return bool(self._set) and self.active("hang") is not None

    def full(self) -> bool:
        """Whether the KV cache is taken."""
        return bool(self._set) and self.active("full") is not None

    def _active(self, fault: Fault, since: float) -> bool:
        age = self._time() - since - fault.begin_s
        return age >= 0 and (fault.duration_s is None or age < fault.duration_s)


def after(fault: Fault) -> int:
    """Tokens that are sent before it happens."""
    if fault.after_tokens is not None:
        return fault.after_tokens
    return 0 if fault.kind in {"error", "reset"} else AFTER_TOKENS


def parse(text: str) -> Fault:
    """
    A fault as the command line writes it: ``KIND`` or ``KIND:key=value,key=value``.

    Raises:
        ConfigError: with the words that are wrong and those that would be right.

    """
    kind, _, rest = text.partition(":")
    if kind not in FAULT_KINDS:
        raise ConfigError(f"--fault {text}: {kind!r} is no fault; use {', '.join(FAULT_KINDS)}.")
    values: dict[str, object] = {"kind": kind}
    for part in rest.split(",") if rest else ():
        key, equals, value = part.partition("=")
        if not equals:
            raise ConfigError(f"--fault {text}: {part!r} is not key=value, such as share=0.1.")
        values[key.strip()] = value.strip()
    try:
        return Fault.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"--fault {text}: {told(error)}.") from None


def told(error: ValidationError) -> str:
    """What is wrong with a fault, in one line."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = ", ".join(name for name in Fault.model_fields if name != "kind")
        return f"{place!r} is not known; use {known}"
    return f"{place}: {first['msg']}" if place else str(first["msg"]).removeprefix("Value error, ")
