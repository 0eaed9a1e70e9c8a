"""
How a replica that joins others comes to its full share: a penalty in tokens. Pure.

Requests go to the smallest load. A replica whose load seems ``(1 - weight)`` times the mean of its
peers higher than it is settles at ``weight`` times that mean, and an idle fleet, where there is
nothing to protect a replica from, has no penalty at all. The price on the data path is none: the
penalty is in the number that routing compares anyway.
"""

from collections.abc import Sequence

FIRST = 0.1  # the weight at the beginning
DEGRADED = 0.5  # the weight of a replica that something is wrong with


def weight(age_s: float, slow_start_s: float) -> float:
    """The share of a full load that a replica of this age should have, 0.1 to 1."""
    if age_s >= slow_start_s:
        return 1.0
    return FIRST + (1 - FIRST) * age_s / slow_start_s


def penalty(weight: float, peers: Sequence[int]) -> int:
    """What to add to the load of a replica of this weight; ``peers`` are in-flight tokens."""
    return round((1 - weight) * sum(peers) / len(peers)) if peers else 0
