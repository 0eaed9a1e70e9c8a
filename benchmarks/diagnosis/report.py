"""The tables and the chart of the diagnosis benchmark. Nothing is measured here."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from html import escape
from statistics import median

from benchmarks.diagnosis.cells import Cell

WIDTH, ROW, LEFT, TOP = 860, 20, 190, 46
COLOURS = {"right": "#2a7d4f", "wrong": "#b3402f"}


def tables(cells: Sequence[Cell]) -> str:
    """Scores, then what was said of which fault."""
    faults = [cell for cell in cells if not cell.scenario.startswith("healthy")]
    controls = [cell for cell in cells if cell.scenario.startswith("healthy")]
    lines = ["| cells | right | share | median time to the right name |", "|---|---|---|---|"]
    for name, wanted in (("made with", False), ("held out", True)):
        some = [cell for cell in faults if cell.held is wanted]
        lines.append(
            _score(f"faults the table was {name}" if not wanted else f"faults {name}", some)
        )
    lines.append(_score("all faults", faults))
    wrong = [cell for cell in controls if not cell.right]
    share = len(wrong) / len(controls) if controls else 0.0
    alarms = f"False alarms: {len(wrong)} of {len(controls)} looks at healthy fleets ({share:.1%})."
    lines += ["", alarms, ""]
    lines += _confusion(cells)
    return "\n".join([*lines, ""])


def _score(name: str, cells: Sequence[Cell]) -> str:
    right = [cell for cell in cells if cell.right]
    times = [cell.after_s for cell in right if cell.after_s >= 0]
    share = f"{len(right) / len(cells):.1%}" if cells else "-"
    when = f"{median(times):.0f} s" if times else "-"
    return f"| {name} | {len(right)} of {len(cells)} | {share} | {when} |"


def _confusion(cells: Sequence[Cell]) -> list[str]:
    lines = ["| what happened | right name | right | said instead |", "|---|---|---|---|"]
    groups: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[cell.scenario].append(cell)
    for name, some in groups.items():
        others = Counter(cell.said for cell in some if not cell.right)
        said = ", ".join(f"`{key}` {count}" for key, count in others.most_common())
        right = " or ".join(f"`{each}`" for each in some[0].expected)
        held = " (held out)" if all(cell.held for cell in some) else ""
        count = sum(cell.right for cell in some)
        lines.append(f"| {name}{held} | {right} | {count} of {len(some)} | {said} |")
    return lines


def chart(cells: Sequence[Cell]) -> str:
    """Each fault's cells in a row, by when the right name was said for good."""
    faults = [cell for cell in cells if not cell.scenario.startswith("healthy")]
    names = [*dict.fromkeys(cell.scenario for cell in faults)]
    height = TOP + ROW * len(names) + 40

    def at(seconds: float) -> float:
        return LEFT + (seconds - 10) / 55 * (WIDTH - LEFT - 70)

    box = f'viewBox="0 0 {WIDTH} {height}" role="img" font-family="system-ui, sans-serif"'
    title = "Seconds from the onset of a fault to its right name; on the red side: never"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} font-size="12">',
        f"<title>{title}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="18" font-weight="600">{title}</text>',
    ]
    for seconds in (20, 30, 40, 50, 60):
        x = f"{at(seconds):.0f}"
        line = f'x1="{x}" x2="{x}" y1="{TOP - 8}" y2="{height - 36}" stroke="#d9d9d9"'
        parts += [
            f"<line {line}/>",
            f'<text x="{x}" y="{height - 20}" text-anchor="middle">{seconds}</text>',
        ]
    for row, name in enumerate(names):
        y = TOP + ROW * row
        parts.append(f'<text x="{LEFT - 12}" y="{y + 4}" text-anchor="end">{escape(name)}</text>')
        parts += _dots([cell for cell in faults if cell.scenario == name], y, at)
    return "\n".join([*parts, "</svg>", ""])


def _dots(cells: Sequence[Cell], y: int, at: Callable[[float], float]) -> list[str]:
    dots = []
    stacked: Counter[float] = Counter()
    for cell in cells:
        seconds = cell.after_s if cell.right and cell.after_s >= 0 else 64.0
        colour = COLOURS["right"] if cell.right else COLOURS["wrong"]
        x = at(seconds) + 3.4 * (stacked[seconds] - 2)
        stacked[seconds] += 1
        dots.append(f'<circle cx="{x:.1f}" cy="{y}" r="3.2" fill="{colour}" fill-opacity="0.75"/>')
    return dots
