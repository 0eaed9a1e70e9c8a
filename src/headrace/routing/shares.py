"""
Stable parts of traffic: the same caller is always in a share or never, in every process, with no
state anywhere.
"""

import hashlib
import math
from collections.abc import Sequence

BITS = 53  # what a float holds exactly


def fraction(salt: str, identity: str) -> float:
    """
    A number above 0 and below 1 that is the same for the same texts, everywhere and for ever.

    Different salts give independent numbers, so that one percentage says nothing of another.
    """
    text = f"{salt}\0{identity}".encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(text, digest_size=8).digest()
    return ((int.from_bytes(digest, "big") >> (64 - BITS)) + 0.5) / (1 << BITS)


def within(salt: str, identity: str, percent: float) -> bool:
    """Whether the identity is in a share; a larger percentage keeps all who were in a smaller."""
    return fraction(salt, identity) * 100 < percent


def assign(salt: str, identity: str, names: Sequence[str], weights: Sequence[float]) -> int:
    """
    The index of the arm that an identity belongs to; the weights are relative, at least one is
    above 0.

    Weighted rendezvous hashing (https://dl.acm.org/doi/10.1145/1073970.1073982): an arm whose
    weight grows takes identities from all others in proportion, and none moves between these.
    """
    best, least = -1, math.inf
    for index, weight in enumerate(weights):
        if weight > 0:
            distance = -math.log(fraction(f"{salt}\0{names[index]}", identity)) / weight
            if best < 0 or distance < least:
                best, least = index, distance
    return best


def reweighed(weights: Sequence[float], arm: int, percent: float) -> tuple[float, ...]:
    """
    Weights, out of 100, in which one arm has ``percent`` and the others keep their proportions.

    If nobody else has a weight, the others share what is left equally.
    """
    rest = sum(weights) - weights[arm]
    left = 100.0 - percent
    return tuple(
        percent if index == arm else left * (weight / rest if rest > 0 else 1 / (len(weights) - 1))
        for index, weight in enumerate(weights)
    )
