"""
The last day of every series in bounded memory: 5 s steps for 15 minutes, minutes for 24 h.
Pure: who reads the metrics, and when, is gateway/records/recorder.py's. Nothing survives a restart.

A step is one row of float32 for all series; hours are packed (sheet.py). docs/diagnosis.md says
what that takes. Above ``MAX_SERIES`` those that have ended make room, the longest ended first; then
the series of whole replicas are not kept, and told.
"""

import math
from array import array
from collections import deque
from collections.abc import Iterable, Mapping
from itertools import islice, zip_longest

from headrace.diagnose.series import TABLE, Key
from headrace.diagnose.sheet import Pack, Place, Row, Sheet, pack
from headrace.diagnose.snapshot import Grid, Snapshot

STEP_S = 5.0
FINE, COARSE = 180, 1440  # steps that are kept: 15 minutes, 24 hours
PER_COARSE = 12  # small steps in a large one
PACKED = 60  # large steps that are packed together
# 256 replicas and 50 tenants have 9,300, and as many again after each rollout, for a day.
MAX_SERIES = 32_768
NAN = math.nan


class History:
    """Takes one reading at each step."""

    def __init__(self, step_s: float = STEP_S, *, fine: int = FINE, coarse: int = COARSE) -> None:
        self.step_s = step_s
        self.refused = 0  # series of the last reading that had no room
        self.unseen: tuple[str, ...] = ()  # the replicas that they are of
        self._kept = fine, coarse
        self._places: dict[Key, Place] = {}
        self._free: list[int] = []
        self._seen = array("d")  # when each place last had a value
        self._before = array("d")  # the last reading
        self._before_s: float | None = None
        self._times: deque[float] = deque(maxlen=fine)
        self._rows: deque[Row] = deque(maxlen=fine)
        self._large: list[tuple[float, Row]] = []
        self._packs: deque[Pack] = deque()

    def __len__(self) -> int:
        return len(self._places)

    @property
    def packed_bytes(self) -> int:
        """What packed hours take."""
        return sum(len(plane) for each in self._packs for plane in each.planes)

    def add(self, at_s: float, reading: Mapping[Key, float]) -> None:
        """
        What the metrics are at this moment: gauges as they are, counters since their start.
        """
        self._make_room(at_s, reading)
        passed_s = at_s - self._before_s if self._before_s is not None else NAN
        now, row = array("d", [NAN]) * len(self._seen), array("f", [NAN]) * len(self._seen)
        before, seen, places = self._before, self._seen, self._places
        for key, value in reading.items():
            place = places.get(key)
            if place is None:
                continue
            slot = place.slot
            now[slot], seen[slot] = value, at_s
            series = TABLE[key[0]]
            if series.kind == "gauge":
                row[slot] = value
            elif passed_s > 0:
                start = before[slot] if slot < len(before) else NAN
                if start != start and not series.foreign:  # noqa: PLR0124 - NaN
                    start = 0.0  # ours begin there when they are first seen
                row[slot] = (value if value < start else value - start) / passed_s
        self._before, self._before_s = now, at_s
        self._times.append(at_s)
        self._rows.append(row)
        if self._due(at_s):
            self._shrink(at_s)

    def snapshot(self, at_s: float | None = None, begin_s: float = -math.inf) -> Snapshot:
        """What was known then, by default now; of large steps those since ``begin_s``."""
        moment = at_s if at_s is not None else (self._times[-1] if self._times else 0.0)
        fine = [each for each in zip(self._times, self._rows, strict=True) if each[0] <= moment]
        coarse = [each for each in self._coarse(begin_s) if begin_s <= each[0] <= moment]
        return Snapshot(
            moment,
            self._grid(self.step_s, fine),
            self._grid(self.step_s * PER_COARSE, coarse),
            self.unseen,
            self._known_s(),
        )

    # --- below -----------------------------------------------------------------------------

    def _grid(self, step_s: float, steps: list[tuple[float, Row]]) -> Grid:
        times = array("d", [at_s for at_s, _ in steps])
        return Grid(step_s, times, Sheet(self._places, times, [row for _, row in steps]))

    def _coarse(self, begin_s: float) -> list[tuple[float, Row]]:
        """The large steps, of packed ones only those that may be in question."""
        packed = [
            step
            for each in self._packs
            if each.times[-1] >= begin_s
            for step in zip(each.times, each.rows(), strict=True)
        ]
        return [*packed, *self._large][-self._kept[1] :]

    def _known_s(self) -> float:
        """Since when anything is known."""
        if self._packs:
            return self._packs[0].times[0]
        return min([*islice(self._times, 1), *(at_s for at_s, _ in self._large[:1])], default=NAN)

    def _due(self, at_s: float) -> bool:
        if not self._large:
            last_s = self._packs[-1].times[-1] if self._packs else None
        else:
            last_s = self._large[-1][0]
        if last_s is None:
            return len(self._times) % PER_COARSE == 0
        return at_s >= last_s + self.step_s * (PER_COARSE - 0.5)

    def _shrink(self, at_s: float) -> None:
        """The mean of the small steps since the last large one becomes the next large one."""
        steps = islice(self._rows, max(0, len(self._rows) - PER_COARSE), None)
        self._large.append((at_s, array("f", map(_mean, zip_longest(*steps, fillvalue=NAN)))))
        if len(self._large) > PACKED:
            times, rows = zip(*self._large[:PACKED], strict=True)
            self._packs.append(pack(array("d", times), rows))
            del self._large[:PACKED]
        spare = len(self._large) + sum(len(each.times) for each in self._packs) - self._kept[1]
        if self._packs and spare >= len(self._packs[0].times):
            self._packs.popleft()
        elif not self._packs and spare > 0:
            del self._large[:spare]
        oldest_s = self._known_s()
        self._forget([key for key in self._places if self._ended(key) < oldest_s])

    # --- room ------------------------------------------------------------------------------

    def _make_room(self, at_s: float, reading: Mapping[Key, float]) -> None:
        """Give new series a place."""
        new = [key for key in reading if key not in self._places]
        self.refused, self.unseen = 0, ()
        if not new:
            return
        short = len(self._places) + len(new) - MAX_SERIES
        if short > 0:
            ended = sorted((key for key in self._places if key not in reading), key=self._ended)
            self._forget(ended[:short])
            new = self._chosen(new)
        for key in new:
            if self._free:
                slot = self._free.pop()
                self._before[slot] = NAN
            else:
                slot = len(self._seen)
                self._seen.append(at_s)
            self._places[key] = Place(slot, at_s)

    def _chosen(self, new: list[Key]) -> list[Key]:
        """Those that there is room for: first what is of no replica, then replica by replica."""
        room = MAX_SERIES - len(self._places)
        sets: dict[str, list[Key]] = {}
        for key in new:
            sets.setdefault(_replica(key), []).append(key)
        chosen: list[Key] = []
        unseen = []
        for name, keys in sorted(sets.items()):
            free = room - len(chosen)
            if len(keys) <= free:
                chosen += keys
                continue
            if name:
                unseen.append(name)
            else:
                chosen += keys[:free]
        self.refused = len(new) - len(chosen)
        self.unseen = tuple(unseen)
        return chosen

    def _ended(self, key: Key) -> float:
        """When a series last had a value."""
        return self._seen[self._places[key].slot]

    def _forget(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self._free.append(self._places.pop(key).slot)


def _replica(key: Key) -> str:
    """Whose it is; empty: of no replica."""
    by = TABLE[key[0]].by
    return key[1][by.index("replica")] if "replica" in by else ""


def _mean(values: tuple[float, ...]) -> float:
    whole = sum(values)
    if whole == whole:  # noqa: PLR0124 - NaN: nothing is missing, as nearly always
        return whole / len(values)
    finite = [value for value in values if value == value]  # noqa: PLR0124 - NaN
    return sum(finite) / len(finite) if finite else NAN
