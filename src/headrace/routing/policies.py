"""The ways to choose a replica, side by side. A new one is a function here, and a test."""

from collections.abc import Sequence


def least_tokens(loads: Sequence[int], turn: int) -> int:
    """
    The index of the smallest load; among equals, the first at or after ``turn`` (modulo the count).

    ``loads`` are in-flight tokens, at least one. A turn that grows with each request walks over
    equals instead of sending a burst to one of them (llm-d-router#2515 shows the herd).
    """
    start = turn % len(loads)
    if not loads[start]:
        return start  # nothing beats idle, and looking at all of 256 replicas costs 3 microseconds
    least = min(loads)
    try:
        return loads.index(least, start)
    except ValueError:
        return loads.index(least)
