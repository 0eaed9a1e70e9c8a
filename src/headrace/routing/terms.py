"""
The terms of a candidate's cost, the pick of the least, and how equals are told apart. Pure.

How the terms come about is score.py's.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from struct import Struct

# Costs that differ by less (ms) are equal. A share of the cost was tried instead of a fixed number:
# 1 % of it costs 30 % of the median time to first token under load, since what a cached prefix is
# worth is less than 1 % of a long wait.
TIE_MS = 0.1

_MIX, _MIX_AGAIN = 0x9E3779B97F4A7C15, 0x85EBCA77C2B2AE63
_WORD = 0xFFFFFFFFFFFFFFFF

# Up to so many replicas their weights are worked out one by one.
FEW = 16

# One candidate: ms of cost, wait, KV wait, prefill, externality, slowdown, warm-up, stickiness;
# tokens cached; requests in flight. A plain tuple, since there is one per replica and request.
Terms = tuple[float, float, float, float, float, float, float, float, float, int]
COST, WAIT, KV_WAIT, PREFILL, EXTERNALITY, SLOWDOWN, WARM_UP, STICKY, CACHED, INFLIGHT = range(10)


def pick(terms: Sequence[Terms], seeds: Sequence[int], number: int, among: Sequence[int]) -> int:
    """
    Which of the candidates ``among`` costs the least; of equals the one with the fewest requests,
    then the one that the rendezvous of ``number`` with their seeds finds. A request without a
    prompt to go by has a number below 0: such ones take turns.
    """
    if len(among) == 1:
        return among[0]
    costs = [terms[index][COST] for index in among]
    limit = min(costs) + TIE_MS
    if max(costs) > limit:
        among = [index for index, cost in zip(among, costs, strict=True) if cost <= limit]
        if len(among) == 1:
            return among[0]
    inflight = [terms[index][INFLIGHT] for index in among]
    fewest = min(inflight)
    if max(inflight) > fewest:
        among = [index for index, own in zip(among, inflight, strict=True) if own == fewest]
    if number < 0:
        return among[-number % len(among)]
    return heaviest(number, seeds, among)


def heaviest(number: int, seeds: Sequence[int], among: Sequence[int]) -> int:
    """Which of the places ``among`` has the seed that the rendezvous of a number finds."""
    if len(among) <= FEW:
        return max(among, key=lambda index: rendezvous(number, seeds[index]))
    weights = _rendezvous(number, (*seeds,))
    if len(among) == len(seeds):
        return weights.index(max(weights))
    return max(among, key=weights.__getitem__)


def rendezvous(number: int, seed: int) -> int:
    """
    The weight of a replica for a request: the one with the highest gets it (highest random weight,
    https://en.wikipedia.org/wiki/Rendezvous_hashing). Two rounds of multiply and shift: one is not
    even enough, nor is the hash of a tuple.
    """
    return (((number ^ seed) * _MIX & _WORD) >> 32) * _MIX_AGAIN & _WORD


def _rendezvous(number: int, seeds: tuple[int, ...]) -> tuple[int, ...]:
    """
    ``rendezvous`` of a number with each seed, all at once: each has 128 bits of one large number,
    which no product overflows. For 256 replicas that takes a third of the time.
    """
    packed, ones, words, halves, unpack = _packed(seeds)
    mixed = (packed ^ ones * (number & _WORD)) * _MIX & words
    mixed = (mixed >> 32 & halves) * _MIX_AGAIN & words
    return unpack(mixed.to_bytes(16 * len(seeds), "little"))


@lru_cache(maxsize=64)  # seeds change when replicas come and go, or when some were tried
def _packed(
    seeds: tuple[int, ...],
) -> tuple[int, int, int, int, Callable[[bytes], tuple[int, ...]]]:
    """
    In the place of each seed: itself, a 1, 64 ones, 32 ones; and what takes such a number apart.
    """
    packed = sum((seed & _WORD) << 128 * place for place, seed in enumerate(seeds))
    ones = sum(1 << 128 * place for place in range(len(seeds)))
    take = Struct("<" + "Q8x" * len(seeds)).unpack
    return packed, ones, ones * _WORD, ones * (_WORD >> 32), take
