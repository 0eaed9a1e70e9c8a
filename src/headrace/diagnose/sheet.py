"""
Rows of readings, read by columns: what the history keeps, as a diagnosis asks for it, and rows of
an hour put together small. Which rows are kept, and for how long, is history.py's. Pure.
"""

import math
import sys
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from headrace.diagnose.series import Key

Row: TypeAlias = "array[float]"
"""Of float32, a value for each slot; a row that is too short for a slot knows nothing of it."""

BLANK = array("f", [math.nan])
LITTLE = sys.byteorder == "little"
KEPT = (1, 2, 3) if LITTLE else (0, 1, 2)  # bytes of a float32: all but the last of its mantissa
QUICK = 1  # zlib's level: the better ones take several times as long for a tenth less


class Place(NamedTuple):
    """Where the values of a series are in each row, and from when on (s since 1970)."""

    slot: int
    born_s: float


class Sheet(Mapping[Key, Sequence[float]]):
    """
    The columns of some rows: each is made when it is asked for. What a slot held before its series
    was born belongs to another one.
    """

    def __init__(
        self, places: Mapping[Key, Place], times: Sequence[float], rows: Sequence[Row]
    ) -> None:
        self._places = dict(places)
        self._times = times
        self._width = max(map(len, rows), default=0)
        self._cells = _joined(rows, self._width)

    def __getitem__(self, key: Key) -> Sequence[float]:
        slot, born_s = self._places[key]
        if slot >= self._width:
            return BLANK * len(self._times)
        column = self._cells[slot :: self._width]
        before = bisect_left(self._times, born_s)
        if before:
            column[:before] = BLANK * before
        return column

    def __iter__(self) -> Iterator[Key]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


class Pack(NamedTuple):
    """
    Rows in a fraction of their room. A number keeps 15 bits of its mantissa: it is off by 0.003 %
    at most. Columns stand one behind the other, bytes of the same weight together: most series
    hardly change, and take next to nothing.
    """

    times: Sequence[float]
    width: int
    planes: tuple[bytes, ...]

    def rows(self) -> list[Row]:
        """What was packed."""
        high = len(self.times)
        raw = bytearray(4 * high * self.width)
        for plane, at in zip(self.planes, KEPT, strict=True):
            raw[at::4] = zlib.decompress(plane)
        cells = array("f")
        cells.frombytes(raw)
        return [cells[number::high] for number in range(high)]


def pack(times: Sequence[float], rows: Sequence[Row]) -> Pack:
    """All of these rows."""
    width = max(map(len, rows), default=0)
    cells = _joined(rows, width)
    columns = array("f")
    for slot in range(width):
        columns.extend(cells[slot::width])
    raw = columns.tobytes()
    return Pack(times, width, tuple(zlib.compress(raw[at::4], QUICK) for at in KEPT))


def _joined(rows: Sequence[Row], width: int) -> Row:
    """One behind the other, all of the same length."""
    cells = array("f")
    for row in rows:
        cells.extend(row)
        if len(row) < width:
            cells.extend(BLANK * (width - len(row)))
    return cells
