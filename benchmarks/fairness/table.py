"""The table of the fairness benchmark, and which bars were missed. The scenes are in plan.py."""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev

from headrace.simulate.sharing import Shared

from .plan import FLEET, SEEDS, Scene

BEGIN = "<!-- fairness: written by `make bench-fairness` -->"
END = "<!-- end of fairness -->"
# The bars: TTFT p99 beside that alone, Jain's index, and tokens beside first come, first served.
RATIO, JAIN, GOODPUT = 1.3, 0.98, 0.97

Found = Mapping[Scene, Sequence[Shared]]


def rows(found: Found) -> list[str]:
    """The table in Markdown, means over the seeds."""
    lines = [
        (
            "| scene | load | TTFT p50 alone → shared, ms | p99 alone → shared, ms |"
            " p99, times alone | Jain | tokens beside first come |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    for scene, runs in found.items():
        got = [run.got[scene.watched] for run in runs]
        ratios = [each.ratio for each in got]
        spread = f" ± {stdev(ratios):.2f}" if len(ratios) > 1 else ""
        lines.append(
            f"| {scene.name} | {scene.load * 100:.0f} %"
            f" | {mean(each.alone.p50_ms for each in got):.0f} →"
            f" {mean(each.first.p50_ms for each in got):.0f}"
            f" | {mean(each.alone.p99_ms for each in got):.0f} →"
            f" {mean(each.first.p99_ms for each in got):.0f}"
            f" | {_marked(mean(ratios) > RATIO and not _backlogged(runs, scene))}"
            f"{mean(ratios):.2f}{spread}"
            f" | {_marked(_jain(runs) < JAIN)}{_jain(runs):.3f}"
            f" | {_marked(_goodput(runs) < GOODPUT)}{_goodput(runs):.3f} |"
        )
    return lines


def bars(found: Found) -> list[str]:
    """What was missed, a sentence each."""
    missed = []
    for scene, runs in found.items():
        ratio = mean(run.got[scene.watched].ratio for run in runs)
        if ratio > RATIO and not _backlogged(runs, scene):
            missed.append(f"{scene.name}: p99 is {ratio:.2f} times its value alone.")
        if _jain(runs) < JAIN:
            missed.append(f"{scene.name}: Jain's index is {_jain(runs):.3f}.")
        if _goodput(runs) < GOODPUT:
            missed.append(f"{scene.name}: {_goodput(runs):.3f} of the tokens.")
    return missed


def page(before: str, table: Sequence[str]) -> str:
    """The page with the table between its markers."""
    head, begin, rest = before.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError("docs/queue.md has lost its markers.")
    note = f"{len(FLEET.presets)} replicas {FLEET.presets[0].name}, means over {SEEDS} seeds."
    return "\n".join([f"{head}{BEGIN}", "", note, "", *table, "", f"{END}{tail}"])


# --- below -------------------------------------------------------------------------------------


def _backlogged(runs: Sequence[Shared], scene: Scene) -> bool:
    """Whether the watched tenant itself sends more than its share: then it has to wait."""
    got = [run.got[scene.watched] for run in runs]
    return scene.load > 2 and mean(each.first.p50_ms for each in got) > 1000


def _jain(runs: Sequence[Shared]) -> float:
    return mean(run.jain for run in runs)


def _goodput(runs: Sequence[Shared]) -> float:
    return mean(run.goodput for run in runs)


def _marked(missed: bool) -> str:
    return "**missed:** " if missed else ""
