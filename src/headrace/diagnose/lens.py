"""
A look at a snapshot: what a number is in the focus, and what it usually is. Pure.

The focus is a short stretch of time; the usual is the same number over many stretches before it.
Sums and counts are added up over a stretch before they are divided, so that a mean is that of its
requests, not of its steps.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import NamedTuple

from headrace.diagnose.snapshot import Grid, Snapshot, known
from headrace.diagnose.totals import Totals

# 45 s of 5 s steps: what has lasted for a minute fills it. Of larger steps at least three.
FOCUS_S, FOCUS_STEPS, LEAST_STEPS = 45.0, 9, 3
STRETCHES = 24  # of the usual, at most
WINDOW_S = 900.0  # before which the usual lies, or earlier: as long as small steps are kept
BASE_COARSE = 60  # large steps before the window that are the usual
FEW_COARSE = 5  # with fewer of them the window's own beginning is
# Standard errors that a change of a mean must have. A look asks for some fifty numbers, steps are
# not independent of each other, and few requests have heavy tails: three would not do.
SURE = 4.0
FEW_KNOWN = 6.0  # so few stretches say half as well how far a number strays as many do
NAN = math.nan


class Span(NamedTuple):
    """Some steps of a grid; ``end`` is behind the last."""

    grid: Grid
    begin: int
    end: int

    @property
    def seconds(self) -> float:
        return (self.end - self.begin) * self.grid.step_s


class Seen(NamedTuple):
    """
    A number: in the focus, and usually: its median, and the bounds that it leaves in a tenth of all
    stretches each. NaN where nothing is known. ``error`` is the standard error of the difference
    of the first two, by how much steps differ from each other; 0 where it cannot be told.
    """

    now: float
    usual: float
    low: float
    high: float
    error: float = 0.0

    @property
    def ratio(self) -> float:
        """How many times the usual; 1 where either is not known."""
        if not (known(self.now) and known(self.usual)):
            return 1.0
        if self.usual <= 0:
            return math.inf if self.now > 0 else 1.0
        return self.now / self.usual

    @property
    def more(self) -> float:
        """How much above the usual. Unknown, the usual counts as 0, and the number as usual."""
        usual = self.usual if known(self.usual) else 0.0
        return self.now - usual if known(self.now) else 0.0

    def rose(self, ratio: float, least: float, *, blank: bool = False) -> bool:
        """
        Whether it is so many times the usual, so much more, and above what it varies. An unknown
        usual is no change; with ``blank`` it counts as 0.
        """
        if not known(self.now) or self.more < least:
            return False
        if not known(self.usual):
            return blank
        if self.more < SURE * self.error:
            return False
        return self.ratio >= ratio and self.now > self.high * 1.05

    def fell(self, ratio: float, least: float) -> bool:
        """Whether it is at most this part of the usual, so much less, and below what it varies."""
        if not known(self.now) or not known(self.usual) or -self.more < least:
            return False
        if -self.more < SURE * self.error:
            return False
        return self.ratio <= ratio and self.now < self.low * 0.95


Measure = Callable[[Span], float]


class Lens:
    """Numbers of one snapshot with one focus."""

    def __init__(self, snapshot: Snapshot, since_s: float, until_s: float | None = None) -> None:
        """The focus ends at ``until_s``, by default at the snapshot's end."""
        self.snapshot = snapshot
        self.end_s = snapshot.at_s if until_s is None else until_s
        self.focus = _focus(snapshot, self.end_s)
        self.bases = _bases(snapshot, since_s, self.focus, self.end_s)
        self._since_s = since_s
        self._steps = _single(self.bases)
        self._fine, self._coarse = Totals(snapshot.fine), Totals(snapshot.coarse)
        self._names: dict[tuple[str, int], list[str]] = {}

    def before(self, until_s: float) -> "Lens":
        """A look at an earlier moment."""
        lens = Lens(self.snapshot, self._since_s, until_s)
        lens._fine, lens._coarse = self._fine, self._coarse  # what is added up stays so
        lens._names = self._names
        return lens

    @property
    def blind(self) -> bool:
        """Whether too little is known to say anything."""
        return self.focus.end - self.focus.begin < LEAST_STEPS or len(self.bases) < LEAST_STEPS

    def names(self, name: str, place: int = 0) -> list[str]:
        """The values that a label of a series has."""
        found = self._names.get((name, place))
        if found is None:
            values = self._fine.labels(name) | self._coarse.labels(name)
            found = self._names[name, place] = sorted({labels[place] for labels in values})
        return found

    def total(self, span: Span, name: str, *labels: str | None) -> float:
        """The mean of a series over a span, summed over the labels that are None; NaN: unknown."""
        return self._totals(span.grid).mean((span.begin, span.end), name, labels)

    def last(self, name: str, *labels: str | None) -> float:
        """A gauge's sum at the end of the focus; NaN where it is not known."""
        end = self.focus.end
        return self.total(Span(self.focus.grid, end - 1, end), name, *labels)

    def seen(self, measure: Measure) -> Seen:
        """A number in the focus and usually."""
        return _compared(measure(self.focus), [measure(span) for span in self.bases])

    def beyond(self, measure: Measure) -> float:
        """
        By how many standard deviations of its logarithm a number is above its usual: little where
        it often moves as far by itself, as the demand of a few long sessions does.
        """
        usual = [value for span in self.bases if (value := measure(span)) > 0]
        now = measure(self.focus)
        if len(usual) < LEAST_STEPS or not now > 0:
            return 0.0
        middle = median(usual)
        spread = sum(math.log(value / middle) ** 2 for value in usual) / (len(usual) - 1)
        return math.log(now / middle) / math.sqrt(spread) if spread > 0 else math.inf

    def level(self, name: str, *labels: str | None) -> Seen:
        """A series as it is."""
        return _compared(
            self.total(self.focus, name, *labels), self._totals_of(self.bases, name, labels)
        )

    def mean(self, prefix: str, *labels: str | None) -> Seen:
        """The mean of a histogram's values."""
        return self.quotient(f"{prefix}_sum", f"{prefix}_n", *labels)

    def quotient(self, above: str, below: str, *labels: str | None) -> Seen:
        """One series over another, with its standard error."""
        upper = self._totals_of(self.bases, above, labels)
        lower = self._totals_of(self.bases, below, labels)
        usual = [a / b if b > 0 else NAN for a, b in zip(upper, lower, strict=True)]
        seen = _compared(self.ratio(self.focus, above, below, *labels), usual)
        return seen._replace(error=self._error(above, below, *labels))

    def ratio(self, span: Span, above: str, below: str, *labels: str | None) -> float:
        """The same in one span; NaN where there is nothing to divide by."""
        divisor = self.total(span, below, *labels)
        return self.total(span, above, *labels) / divisor if divisor > 0 else NAN

    # --- below -----------------------------------------------------------------------------

    def _totals(self, grid: Grid) -> Totals:
        return self._fine if grid is self.snapshot.fine else self._coarse

    def _totals_of(
        self, spans: Sequence[Span], name: str, labels: tuple[str | None, ...]
    ) -> list[float]:
        """The totals of spans of one grid."""
        if not spans:
            return []
        bounds = [(span.begin, span.end) for span in spans]
        return self._totals(spans[0].grid).means(bounds, name, labels)

    def _error(self, above: str, below: str, *labels: str | None) -> float:
        """
        The standard error of a ratio in the focus against the usual one, as that of a sample of
        clusters: steps are the clusters (Cochran, Sampling Techniques, section 6.4). What a step
        differs by from the ratio grows with what is counted in it.
        """
        single = self._steps
        upper = self._totals_of(single, above, labels)
        lower = self._totals_of(single, below, labels)
        pairs = [(a, b) for a, b in zip(upper, lower, strict=True) if a + b == a + b]  # known
        there = sum(b for _, b in pairs)
        here = self.total(self.focus, below, *labels)
        if len(pairs) < LEAST_STEPS or there <= 0 or not here > 0:
            return 0.0
        ratio = sum(a for a, _ in pairs) / there
        spread = sum((a - ratio * b) ** 2 for a, b in pairs) / (len(pairs) - 1)
        each = there / len(pairs)
        long = single[0].grid.step_s / self.focus.grid.step_s  # a coarse step is many fine ones
        count = (self.focus.end - self.focus.begin) / long
        return math.sqrt(spread / (count * here * each) + spread / (len(pairs) * each * each))


