"""Series over time as a diagnosis reads them, wherever they come from. Pure."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence

from msgspec import Struct

from headrace.diagnose.series import Key


def known(value: float) -> bool:
    """Whether it is a number; NaN is what nobody knows."""
    return not math.isnan(value)


class Grid(Struct, frozen=True):
    """
    Values at equal steps. ``times`` (s since 1970) are the ends of the steps; each series has a
    value for each of them, NaN where nothing is known.
    """

    step_s: float
    times: Sequence[float]
    series: Mapping[Key, Sequence[float]]

    def between(self, begin_s: float, end_s: float) -> tuple[int, int]:
        """The indices of the steps that end within; the second is the first behind them."""
        slack = self.step_s / 4  # a tick that came late belongs to its step
        return (
            bisect_right(self.times, begin_s + slack),
            bisect_left(self.times, end_s + slack),
        )


class Snapshot(Struct, frozen=True):
    """
    What is known at ``at_s``: the last minutes in small steps, the last day in large ones.

    ``unseen`` are replicas that nothing is known of for want of room, ``known_s`` is since when
    anything is known of the others; NaN where that cannot be said.
    """

    at_s: float
    fine: Grid
    coarse: Grid
    unseen: tuple[str, ...] = ()
    known_s: float = math.nan
