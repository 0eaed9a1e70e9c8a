"""
The chart of the documentation as SVG text: quality by the share of calls to the large model, one
panel for each benchmark. Transparent with mid-tones: it reads on light and dark pages. Pure.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT = 860, 268
_SIDE, _LEFT, _TOP, _GAP = 150, 52, 62, 62
_TEXT, _CHANCE, _OURS = "#7d8590", "#8b98a8", "#1f9d8b"
_FONT = "font-family='system-ui, sans-serif' font-size='12'"


def draw(panels: Mapping[str, Mapping[str, Any]], note: str) -> str:
    """Panels in their order; each has ``curve``, ``always_small`` and so on."""
    parts = [
        (
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH} {_HEIGHT}' {_FONT}"
            " role='img' aria-label='Quality by the share of calls to the large model'>"
        ),
        (
            f"<text x='8' y='20' fill='{_TEXT}' font-weight='600'>"
            "Quality by the share of calls to the large model</text>"
        ),
        _legend(),
    ]
    for number, (name, panel) in enumerate(panels.items()):
        parts += _panel(name, panel, _LEFT + number * (_SIDE + _GAP - 8))
    parts.append(
        f"<text x='8' y='{_HEIGHT - 10}' fill='{_TEXT}' font-size='11'>{escape(note)}</text>"
    )
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _legend() -> str:
    return (
        f"<line x1='560' y1='16' x2='584' y2='16' stroke='{_OURS}' stroke-width='2'/>"
        f"<text x='590' y='20' fill='{_TEXT}'>classes</text>"
        f"<line x1='650' y1='16' x2='674' y2='16' stroke='{_CHANCE}' stroke-dasharray='4 3'/>"
        f"<text x='680' y='20' fill='{_TEXT}'>chance</text>"
        f"<circle cx='740' cy='16' r='4' fill='{_OURS}'/>"
        f"<text x='750' y='20' fill='{_TEXT}'>as shipped</text>"
    )


def _panel(name: str, panel: Mapping[str, Any], left: int) -> list[str]:
    low, high = panel["always_small"], panel["always_large"]
    bottom, top = _span([y for _, y in panel["curve"]] + [low, high])

    def at(calls: float, quality: float) -> str:
        x = left + calls * _SIDE
        y = _TOP + _SIDE * (1 - (quality - bottom) / (top - bottom))
        return f"{x:.1f},{y:.1f}"

    line = " ".join(at(x, y) for x, y in panel["curve"])
    here = at(panel["calls_to_large"], panel["ours"]).split(",")
    return [
        f"<text x='{left}' y='{_TOP - 12}' fill='{_TEXT}' font-weight='600'>{escape(name)}</text>",
        (
            f"<rect x='{left}' y='{_TOP}' width='{_SIDE}' height='{_SIDE}' fill='none'"
            f" stroke='{_CHANCE}' stroke-opacity='0.4'/>"
        ),
        (
            f"<polyline points='{at(0, low)} {at(1, high)}' fill='none' stroke='{_CHANCE}'"
            " stroke-dasharray='4 3'/>"
        ),
        f"<polyline points='{line}' fill='none' stroke='{_OURS}' stroke-width='2'/>",
        (
            f"<circle cx='{here[0]}' cy='{here[1]}' r='4' fill='{_OURS}'><title>{escape(name)}:"
            f" {panel['calls_to_large']:.0%} of calls, quality {panel['ours']:.3f}</title></circle>"
        ),
        *(
            f"<text x='{left - 6}' y='{y}' text-anchor='end' fill='{_TEXT}'>{value:.2f}</text>"
            for value, y in ((top, _TOP + 10), (bottom, _TOP + _SIDE))
        ),
        f"<text x='{left}' y='{_TOP + _SIDE + 16}' fill='{_TEXT}'>0 %</text>",
        (
            f"<text x='{left + _SIDE}' y='{_TOP + _SIDE + 16}' text-anchor='end'"
            f" fill='{_TEXT}'>100 %</text>"
        ),
    ]


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    edge = max((high - low) * 0.08, 0.005)
    return low - edge, high + edge
