"""What a benchmark found, as it is kept, and the questions that tables ask of it. Pure."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from .rig import Run

# Two-sided 95 % quantiles of Student's t distribution, by degrees of freedom.
_T = (math.inf, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
_NORMAL = 1.96


class Mean(msgspec.Struct, frozen=True):
    """The mean over seeds and half the width of its 95 % confidence interval."""

    value: float
    half: float
    count: int


class Results(msgspec.Struct, kw_only=True):
    """All runs, and what is needed to read them."""

    machine: dict[str, str] = {}
    titles: dict[str, str] = {}
    kinds: dict[str, str] = {}
    speeds: dict[str, float] = {}
    labels: dict[str, str] = {}
    ours: list[str] = []
    runs: list[Run] = []
    missing: dict[str, str] = {}
    settings: dict[str, Any] = {}
    """What was merged into Headrace's configuration."""
    elapsed_s: float = 0.0

    def has(self, cell: str, router: str, seed: int) -> bool:
        """Whether this was played."""
        return any((run.cell, run.router, run.seed) == (cell, router, seed) for run in self.runs)

    def all_of(self, cell: str, router: str) -> list[Run]:
        return [run for run in self.runs if run.cell == cell and run.router == router]

    def of(self, cell: str, router: str) -> list[Run]:
        """The valid runs; if there is none, all of them: tables say so."""
        found = self.all_of(cell, router)
        return [run for run in found if not run.invalid] or found

    def doubtful(self, cell: str, router: str) -> bool:
        """Whether no run was valid."""
        return all(run.invalid for run in self.all_of(cell, router))

    def routers(self, cell: str) -> list[str]:
        """Those that played, by mean TTFT."""
        played = dict.fromkeys(run.router for run in self.runs if run.cell == cell)
        return sorted(played, key=lambda name: self.mean(cell, name, mean_ttft).value)

    def cells(self) -> list[str]:
        return list(dict.fromkeys(run.cell for run in self.runs))

    def mean(self, cell: str, router: str, figure: Callable[[Run], float]) -> Mean:
        """A figure over the seeds."""
        return mean([figure(run) for run in self.of(cell, router)])


def mean_ttft(run: Run) -> float:
    return run.figures.ttft.mean


def mean(values: Sequence[float]) -> Mean:
    """Mean and confidence; with one value nothing is known about it."""
    count = len(values)
    if not count:
        return Mean(math.nan, math.nan, 0)
    middle = sum(values) / count
    if count == 1:
        return Mean(middle, math.nan, 1)
    variance = sum((value - middle) ** 2 for value in values) / (count - 1)
    quantile = _T[count - 1] if count <= len(_T) else _NORMAL
    return Mean(middle, quantile * math.sqrt(variance / count), count)
