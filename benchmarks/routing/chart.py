"""The charts of the documentation: mean TTFT by router, a panel for each cell. Pure."""

import math
from collections.abc import Sequence

from benchmarks.overhead import chart

from .results import Results, mean_ttft


def draw(results: Results, title: str, cells: Sequence[str]) -> str:
    """Two cells side by side, as SVG."""
    panels = []
    for cell in cells:
        rows = [
            chart.Row(results.labels[name], value, name in results.ours, unit="ms")
            for name in results.routers(cell)
            if not math.isnan(value := results.mean(cell, name, mean_ttft).value)
        ]
        panels.append((results.titles[cell].partition(",")[0], rows))
    note = "Mean time to first token in ms at the preset's scale; shorter is better."
    return chart.draw(title, panels, note)
