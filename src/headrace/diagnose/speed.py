"""
How fast a replica should be with what it has to do. Pure.

A token takes longer in a larger batch, and waits while prompts are computed, so replicas with
unequal work have unequal paces and are well. The usual of all replicas together gives a line,
``(a + b * running + c * kv) / (1 - stalled)``: what an iteration takes by its batch and by the
keys and values that it reads, stretched by the part of the time in which prompts are computed
(docs/simulator.md). What a replica takes beyond that is what is wrong with it; what it always took
beyond that, other hardware for one, is set aside.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

from headrace.diagnose.lens import NAN, Lens, Seen, Span
from headrace.diagnose.snapshot import known

RIDGE = 0.02  # of the mean square: what few or equal points do not say counts as no influence
GUESSED = 0.5  # of what the line adds beyond what was ever seen
LEAST = 12  # points without which the median is all that is known
STALLED = 0.8  # of the time at most: beyond it nothing can be told from it


class Point(NamedTuple):
    """
    Requests in the batch, prompt tokens computed per second, seconds for a token; the part of the
    KV cache in use, 0 where it is not told.
    """

    running: float
    prefill: float
    pace: float
    kv: float = 0.0


class Line(NamedTuple):
    """Seconds for a token by what there is to do; ``by_prefill`` are seconds for a prompt's."""

    base: float
    by_running: float
    by_prefill: float
    by_kv: float = 0.0

    def at(self, point: Point) -> float:
        """What a token should take."""
        work = self.by_running * point.running + self.by_kv * point.kv
        return (self.base + work) / self.moving(point)

    def guessed(self, point: Point, most: Point) -> float:
        """How wrong it may be, as a logarithm, beyond the largest batch that is known."""
        least = self.at(
            point._replace(running=min(point.running, most.running), kv=min(point.kv, most.kv))
        )
        return GUESSED * math.log(self.at(point) / least) if least > 0 else 0.0

    def moving(self, point: Point) -> float:
        """The part of the time in which no prompt is computed."""
        return 1.0 - min(STALLED, self.by_prefill * point.prefill)


def excesses(lens: Lens, names: Sequence[str]) -> dict[str, float]:
    """
    How many times slower each replica is than its work and its own usual explain; only of those
    whose engine tells, and that do something.
    """
    usual = {name: _points(lens, name, lens.bases) for name in names}
    line = _line(lens, names, usual)
    if line is None:
        return {}
    found = {}
    for name in names:
        for point in _points(lens, name, [lens.focus]):
            own = [each.pace / line.at(each) for each in usual[name]]
            expected = line.at(point) * (median(own) if own else 1.0)
            found[name] = point.pace / expected
    return found


def slowness(lens: Lens, names: Sequence[str]) -> Seen:
    """The same of all together: the median of replicas, and how far that strays usually."""
    usual = {name: _points(lens, name, lens.bases) for name in names}
    line = _line(lens, names, usual)
    if line is None:
        return Seen(NAN, NAN, NAN, NAN)

    def measure(span: Span) -> float:
        found = [p.pace / line.at(p) for name in names for p in _points(lens, name, [span])]
        return median(found) if found else NAN

    return lens.seen(measure)


def strays(lens: Lens, names: Sequence[str]) -> dict[str, float]:
    """
    By how much each replica strays from what its work explains, as the standard deviation of its
    logarithm. It is pooled over the usual of all replicas, each against its own median, and shrinks
    with the root of the batch: few requests say less than many. Beyond the largest batch that any
    replica had, what the line says is a guess. Empty where too little is known.
    """
    usual = {name: _points(lens, name, lens.bases) for name in names}
    line = _line(lens, names, usual)
    if line is None:
        return {}
    squares = []
    for points in usual.values():
        logs = [math.log(point.pace / line.at(point)) for point in points]
        squares += [
            (each - median(logs)) ** 2 * point.running
            for each, point in zip(logs, points, strict=True)
        ]
    if len(squares) < LEAST:
        return {}
    one = math.sqrt(sum(squares) / len(squares))
    most = Point(
        max(p.running for points in usual.values() for p in points), 0.0, 0.0,
        max(p.kv for points in usual.values() for p in points),
    )  # fmt: skip
    return {
        name: math.hypot(one / math.sqrt(point.running), line.guessed(point, most))
        for name in names
        for point in _points(lens, name, [lens.focus])
    }


