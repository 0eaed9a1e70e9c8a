"""
The terms of a candidate's cost, the pick of the least, and how equals are told apart. Pure.

How the terms come about is score.py's.
"""

from collections.abc import Sequence

# Costs that differ by less (ms) are equal. A share of the cost was tried instead of a fixed number:
# 1 % of it costs 30 % of the median time to first token under load, since what a cached prefix is
# worth is less than 1 % of a long wait.
TIE_MS = 0.1

_MIX, _MIX_AGAIN = 0x9E3779B97F4A7C15, 0x85EBCA77C2B2AE63
_WORD = 0xFFFFFFFFFFFFFFFF

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
    least = min([terms[index][COST] for index in among])  # noqa: C419 - faster
    limit = least + TIE_MS
    equals = [index for index in among if terms[index][COST] <= limit]
    if len(equals) == 1:
        return equals[0]
    fewest = min(terms[index][INFLIGHT] for index in equals)
    equals = [index for index in equals if terms[index][INFLIGHT] == fewest]
    if number < 0:
        return equals[-number % len(equals)]
    return max(equals, key=lambda index: rendezvous(number, seeds[index]))


def rendezvous(number: int, seed: int) -> int:
    """
    The weight of a replica for a request: the one with the highest gets it (highest random weight,
    https://en.wikipedia.org/wiki/Rendezvous_hashing). Two rounds of multiply and shift: one is not
    even enough, nor is the hash of a tuple.
    """
    return (((number ^ seed) * _MIX & _WORD) >> 32) * _MIX_AGAIN & _WORD
