"""
The chart of the documentation, as SVG text: two panels of bars, Headrace's coloured. Pure.
Transparent, with mid-tones only, so that it reads on a light page and on a dark one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_WIDTH = 860
_ROW = 26
_BAR = 16
_TOP = 58
_PANEL = _WIDTH // 2
_LABELS = 208
_BARS = _PANEL - _LABELS - 64
_TEXT = "#7d8590"
_OTHER = "#8b98a8"
_OURS = "#1f9d8b"
# A bar this many times longer than the median one is cut, so that the others can be compared.
_CUT_AT = 4.0


@dataclass(frozen=True, slots=True)
class Row:
    label: str
    value: float
    ours: bool = False
    unit: str = "\u00b5s"


def scale(values: Sequence[float]) -> float:
    """The value of a full bar: the largest that is not cut."""
    if not values:
        return 1.0
    middle = sorted(values)[len(values) // 2]
    return max((value for value in values if value <= _CUT_AT * middle), default=1.0) or 1.0


def _number(value: float) -> str:
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def _bar(row: Row, left: int, y: int, full: float) -> list[str]:
    cut = row.value > full
    length = _BARS if cut else max(2.0, _BARS * row.value / full)
    colour, weight = (_OURS, "600") if row.ours else (_OTHER, "400")
    middle = y + _BAR - 4
    name = (
        f'<text x="{left + _LABELS - 8}" y="{middle}" text-anchor="end" font-weight="{weight}" '
        f'fill="{colour if row.ours else _TEXT}">{escape(row.label)}</text>'
    )
    bar = (
        f'<rect x="{left + _LABELS}" y="{y}" width="{length:.1f}" height="{_BAR}" rx="2" '
        f'fill="{colour}"><title>{escape(row.label)}: {_number(row.value)} {row.unit}</title>'
        "</rect>"
    )
    number = (
        f'<text x="{left + _LABELS + length + 6:.1f}" y="{middle}" font-weight="{weight}" '
        f'fill="{colour if row.ours else _TEXT}">{_number(row.value)}</text>'
    )
    parts = [name, bar, number]
    if cut:
        x = left + _LABELS + _BARS - 26
        # Two strokes across the bar: it goes on further than is drawn.
        stroke = f'{y + _BAR + 3}l8 -{_BAR + 6}" stroke="{_TEXT}" stroke-width="2"/>'
        parts += [f'<path d="M{x + offset} {stroke}' for offset in (0, 6)]
    return parts


def _panel(title: str, rows: Sequence[Row], left: int) -> list[str]:
    full = scale([row.value for row in rows])
    parts = [f'<text x="{left + 8}" y="40" font-weight="600" fill="{_TEXT}">{escape(title)}</text>']
    ordered = sorted(rows, key=lambda row: row.value)
    for number, row in enumerate(ordered):
        parts += _bar(row, left, _TOP + number * _ROW, full)
    return parts


def draw(title: str, panels: Sequence[tuple[str, Sequence[Row]]], note: str) -> str:
    """Panels side by side, each with its own scale; cut bars carry two strokes and their value."""
    rows = max((len(rows) for _, rows in panels), default=0)
    height = _TOP + rows * _ROW + 34
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
        "<style>text { font: 12px system-ui, sans-serif }</style>",
        f"<title>{escape(title)}</title>",
        f'<text x="8" y="18" font-weight="600" fill="{_TEXT}">{escape(title)}</text>',
    ]
    for number, (name, its_rows) in enumerate(panels):
        parts += _panel(name, its_rows, number * _PANEL)
    parts.append(
        f'<text x="8" y="{height - 10}" font-size="11" fill="{_TEXT}">{escape(note)}</text>'
    )
    return "\n".join([*parts, "</svg>", ""])
