"""
Replicas that are kept for a request which has waited too long: nothing else may enter them until it
fits. Pure. Only an order of the queue with a KV gate needs them (settings.py).
"""

from collections.abc import Callable, Sequence
from itertools import islice

from headrace.routing.index import Depths
from headrace.routing.lane import Ask, Lane
from headrace.routing.terms import Terms, pick

# A request that has waited this long (and so many times its own prefill) may reserve a replica.
PATIENCE_S, PATIENCE = 5.0, 4.0
# Replicas that may be reserved at one time, though never more than a quarter of them: with a KV
# gate a reserved replica stands still until the request fits, and two of four doubled all waits.
RESERVATIONS = 2

Candidates = Callable[[Ask], tuple[Lane, ...]]
Weigh = Callable[[Ask, Sequence[Lane], float], tuple[Depths, list[Terms]]]


class Reservations:
    """``lanes`` by request, and ``oldest`` that wait, in the order in which they came."""

    def __init__(self, candidates: Candidates, weigh: Weigh) -> None:
        self.lanes: dict[Ask, Lane] = {}
        self.oldest: dict[Ask, None] = {}
        self._candidates = candidates
        self._weigh = weigh

    def seat(self, lanes: Sequence[Lane]) -> None:
        """Only these are left."""
        for ask, lane in tuple(self.lanes.items()):
            if lane not in lanes:
                self._release(ask)

    def reserve(self, replicas: int, now: float) -> None:
        """Let those that have waited too long have a replica that nothing else may enter."""
        most = min(RESERVATIONS, replicas // 4)
        for ask in islice(self.oldest, most):
            if len(self.lanes) >= most:
                return
            patience_s = max(PATIENCE_S, PATIENCE * ask.shortest_ms / 1000)
            if ask in self.lanes or now - ask.arrived_at < patience_s:
                continue
            lanes = [lane for lane in self._candidates(ask) if lane.reserved is None]
            if not lanes:
                return
            _, terms = self._weigh(ask, lanes, now)
            seeds = tuple(lane.seed for lane in lanes)
            lane = lanes[pick(terms, seeds, ask.number, range(len(lanes)))]
            lane.reserved = ask
            self.lanes[ask] = lane

    def drop(self, ask: Ask) -> None:
        """It waits no more."""
        del self.oldest[ask]
        self._release(ask)

    def _release(self, ask: Ask) -> None:
        lane = self.lanes.pop(ask, None)
        if lane is not None:
            lane.reserved = None
