"""The order of routing: stickiness first, then the policy. No I/O, no clock, no chance."""

from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import NamedTuple

from headrace.routing.policies import least
from headrace.types import Decision

# Stored responses and conversations remembered: an id and a name, some 200 bytes each.
MAX_STICKY = 100_000

LEAST = "fewest in-flight tokens"
STICKY = "holds the stored response"
ONLY = "the only replica"


class Holder(NamedTuple):
    """The replica that keeps a stored response, and the model that made it."""

    model: str
    replica: str


class Stickiness:
    """
    Which replica holds a stored response or conversation; the least recently used are forgotten.
    """

    def __init__(self, limit: int = MAX_STICKY) -> None:
        self._limit = limit
        self._holders: OrderedDict[str, Holder] = OrderedDict()

    def remember(self, key: str, model: str, replica: str) -> None:
        """From now on requests that continue ``key`` go to ``replica``."""
        self._holders[key] = Holder(model, replica)
        self._holders.move_to_end(key)
        if len(self._holders) > self._limit:
            self._holders.popitem(last=False)

    def recall(self, key: str) -> Holder | None:
        """Who holds ``key``, if it is remembered."""
        holder = self._holders.get(key)
        if holder is not None:
            self._holders.move_to_end(key)
        return holder


def choose(
    names: Sequence[str], loads: Sequence[int], turn: int, holder: str | None = None
) -> Decision:
    """
    The replica for a request.

    ``names`` and ``loads`` (in-flight tokens) are parallel, at least one each; ``turn`` grows with
    each request; ``holder`` is the replica that holds what the request continues.
    """
    if len(loads) == 1:
        return Decision(0, ONLY)
    if holder is not None and holder in names:
        return Decision(names.index(holder), STICKY)
    return Decision(least(loads, turn), LEAST)


def without(
    tried: Collection[str], names: Sequence[str], loads: Sequence[int]
) -> tuple[list[str], list[int]]:
    """The candidates that were not tried yet, in the same order."""
    left = [(name, load) for name, load in zip(names, loads, strict=True) if name not in tried]
    return [name for name, _ in left], [load for _, load in left]