def steps(span: Span) -> list[Span]:
    """The single steps of a span."""
    return [Span(span.grid, at, at + 1) for at in range(span.begin, span.end)]


def focus_steps(grid: Grid) -> int:
    """Steps of a focus: fewer when they are larger, as Prometheus' are."""
    if grid.step_s <= FOCUS_S / FOCUS_STEPS:
        return FOCUS_STEPS
    return max(LEAST_STEPS, round(FOCUS_S / grid.step_s))


def focus_s(grid: Grid) -> float:
    """How long a focus is."""
    return focus_steps(grid) * grid.step_s


def reach_s(since_s: float, step_s: float) -> float:
    """How far back a look at a window goes, with large steps of that length."""
    return max(since_s, WINDOW_S) + (BASE_COARSE + 1) * step_s


def _span(grid: Grid, begin_s: float, end_s: float) -> Span:
    return Span(grid, *grid.between(begin_s, end_s))


def _focus(snapshot: Snapshot, end_s: float) -> Span:
    """In small steps; in large ones, up to the last that is over, where these are forgotten."""
    fine, coarse = snapshot.fine, snapshot.coarse
    small = _span(fine, end_s - focus_s(fine), end_s)
    if small.end - small.begin >= LEAST_STEPS:
        return small
    last_s = max((at_s for at_s in coarse.times if at_s <= end_s), default=end_s)
    last_s = last_s if end_s - last_s < coarse.step_s else end_s
    large = _span(coarse, last_s - focus_s(coarse), last_s)
    return large if large.end - large.begin >= LEAST_STEPS else small


