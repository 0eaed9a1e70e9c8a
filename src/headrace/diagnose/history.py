"""
The last day of every series in bounded memory: 5 s steps for 15 minutes, minutes for 24 h.
Pure: who reads the metrics, and when, is gateway/records/recorder.py's. Nothing survives a restart.

Memory: 4 bytes a value. A series has 180 + 1440 of them, 6.5 kB; a gateway with 64 replicas, 50
tenants and a few models has some 2,000 series, 13 MB. Above ``MAX_SERIES`` (27 MB) new ones are not
kept, and counted.
"""

import math
from array import array
from collections.abc import Mapping

from headrace.diagnose.series import TABLE, Key
from headrace.diagnose.snapshot import Grid, Snapshot, known

STEP_S = 5.0
FINE, COARSE = 180, 1440  # steps that are kept: 15 minutes, 24 hours
PER_COARSE = 12  # small steps in a large one
MAX_SERIES = 4096
NAN = math.nan


class History:
    """Takes one reading at each step."""

    def __init__(self, step_s: float = STEP_S, *, fine: int = FINE, coarse: int = COARSE) -> None:
        self.step_s = step_s
        self.refused = 0  # series that had no room
        self._kept = fine, coarse
        self._fine = _Ring(fine)
        self._coarse = _Ring(coarse)
        self._before: Mapping[Key, float] | None = None
        self._before_s = 0.0

    def __len__(self) -> int:
        return len(self._fine.series)

    def add(self, at_s: float, reading: Mapping[Key, float]) -> None:
        """
        What the metrics are at this moment: gauges as they are, counters since their start.
        """
        passed_s = at_s - self._before_s
        before, self._before, self._before_s = self._before, reading, at_s
        values: dict[Key, float] = {}
        for key, value in reading.items():
            series = TABLE[key[0]]
            if series.kind == "gauge":
                values[key] = value
            elif before is not None and passed_s > 0:
                start = before.get(key, NAN if series.foreign else 0.0)
                values[key] = (value - start if value >= start or not known(start) else value) / (
                    passed_s
                )
        self.refused += self._fine.add(at_s, values)
        if len(self._fine.times) % PER_COARSE == 0 or self._due(at_s):
            self._shrink(at_s)

    def snapshot(self, at_s: float | None = None) -> Snapshot:
        """What was known then; by default now."""
        times = self._fine.times
        moment = at_s if at_s is not None else (times[-1] if times else 0.0)
        return Snapshot(
            moment,
            self._fine.grid(self.step_s, moment),
            self._coarse.grid(self.step_s * PER_COARSE, moment),
        )

    # --- below -----------------------------------------------------------------------------

    def _due(self, at_s: float) -> bool:
        times = self._coarse.times
        return bool(times) and at_s >= times[-1] + self.step_s * (PER_COARSE - 0.5)

    def _shrink(self, at_s: float) -> None:
        """The mean of the small steps since the last large one becomes the next large one."""
        times = self._coarse.times
        if times and at_s < times[-1] + self.step_s * (PER_COARSE - 0.5):
            return
        means: dict[Key, float] = {}
        for key, values in self._fine.series.items():
            finite = [value for value in values[-PER_COARSE:] if known(value)]
            if finite:
                means[key] = sum(finite) / len(finite)
        self._coarse.add(at_s, means)
        self._fine.tidy(self._coarse)


class _Ring:
    """Series of equal length; the oldest step falls out."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self.times: array[float] = array("d")
        self.series: dict[Key, array[float]] = {}

    def add(self, at_s: float, values: Mapping[Key, float]) -> int:
        """Append a step; returns how many new series had no room."""
        refused = 0
        length = len(self.times)
        for key in values.keys() - self.series.keys():
            if len(self.series) >= MAX_SERIES:
                refused += 1
                continue
            self.series[key] = array("f", [NAN]) * length
        self.times.append(at_s)
        for key, kept in self.series.items():
            kept.append(values.get(key, NAN))
        if length >= self._steps:
            del self.times[0]
            for kept in self.series.values():
                del kept[0]
        return refused

    def tidy(self, other: "_Ring") -> None:
        """Forget what has no value any more here nor there: replicas and tenants that left."""
        for key in [key for key, kept in self.series.items() if all(not known(v) for v in kept)]:
            there = other.series.get(key)
            if there is None or all(not known(value) for value in there):
                del self.series[key]
                other.series.pop(key, None)

    def grid(self, step_s: float, until_s: float) -> Grid:
        times = self.times
        if not times or times[-1] <= until_s:
            return Grid(step_s, times[:], {key: kept[:] for key, kept in self.series.items()})
        end = sum(each <= until_s for each in times)
        return Grid(step_s, times[:end], {key: kept[:end] for key, kept in self.series.items()})
