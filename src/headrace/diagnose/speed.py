"""
How fast a replica should be with what it has to do. Pure.

A token takes longer in a larger batch, and waits while prompts are computed, so replicas with
unequal work have unequal paces and are well. The usual of all replicas together gives a line,
``(a + b * running) / (1 - stalled)``: what an iteration takes by its batch, stretched by the part
of the time in which prompts are computed (docs/simulator.md). What a replica takes beyond that is
what is wrong with it; what it always took beyond that, other hardware for one, is set aside.
"""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

from headrace.diagnose.lens import NAN, Lens, Seen, Span
from headrace.diagnose.snapshot import known

RIDGE = 0.02  # of the mean square: what few or equal points do not say counts as no influence
LEAST = 12  # points without which the median is all that is known
STALLED = 0.8  # of the time at most: beyond it nothing can be told from it


class Point(NamedTuple):
    """Requests in the batch, prompt tokens computed per second, seconds for a token."""

    running: float
    prefill: float
    pace: float


class Line(NamedTuple):
    """Seconds for a token by what there is to do; ``by_prefill`` are seconds for a prompt's."""

    base: float
    by_running: float
    by_prefill: float

    def at(self, point: Point) -> float:
        """What a token should take."""
        return (self.base + self.by_running * point.running) / self.moving(point)

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


def fit(points: Sequence[Point], by_prefill: float = 0.0) -> Line | None:
    """The line through the points by least squares; it never falls."""
    if not points:
        return None
    line = Line(0.0, 0.0, by_prefill)
    moved = [(point.running, point.pace * line.moving(point)) for point in points]
    if len(points) < LEAST:
        return Line(median(pace for _, pace in moved), 0.0, by_prefill)
    count = len(moved)
    middle = sum(x for x, _ in moved) / count, sum(y for _, y in moved) / count
    spread = sum((x - middle[0]) ** 2 for x, _ in moved) + RIDGE * count * middle[0] ** 2
    slope = sum((x - middle[0]) * (y - middle[1]) for x, y in moved) / spread if spread else 0.0
    slope = min(max(0.0, slope), middle[1] / middle[0] if middle[0] else 0.0)
    return Line(middle[1] - slope * middle[0], slope, by_prefill)


# --- below -------------------------------------------------------------------------------------


def _line(lens: Lens, names: Sequence[str], usual: Mapping[str, Sequence[Point]]) -> Line | None:
    points = [point for points in usual.values() for point in points]
    return fit(points, _prefill_s(lens, names))


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
    return Point(running if known(running) else NAN, _computed(lens, name, span), pace)


def _computed(lens: Lens, name: str, span: Span) -> float:
    """Prompt tokens per second that were not found in the cache."""
    prompt, hits = lens.total(span, "e_prompt", name), lens.total(span, "e_hits", name)
    return max(0.0, prompt - hits) if known(prompt) and known(hits) else 0.0
