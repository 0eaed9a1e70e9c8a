"""
What finished requests teach: how long answers are, how long they stay, what is cached. Pure.

How long prefills take is learned in lane.py, at first tokens.
"""

from collections.abc import Sequence

from headrace.routing.cost import share
from headrace.routing.index import Index
from headrace.routing.lane import USUAL_KV, Lane, Lease
from headrace.routing.score import Outlook
from headrace.types import Usage

# How fast the expected output and residence follow what is seen.
FOLLOW = 0.02
# The share of a prompt whose cached tokens were mispredicted changes what a cache is believed to
# hold by so much of it, within these bounds (of what the engine says it has). It comes to rest
# where the prediction is right on average. Steps for each miss, whatever its size, do not: who
# believes in less sends prefixes to more replicas, which then really hold less.
RESIZE, SMALLEST, LARGEST = 0.02, 0.5, 1.25
# First tokens between two looks at who is as fast as whom.
EVERY = 8
# The size of a cache is only told to the index when it has changed by so much.
STEP = 0.05


class Lessons:
    """What one pool has learned; ``outlook`` is what the score reads."""

    def __init__(self, index: Index, kappa: float, lam: float, sticky_ms: float) -> None:
        self.outlook = Outlook(kappa, lam, sticky_ms)
        self._index = index
        self._firsts = 0

    def first(self, lane: Lane, lanes: Sequence[Lane]) -> None:
        """
        A first token has come at one of the lanes. The first ones count at once: where the shipped
        rates are far off, replicas that nobody has tried would look the better by as much.
        """
        self._firsts += 1
        fit = lane.fit
        if self._firsts % EVERY and not (fit.samples and lane.rates is fit.start):
            return
        learners = [each for each in lanes if each.learns]
        share([each.fit for each in learners])
        for each in learners:
            each.rates = each.fit.rates

    def ended(self, lane: Lane, lease: Lease, usage: Usage | None, now: float) -> None:
        """A request has ended at the lane; without ``usage`` it was not answered."""
        self._keep(lane, lease, answered=usage is not None)
        if usage is None:
            return
        decoding_ms = (now - lease.first_at) * 1000 if lease.first_at else 0.0
        if usage.completion:
            outlook = self.outlook
            outlook.output += FOLLOW * (usage.completion - outlook.output)
            outlook.residence_ms += FOLLOW * (decoding_ms - outlook.residence_ms)
            if decoding_ms:
                lane.paced(decoding_ms / 1000, usage.completion)
        if usage.cached:
            lane.reports = True
        if lane.reports and lease.ask.blocks and not lane.closed:
            self._compare(lane, lease, usage)

    def resize(self, lane: Lane, grain: float) -> None:
        """Let the index hold what fits into the lane's cache; ``grain`` is tokens per block."""
        exact = lane.ledger is not None and lane.ledger.exact  # it says itself what goes
        tokens = (lane.kv_tokens or USUAL_KV) * (LARGEST if exact else lane.shrink)
        self._index.resize(lane.slot, max(1, int(tokens / grain)))
        lane.sized = lane.shrink, lane.kv_tokens, grain

    # --- below -----------------------------------------------------------------------------

    def _keep(self, lane: Lane, lease: Lease, *, answered: bool) -> None:
        """
        One without a first token never had its blocks. Those of others keep their age: what ended
        must not outlive what runs, whose blocks no engine evicts. Holding them anew at the end
        costs a tenth of the hits in simulation.
        """
        blocks = lease.ask.blocks
        if blocks and not lane.closed and not answered and not lease.first_at:
            self._index.forget(lane.slot, blocks[lease.depth :], lease.stamp)

    def _compare(self, lane: Lane, lease: Lease, usage: Usage) -> None:
        """Let what was cached correct what is believed to be."""
        grain, predicted = lease.ask.grain, lease.predicted.cached
        missed = (usage.cached - predicted) / max(lease.ask.tokens, 1.0)
        change = 1 + RESIZE * min(max(missed, -1.0), 1.0)
        lane.shrink = min(max(lane.shrink * change, SMALLEST), LARGEST)
        shrink, kv_tokens, sized = lane.sized
        if (
            abs(lane.shrink - shrink) > STEP * shrink
            or kv_tokens != lane.kv_tokens
            or abs(grain - sized) > STEP * sized
        ):
            self.resize(lane, grain)
