"""Charts as SVG text for a page that needs nothing else: lines or dots, two axes, a legend."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 16, 44
# Told apart by people with the common colour blindnesses (Okabe and Ito), on white and on black.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#999933")
MOST_POINTS = 400  # of a series: more cannot be seen at this width
TICKS = 5

Points = Sequence[tuple[float, float]]
Place = Callable[[tuple[float, float]], tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Series:
    """A name and its points, in order of x."""

    name: str
    points: Points


@dataclass(frozen=True, slots=True)
class Chart:
    """What is drawn: a title, what the axes are (with units), and the series."""

    title: str
    x: str
    y: str
    series: Sequence[Series]
    form: Literal["lines", "dots"] = "lines"


def draw(chart: Chart) -> str:
    """The chart as SVG; empty where there is nothing to draw."""
    drawn = [
        Series(each.name, points)
        for each in chart.series
        if (points := [point for point in each.points if all(map(math.isfinite, point))])
    ]
    if not drawn:
        return ""
    ends = [point for each in drawn for point in each.points]
    x_steps = steps(0.0, max(x for x, _ in ends))
    y_steps = steps(0.0, max(y for _, y in ends))

    def place(point: tuple[float, float]) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - RIGHT) * point[0] / x_steps[-1]
        return x, HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * point[1] / y_steps[-1]

    parts = [*_axes(chart, x_steps, y_steps, place)]
    for number, each in enumerate(drawn):
        colour = COLOURS[number % len(COLOURS)]
        spots = [place(point) for point in thinned(each.points)]
        if chart.form == "dots":
            parts += [
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="{colour}"/>' for x, y in spots
            ]
            continue
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if len(spots) <= TICKS * 3:
            parts += [
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in spots
            ]
    title = escape(chart.title)
    return (
        f'<figure><figcaption>{title}</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        f' aria-label="{title}">{"".join(parts)}</svg>{_legend(drawn)}</figure>'
    )


def steps(low: float, high: float) -> list[float]:
    """Round numbers from ``low`` to at least ``high``, some five of them."""
    span = high - low
    if span <= 0:
        span = 1.0
    rough = span / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * times for times in (1, 2, 2.5, 5, 10) if power * times >= rough * 0.999)
    count = max(1, math.ceil(span / step - 1e-9))
    return [low + step * number for number in range(count + 1)]


def cumulative(values: Sequence[float]) -> list[tuple[float, float]]:
    """The share of values (0 to 100 %) that are at most x."""
    ordered = sorted(values)
    return [(value, 100 * (place + 1) / len(ordered)) for place, value in enumerate(ordered)]


def thinned(points: Points) -> Points:
    """So many points as can be seen, the last one among them."""
    stride = math.ceil(len(points) / MOST_POINTS)
    return points if stride <= 1 else [*points[::stride], points[-1]]


# --- below -------------------------------------------------------------------------------------


def _axes(
    chart: Chart, x_steps: Sequence[float], y_steps: Sequence[float], place: Place
) -> list[str]:
    parts = []
    for value in y_steps:
        _, y = place((0.0, value))
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for value in x_steps:
        x, _ = place((value, 0.0))
        parts.append(
            f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{value:g}</text>'
        )
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(chart.x)}</text>'
    )
    parts.append(
        f'<text transform="translate(14 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(chart.y)}</text>"
    )
    return parts


def _legend(drawn: Sequence[Series]) -> str:
    if len(drawn) < 2:
        return ""
    rows = "".join(
        f'<li><i style="background:{COLOURS[number % len(COLOURS)]}"></i>{escape(each.name)}</li>'
        for number, each in enumerate(drawn)
    )
    return f"<ul>{rows}</ul>"
