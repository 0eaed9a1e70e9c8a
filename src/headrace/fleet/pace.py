"""
How often replicas are asked how they are: the less often, the more of them there are and the less
is to be learned. What they are asked, and what follows from it, is health.py's.
"""

import random

from headrace.fleet.states import State
from headrace.fleet.ward import Ward

JITTER = 0.1  # of an interval, so that the probes of many gateways do not march in step
# Above so many replicas those that idle are read, and those that are seen to answer are read and
# checked, less often: at most after so many intervals. An engine's metrics are some 60 kB, which is
# much for a fleet of hundreds.
MANY, SELDOM = 64, 4.0


def jittered(seconds: float) -> float:
    """So many seconds, give or take a tenth."""
    return seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - spreads, hides nothing


def stretch(replicas: int) -> float:
    """How many intervals may pass in a fleet of so many; at most 1 where it is not large."""
    return min(SELDOM, replicas / MANY)


def first(interval_s: float, replicas: int) -> float:
    """Until the first reading (s): the replicas of a large fleet are all added in one moment."""
    most = stretch(replicas)
    return jittered(interval_s * random.uniform(1, max(1, most)))  # noqa: S311 - as above


def may_read_later(ward: Ward, now: float, interval_s: float, replicas: int) -> bool:
    """Whether its numbers are not needed yet: it does nothing, or its answers show it lives."""
    if ward.load_failures or now - ward.load_at >= stretch(replicas) * interval_s:
        return False
    replica = ward.replica
    idle = not replica.inflight_requests and not replica.running
    return idle or now - ward.suspect.signed_at < interval_s


def may_check_later(ward: Ward, now: float, interval_s: float, replicas: int) -> bool:
    """Whether a check can wait, since in a large fleet its answers say the same: it lives."""
    most = stretch(replicas)
    if most <= 1 or ward.bad or ward.replica.state is not State.READY:
        return False
    return now - ward.good_at < most * interval_s and now - ward.suspect.signed_at < interval_s
