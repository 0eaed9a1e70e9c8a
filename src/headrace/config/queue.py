"""
The central queue: classes of requests that wait, their bounds and deadlines. How it is ordered is
routing/'s, who is refused gateway/place/usher.py's.
"""

from collections.abc import Iterable
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from headrace.config.section import MIB, Seconds, Section

# What is there without being declared; a file may change any key of these, and add others.
USUAL: dict[str, dict[str, object]] = {
    "interactive": {"rank": 0},
    "batch": {"rank": -50, "deadline_s": 600, "max_requests": 20_000},
    "background": {"rank": -100, "deadline_s": 3600, "max_requests": 20_000},
}


def unknown(name: str, classes: Iterable[str]) -> str:
    """What is wrong with the name of a class that there is not, in a sentence."""
    return f"There is no class {name!r} in the queue; there are {', '.join(classes)}."


def _with_usual(given: object) -> object:
    """The classes that are always there, with the keys that a file changes."""
    if not isinstance(given, dict):
        return given
    found: dict[str, object] = {name: dict(keys) for name, keys in USUAL.items()}
    for name, keys in given.items():
        plain = keys.model_dump() if isinstance(keys, QueueClass) else keys
        found[name] = {**USUAL.get(name, {}), **plain} if isinstance(plain, dict) else plain
    return found


def _header(name: str) -> str:
    if not name.isascii() or not name.replace("-", "").isalnum():
        raise ValueError("must be the name of a header")
    return name.lower()


class QueueClass(Section):
    """A class of requests: who goes first, how many may wait, and how long. For each model."""

    rank: int = Field(
        ge=-100,
        le=100,
        description="Of those that wait the class with the higher rank goes first. A rule's "
        "priority is of the class with the highest rank that is not above it.",
    )
    deadline_s: Seconds | None = Field(
        default=None,
        description="How long one may wait for room; who could not make it is refused at once. "
        "By default timeouts.queue_s.",
    )
    max_requests: int = Field(
        default=10_000, ge=0, description="Requests that wait at most; then the answer is 503."
    )
    max_bytes: int = Field(
        default=256 * MIB, ge=0, description="Bytes of their bodies at most, likewise."
    )


class Queue(Section):
    """Who waits in which class when the fleet is full, how many, and how long."""

    classes: Annotated[
        dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")], QueueClass],
        BeforeValidator(_with_usual),
    ] = Field(
        default_factory=dict,
        description="Classes by name. interactive (rank 0), batch (-50, ten minutes) and "
        "background (-100, an hour) are always there; their keys may be changed.",
    )
    header: Annotated[str, AfterValidator(_header)] = Field(
        default="x-headrace-priority",
        description="The request header by which a client puts a request into a lower class than "
        "its own; naming a higher one changes nothing.",
    )
    early: bool = Field(
        default=True,
        description="Whether a request that cannot make its deadline, by the rate at which the "
        "queue moves, is refused when it comes.",
    )

    @model_validator(mode="after")
    def _ranks_differ(self) -> Self:
        seen: dict[int, str] = {}
        for name, each in self.classes.items():
            if each.rank in seen:
                raise ValueError(
                    f"gives {name!r} and {seen[each.rank]!r} the same rank; change one of them"
                )
            seen[each.rank] = name
        return self