def felt(lens: Lens, names: Sequence[str]) -> dict[str, float]:
    """
    The same as ``excesses`` as clients saw it, of their streams that have ended: times as long
    between two tokens as its work explains and the fleet's streams usually took beyond that.
    """
    usual = {name: _points(lens, name, lens.bases) for name in names}
    line = _line(lens, names, usual)
    if line is None:
        return {}
    before = [value for name in names for value in _seen(lens, name, lens.bases, line)]
    if len(before) < LEAST:
        return {}
    middle = median(before)
    return {
        name: value / middle for name in names for value in _seen(lens, name, [lens.focus], line)
    }


def fit(points: Sequence[Point], by_prefill: float = 0.0) -> Line | None:
    """The line through the points by least squares; it never falls."""
    if not points:
        return None
    line = Line(0.0, 0.0, by_prefill)
    moved = [(point.running, point.kv, point.pace * line.moving(point)) for point in points]
    if len(points) < LEAST:
        return Line(median(pace for *_, pace in moved), 0.0, by_prefill)
    middle = tuple(sum(column) / len(moved) for column in zip(*moved, strict=True))
    by_running, by_kv = _slopes(moved, middle)
    base = middle[2] - by_running * middle[0] - by_kv * middle[1]
    return Line(base, by_running, by_prefill, by_kv)


# --- below -------------------------------------------------------------------------------------


def _slopes(
    moved: Sequence[tuple[float, float, float]], middle: tuple[float, ...]
) -> tuple[float, float]:
    """By least squares with a ridge; none is below 0, and neither explains more than all."""
    x, y, z = ([row[at] - middle[at] for row in moved] for at in range(3))
    xx = sum(a * a for a in x) + RIDGE * len(moved) * middle[0] ** 2
    yy = sum(a * a for a in y) + RIDGE * len(moved) * middle[1] ** 2
    pairs = ((x, y), (x, z), (y, z))
    xy, xz, yz = (sum(a * b for a, b in zip(*pair, strict=True)) for pair in pairs)
    rest = xx * yy - xy * xy
    both = ((xz * yy - yz * xy) / rest, (yz * xx - xz * xy) / rest) if rest > 0 else (-1.0, -1.0)
    if min(both) < 0:  # one of them alone, that which explains more
        one, other = xz / xx if xx else 0.0, yz / yy if yy else 0.0
        both = (one, 0.0) if one * xz >= other * yz else (0.0, other)
    by_running, by_kv = max(0.0, both[0]), max(0.0, both[1])
    work = by_running * middle[0] + by_kv * middle[1]
    part = min(1.0, middle[2] / work) if work > 0 else 0.0
    return by_running * part, by_kv * part


def _line(lens: Lens, names: Sequence[str], usual: Mapping[str, Sequence[Point]]) -> Line | None:
    points = [point for points in usual.values() for point in points]
    return fit(points, _prefill_s(lens, names))


def _seen(lens: Lens, name: str, spans: Sequence[Span], line: Line) -> list[float]:
    """Times that a token took clients, of what the work explains, in each span."""
    found = []
    for span in spans:
        point, took = _point(lens, name, span), lens.ratio(span, "r_itl_sum", "r_itl_n", name)
        if point.running >= 1 and known(took) and line.at(point) > 0:
            found.append(took / line.at(point))
    return found


def _prefill_s(lens: Lens, names: Sequence[str]) -> float:
    """Seconds that a token of a prompt usually takes, as engines tell it; 0 where none does."""
    took = tokens = 0.0
    for name in names:
        for span in lens.bases:
            seconds, computed = lens.total(span, "e_prefill_sum", name), _computed(lens, name, span)
            if known(seconds) and computed > 0:
                took += seconds
                tokens += computed
    return took / tokens if tokens else 0.0


def _points(lens: Lens, name: str, spans: Sequence[Span]) -> list[Point]:
    found = [_point(lens, name, span) for span in spans]
    return [each for each in found if each.running >= 1 and known(each.pace) and each.pace > 0]


def _point(lens: Lens, name: str, span: Span) -> Point:
    running, made = lens.total(span, "e_running", name), lens.total(span, "e_made", name)
    pace = running / made if made > 0 else NAN
    kv = lens.total(span, "e_kv", name)
    return Point(
        running if known(running) else NAN, _computed(lens, name, span), pace,
        kv if known(kv) else 0.0,
    )  # fmt: skip


def _computed(lens: Lens, name: str, span: Span) -> float:
    """Prompt tokens per second that were not found in the cache."""
    prompt, hits = lens.total(span, "e_prompt", name), lens.total(span, "e_hits", name)
    return max(0.0, prompt - hits) if known(prompt) and known(hits) else 0.0
