"""
Means of series over spans of a grid. A diagnosis of hundreds of replicas asks for hundreds of
thousands: each column is added up once, and then every span of it takes the same short time. Pure.
"""

import math
from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate

from headrace.diagnose.series import Key
from headrace.diagnose.snapshot import Grid

NAN = math.nan
Labels = tuple[str | None, ...]
Bounds = tuple[int, int]
"""The first step of a span, and the one behind its last."""


class Totals:
    """Of one grid. Columns are added up when they are first asked for."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._keys: dict[str, list[Key]] = {}
        for key in grid.series:
            self._keys.setdefault(key[0], []).append(key)
        self._columns: dict[Key, _Column] = {}
        self._found: dict[tuple[str, Labels], tuple[_Column, ...]] = {}

    def labels(self, name: str) -> set[tuple[str, ...]]:
        """The values of labels that a series of that name has."""
        return {labels for _, labels in self._keys.get(name, ())}

    def mean(self, bounds: Bounds, name: str, labels: Labels) -> float:
        """The mean over one span, summed over the labels that are None; NaN: unknown."""
        columns = self._columns_of(name, labels)
        if len(columns) == 1:
            return columns[0].mean(*bounds)
        return _sum(column.mean(*bounds) for column in columns)

    def means(self, spans: Sequence[Bounds], name: str, labels: Labels) -> list[float]:
        """The same of several spans."""
        columns = self._columns_of(name, labels)
        if not columns:
            return [NAN] * len(spans)
        if len(columns) == 1:
            return columns[0].means(spans)
        each = zip(*(column.means(spans) for column in columns), strict=True)
        return [_sum(values) for values in each]

    # --- below -----------------------------------------------------------------------------

    def _columns_of(self, name: str, labels: Labels) -> "tuple[_Column, ...]":
        found = self._found.get((name, labels))
        if found is None:
            found = self._found[name, labels] = self._matching(name, labels)
        return found

    def _matching(self, name: str, labels: Labels) -> "tuple[_Column, ...]":
        exact: Key = name, tuple(label for label in labels if label is not None)
        if len(exact[1]) == len(labels) and exact in self._grid.series:
            return (self._column(exact),)
        return tuple(
            self._column(key)
            for key in self._keys.get(name, ())
            if all(w is None or w == v for w, v in zip(labels, key[1], strict=False))
        )

    def _column(self, key: Key) -> "_Column":
        found = self._columns.get(key)
        if found is None:
            found = self._columns[key] = _Column(self._grid.series[key])
        return found


class _Column:
    """One series, added up from its beginning; ``counts`` only if something is missing in it."""

    __slots__ = ("_counts", "_sums")

    def __init__(self, values: Sequence[float]) -> None:
        self._counts: array[int] | None = None
        whole = sum(values)
        if whole != whole:  # noqa: PLR0124 - NaN: some are not known
            self._counts = array("H", accumulate((v == v for v in values), initial=0))  # noqa: PLR0124
            values = [v if v == v else 0.0 for v in values]  # noqa: PLR0124
        self._sums = array("d", accumulate(values, initial=0.0))

    def mean(self, begin: int, end: int) -> float:
        """NaN where nothing is known."""
        count = end - begin if self._counts is None else self._counts[end] - self._counts[begin]
        return (self._sums[end] - self._sums[begin]) / count if count > 0 else NAN

    def means(self, spans: Iterable[Bounds]) -> list[float]:
        """The same of several spans."""
        sums, counts = self._sums, self._counts
        if counts is None:
            return [
                (sums[end] - sums[begin]) / (end - begin) if end > begin else NAN
                for begin, end in spans
            ]
        return [
            (sums[end] - sums[begin]) / known if (known := counts[end] - counts[begin]) > 0 else NAN
            for begin, end in spans
        ]


def _sum(values: Iterable[float]) -> float:
    """Of those that are known; NaN when none is."""
    found = [value for value in values if value == value]  # noqa: PLR0124 - NaN
    return sum(found) if found else NAN