def _bases(snapshot: Snapshot, since_s: float, focus: Span, end_s: float) -> list[Span]:
    """
    The stretches that are the usual: the hour before the window, else what is known in the steps of
    the focus. A short window is compared with the same as a long one, and so has the same answer.
    """
    coarse, grid = snapshot.coarse, focus.grid
    begin_s = snapshot.at_s - max(since_s, WINDOW_S)
    hour = _span(coarse, begin_s - BASE_COARSE * coarse.step_s, begin_s)
    if hour.end - hour.begin >= FEW_COARSE:
        stretches = [Span(coarse, at, at + 1) for at in range(hour.begin, hour.end)]
        return _thinned(stretches)
    size = focus_steps(grid)
    before = _span(grid, begin_s, end_s - 2 * size * grid.step_s)
    first = before.begin + 1 if before.begin == 0 else before.begin  # rates need a step before
    ends = range(first + size, before.end + 1, max(1, size // 2))
    return _thinned([Span(grid, end - size, end) for end in ends])


def _thinned(stretches: list[Span]) -> list[Span]:
    step = max(1, -(-len(stretches) // STRETCHES))
    return stretches[::-1][::step]


def _single(stretches: list[Span]) -> list[Span]:
    """The single steps of all stretches together."""
    if not stretches:
        return []
    grid = stretches[0].grid
    indices = sorted({at for span in stretches for at in range(span.begin, span.end)})
    return [Span(grid, at, at + 1) for at in indices]


def _compared(now: float, before: Sequence[float]) -> Seen:
    """A number with what it was in some stretches, as far as that is known."""
    usual = sorted([value for value in before if value == value])  # noqa: PLR0124 - NaN
    if not usual:
        return Seen(now, NAN, NAN, NAN)
    last, middle = len(usual) - 1, median(usual)
    wide = 1.0 + FEW_KNOWN / len(usual)
    low, high = usual[round(0.1 * last)], usual[round(0.9 * last)]
    return Seen(now, middle, middle - wide * (middle - low), middle + wide * (high - middle))


def shares(parts: Mapping[str, float]) -> dict[str, float]:
    """Each part of the sum of all."""
    whole = sum(parts.values())
    return {name: part / whole if whole > 0 else 0.0 for name, part in parts.items()}
