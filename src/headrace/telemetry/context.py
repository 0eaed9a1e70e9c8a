"""
W3C trace context: read from a caller, continued to an engine, and whether a request is sampled.

Pure but for chance: https://www.w3.org/TR/trace-context/. What becomes of it is tracing.py's.
"""

import re
from collections.abc import MutableMapping
from random import Random

HEADER = b"traceparent"
SAMPLED = 1
# Version 00 has these four fields; later versions begin with the same ones (section 4.3).
_PARENT = re.compile(
    rb"(?:00(?=.{53}\Z)|(?!00|ff)[0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})"
    rb"-([0-9a-f]{2})(?:-.*)?"
)


class Context:
    """
    One request in a trace: 32 hexadecimal digits of ``trace``, 16 of the caller's span (``parent``,
    empty for none), and our own ``span`` as a number.
    """

    __slots__ = ("_chance", "_flags", "parent", "span", "trace")

    def __init__(self, trace: bytes, parent: bytes, span: int, flags: int, chance: Random) -> None:
        self.trace = trace
        self.parent = parent
        self.span = span
        self._flags = flags
        self._chance = chance

    @property
    def sampled(self) -> bool:
        """Whether the whole way was told to record it."""
        return bool(self._flags & SAMPLED)

    def go_on(self, headers: MutableMapping[bytes, bytes]) -> int:
        """Make the next hop our child; gives the id of the span that stands for it."""
        span = _span(self._chance)
        headers[HEADER] = b"00-%b-%016x-%02x" % (self.trace, span, self._flags)
        return span


class Sampler:
    """Begins and continues traces. ``share`` is that of the traces begun here that are sampled."""

    def __init__(self, share: float, *, follow_parent: bool, chance: Random) -> None:
        self._chance = chance
        self._follow = follow_parent
        # By the lower 64 bits of the trace id, so that all gateways decide alike
        # (https://opentelemetry.io/docs/specs/otel/trace/sdk/#traceidratiobased).
        self._bound = round(share * 2**64)

    def begin(self, headers: MutableMapping[bytes, bytes]) -> Context:
        """The context of a request with these headers."""
        chance, given = self._chance, headers.get(HEADER)
        found = _PARENT.fullmatch(given) if given is not None else None
        if found is None:
            number = chance.getrandbits(128) or 1
            sampled = number & 0xFFFF_FFFF_FFFF_FFFF < self._bound
            return Context(b"%032x" % number, b"", _span(chance), int(sampled), chance)
        trace, parent, flags = found.groups()
        bits = int(flags, 16)
        if not self._follow:
            sampled = int(trace[16:], 16) < self._bound
            bits = bits & ~SAMPLED | sampled
        return Context(trace, parent, _span(chance), bits, chance)


def trace_of(given: bytes) -> str:
    """The trace id of a caller's header; empty where it is none."""
    found = _PARENT.fullmatch(given)
    return found[1].decode("ascii") if found is not None else ""


def _span(chance: Random) -> int:
    return chance.getrandbits(64) or 1
