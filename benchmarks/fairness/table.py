"""The table of the fairness benchmark, and which bars were missed. The scenes are in plan.py."""

from collections.abc import Mapping, Sequence
from statistics import median

from headrace.simulate.sharing import Shared

from .plan import FLEET, Scene

BEGIN = "<!-- fairness: written by `make bench-fairness` -->"
END = "<!-- end of fairness -->"
# The bars: TTFT p99 beside that alone, Jain's index, and tokens beside first come, first served.
RATIO, JAIN, GOODPUT = 1.3, 0.98, 0.97

Found = Mapping[Scene, Sequence[Shared]]


def rows(found: Found) -> list[str]:
    """The table in Markdown: medians over the seeds, and of the bars the least and the most."""
    lines = [
        (
            "| scene | load | TTFT p50 alone → shared, ms | p99 alone → shared, ms |"
            " p99, times alone | Jain | tokens beside first come |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    for scene, runs in found.items():
        got = [run.got[scene.watched] for run in runs]
        ratios, jains, parts = _bars(scene, runs)
        lines.append(
            f"| {scene.name} | {scene.load * 100:.0f} %"
            f" | {median(each.alone.p50_ms for each in got):.0f} →"
            f" {median(each.first.p50_ms for each in got):.0f}"
            f" | {median(each.alone.p99_ms for each in got):.0f} →"
            f" {median(each.first.p99_ms for each in got):.0f}"
            f" | {_marked(median(ratios) > RATIO and not _backlogged(runs, scene))}"
            f"{_spread(ratios, 2)}"
            f" | {_marked(median(jains) < JAIN)}{_spread(jains, 3)}"
            f" | {_marked(median(parts) < GOODPUT)}{_spread(parts, 3)} |"
        )
    return lines


def bars(found: Found) -> list[str]:
    """What was missed, a sentence each."""
    missed = []
    for scene, runs in found.items():
        ratio, jain, part = (median(each) for each in _bars(scene, runs))
        if ratio > RATIO and not _backlogged(runs, scene):
            missed.append(f"{scene.name}: p99 is {ratio:.2f} times its value alone.")
        if jain < JAIN:
            missed.append(f"{scene.name}: Jain's index is {jain:.3f}.")
        if part < GOODPUT:
            missed.append(f"{scene.name}: {part:.3f} of the tokens.")
    return missed


def page(before: str, table: Sequence[str], seeds: int) -> str:
    """The page with the table between its markers."""
    head, begin, rest = before.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError("docs/queue.md has lost its markers.")
    note = (
        f"{len(FLEET.presets)} replicas {FLEET.presets[0].name}, medians over {seeds} seeds"
        " (in brackets the least and the most)."
    )
    return "\n".join([f"{head}{BEGIN}", "", note, "", *table, "", f"{END}{tail}"])


# --- below -------------------------------------------------------------------------------------


def _backlogged(runs: Sequence[Shared], scene: Scene) -> bool:
    """Whether the watched tenant itself sends more than its share: then it has to wait."""
    got = [run.got[scene.watched] for run in runs]
    return scene.load > 2 and median(each.first.p50_ms for each in got) > 1000


def _bars(scene: Scene, runs: Sequence[Shared]) -> tuple[list[float], list[float], list[float]]:
    """By seed: p99 beside that alone, Jain's index, and tokens beside first come."""
    return (
        [run.got[scene.watched].ratio for run in runs],
        [run.jain for run in runs],
        [run.goodput for run in runs],
    )


def _spread(values: Sequence[float], digits: int) -> str:
    """The median, the least and the most."""
    middle, least, most = median(values), min(values), max(values)
    return f"{middle:.{digits}f} ({least:.{digits}f} to {most:.{digits}f})"


def _marked(missed: bool) -> str:
    return "**missed:** " if missed else ""
