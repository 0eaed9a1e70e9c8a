"""Order statistics: how many numbers become the one that is printed. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of a few repetitions, and the lowest and highest beside it."""

    median: float
    low: float
    high: float


def percentile(values: Sequence[float], share: float) -> float:
    """
    The smallest value that at least `share` (0..1) of the values do not exceed; 0.0 if empty.

    Nearest rank, not interpolation: the answer is always a value that was really measured.
    """
    if not values:
        return 0.0
    ordered = sorted(values)
    rank = -int(-share * len(ordered) // 1)
    return ordered[min(len(ordered), max(1, rank)) - 1]


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two middle ones."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


def spread(values: Sequence[float]) -> Spread | None:
    """None when nothing was measured: an absent number must not look like a zero."""
    if not values:
        return None
    return Spread(median(values), min(values), max(values))
