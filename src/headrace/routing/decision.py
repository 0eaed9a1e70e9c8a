"""
Why a request went where it went: candidates with their terms, the choice, and what was predicted.

Made per request from tuples that exist anyway; whoever reads it formats it. Pure.
"""

from math import inf

from msgspec import Struct

from headrace.routing.terms import COST, PREFILL, Terms, pick

LOWEST = "lowest cost"
ONLY = "the only replica"
HOLDER = "holds the stored response"
RESERVED = "waited for its turn too long"


class Decision(Struct, frozen=True, gc=False):
    """
    One choice. ``names``, ``seeds`` and ``terms`` are parallel; ``open`` are the places that could
    be chosen, ``chosen`` is the place that was. ``number`` breaks ties. Without terms there was
    nothing to weigh. ``waited_ms`` is the time in the queue.
    """

    policy: str
    reason: str
    names: tuple[str, ...]
    chosen: int
    tokens: float
    number: int = 0
    seeds: tuple[int, ...] = ()
    terms: tuple[Terms, ...] = ()
    open: tuple[int, ...] = ()
    waited_ms: float = 0.0

    @property
    def replica(self) -> str:
        """Who was chosen."""
        return self.names[self.chosen]

    @property
    def runner_up(self) -> int | None:
        """The place of the next best, whether or not it had room; None when there was no other."""
        if len(self.terms) < 2:
            return None
        costs = [each[COST] for each in self.terms]
        costs[self.chosen] = inf
        return costs.index(min(costs))

    @property
    def gap_ms(self) -> float:
        """What the next best would have cost more; less than 0 when a better one was full."""
        other = self.runner_up
        return 0.0 if other is None else self.terms[other][COST] - self.terms[self.chosen][COST]

    def replay(self) -> int:
        """Choose again from what was recorded: the same place, always."""
        return pick(self.terms, self.seeds, self.number, self.open) if self.terms else self.chosen


def shortest_ms(terms: list[Terms]) -> float:
    """The cheapest prefill that any replica offers."""
    return min([each[PREFILL] for each in terms])  # noqa: C419 - faster
