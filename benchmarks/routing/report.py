"""What a benchmark found, as Markdown for the documentation and for the terminal. Pure."""

import json
import math
import re
from collections.abc import Callable, Iterator

from . import bars
from .figures import CLASSES
from .results import Mean, Results
from .rig import Run
from .validation import Agreement

BEGIN = "<!-- real binaries: generated, edit benchmarks/routing/report.py instead -->"
END = "<!-- real binaries: end -->"

_QUIET = 0.2  # cores that others may take without being mentioned
_COLUMNS: tuple[tuple[str, Callable[[Run], float], int], ...] = (
    ("TTFT mean", lambda run: run.figures.ttft.mean, 0),
    ("p50", lambda run: run.figures.ttft.p50, 0),
    ("p90", lambda run: run.figures.ttft.p90, 0),
    ("p99", lambda run: run.figures.ttft.p99, 0),
    ("max", lambda run: run.figures.ttft.most, 0),
    ("token p99", lambda run: run.figures.token_p99_ms, 0),
    ("cached", lambda run: run.figures.cached, 3),
    ("goodput /s", lambda run: run.figures.goodput, 2),
    ("good", lambda run: run.figures.good, 3),
    ("imbalance", lambda run: run.imbalance, 2),
    ("outside", lambda run: run.outside_ms, 0),
    ("CPU", lambda run: run.router_cpu_ms, 2),
    ("failed", lambda run: float(run.figures.failed), 1),
)


def section(results: Results, charts: list[str], agreement: Agreement | None) -> str:
    """The section of the page, between its markers."""
    parts = [BEGIN, "## Real binaries", "", *_preface(results), ""]
    for path in charts:
        parts += [f"![Mean time to first token by router]({path})", ""]
    if agreement is not None:
        parts += [_agreement(agreement), ""]
    for cell in results.cells():
        parts += [*_cell(results, cell), ""]
    parts += [*_verdicts(results), *_missing(results), END]
    return "\n".join(parts)


def page(before: str, new: str) -> str:
    """A page with the section in its place: between its markers, or at the end."""
    if BEGIN in before and END in before:
        return re.sub(
            f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: new, before, flags=re.DOTALL
        )
    head = before.rstrip() or "# Routing benchmarks"
    return f"{head}\n\n{new}\n"


def table(results: Results, cell: str) -> list[str]:
    """Routers down, figures across."""
    names = [name for name, _, _ in _COLUMNS]
    lines = [f"| router | {' | '.join(names)} | runs |", "|---" * (len(names) + 2) + "|"]
    for router in results.routers(cell):
        cells = [
            _number(results.mean(cell, router, figure), digits) for _, figure, digits in _COLUMNS
        ]
        lines.append(f"| {_label(results, cell, router)} | {' | '.join(cells)} |"
                     f" {_runs(results, cell, router)} |")  # fmt: skip
    return lines


def classes(results: Results, cell: str) -> list[str]:
    """TTFT by the length of prompts: mean and p99."""
    present = [
        name
        for _, name in CLASSES
        if any(name in run.figures.classes for run in results.runs if run.cell == cell)
    ]
    head = " | ".join(f"{name} mean | p99" for name in present)
    lines = [f"| router | {head} |", "|---" * (2 * len(present) + 1) + "|"]
    for router in results.routers(cell):
        cells = []
        for name in present:
            cells.append(_number(results.mean(cell, router, _of_class(name, "mean")), 0))
            cells.append(_number(results.mean(cell, router, _of_class(name, "p99")), 0))
        lines.append(f"| {_label(results, cell, router)} | {' | '.join(cells)} |")
    return lines


def verdicts(results: Results) -> Iterator[str]:
    """One line for each bar."""
    for ours in results.ours[:1]:
        for verdict in bars.judge(results, ours):
            sign = "≥" if verdict.bar.more else "≤"
            ratio = "-" if verdict.ratio is None else f"{verdict.ratio:.2f}"
            peer = results.labels.get(verdict.peer, "-")
            yield (
                f"| {verdict.cell} | {verdict.bar.name} | {ratio} | {sign} {verdict.bar.limit:g} |"
                f" {peer} | {verdict.state} |"
            )


def _preface(results: Results) -> Iterator[str]:
    machine = results.machine
    yield (
        "Routers from PyPI and Headrace, each in front of the same simulated vLLM replicas"
        " (`headrace engine sim`), under the same load over HTTP. **The engines are simulated**;"
        " their times are those of the presets, see [Simulator](simulator.md). Times are ms at the"
        " preset's scale: engines ran several times faster, and what was measured was multiplied"
        " back, and with it the router's own time, which is so exaggerated."
    )
    yield ""
    yield (
        f"Measured on {machine.get('processor', 'an unknown processor')},"
        f" {machine.get('cores', '?')} cores, the router alone on one of them;"
        f" {len(results.runs)} runs, {results.elapsed_s / 60:.0f} minutes. Values are means over"
        " seeds ± half of the 95 % confidence interval (Student's t)."
        f"{_settings(results)}"
    )
    yield ""
    yield (
        "*token p99*: time between tokens, mean of a request, 99th percentile over requests."
        " *cached*: share of prompt tokens that engines found in their cache. *goodput*: requests"
        " per second with TTFT ≤ 2 s and ≤ 100 ms between tokens; *good*: their share."
        " *imbalance*: requests in the busiest replica over the average. *outside*: the part of"
        " the mean TTFT that was not spent in an engine (the router's queue, its work, HTTP)."
        " *CPU*: the router's, in ms per request, not scaled."
    )


def _settings(results: Results) -> str:
    if not results.settings:
        return ""
    return f" Headrace's configuration had `{json.dumps(results.settings)}` in it."


def _cell(results: Results, cell: str) -> Iterator[str]:
    yield f"### {results.titles[cell]}"
    yield ""
    yield f"Engines ran {results.speeds[cell]:g} times faster than the preset."
    skews = {
        name: results.mean(cell, name, lambda run: run.skew or 0.0)
        for name in results.routers(cell)
        if all(run.skew is not None for run in results.of(cell, name))
    }
    if skews:
        told = ", ".join(f"{results.labels[name]} {_number(skew, 2)}"
                         for name, skew in skews.items())  # fmt: skip
        yield f"Worst imbalance within 5 s of the join: {told} (bar: {bars.SKEW_LIMIT:g})."
    yield ""
    yield from table(results, cell)
    yield ""
    yield "TTFT by prompt tokens:"
    yield ""
    yield from classes(results, cell)
    others = max(run.foreign_cores for run in results.runs if run.cell == cell)
    if others > _QUIET:
        yield ""
        yield f"Other programs took up to {others:.1f} cores meanwhile: the machine was not quiet."
    doubts = sorted({reason for run in results.runs if run.cell == cell for reason in run.invalid})
    if doubts:
        yield ""
        yield f"Runs that were not valid, for instance: {'; '.join(doubts[:3])}."


def _verdicts(results: Results) -> list[str]:
    rows = [*verdicts(results)]
    if not rows:
        return []
    head = "| cell | figure | ours / best peer | bar | best peer | |"
    return ["### Bars", "", head, "|---|---|---|---|---|---|", *rows, ""]


def _agreement(found: Agreement) -> str:
    word = "agrees" if found.agrees else "does **not** agree"
    doubts = f" (That run was not valid: {'; '.join(found.doubts)}.)" if found.doubts else ""
    return (
        f"The harness {word} with the discrete-event simulator (`headrace simulate`) on round"
        f" robin: mean TTFT {found.harness.mean:,.0f} ms against {found.simulated.mean:,.0f}"
        f" ({found.error:+.0%}), p50 {found.harness.p50:,.0f} against {found.simulated.p50:,.0f},"
        f" p90 {found.harness.p90:,.0f} against {found.simulated.p90:,.0f}, p99"
        f" {found.harness.p99:,.0f} against {found.simulated.p99:,.0f}.{doubts}"
    )


def _missing(results: Results) -> list[str]:
    return [f"Not measured: {results.labels.get(name, name)}: {reason}."
            for name, reason in results.missing.items()]  # fmt: skip


def _label(results: Results, cell: str, router: str) -> str:
    label = results.labels[router]
    label = f"**{label}**" if router in results.ours else label
    return f"{label} †" if results.doubtful(cell, router) else label


def _runs(results: Results, cell: str, router: str) -> str:
    every = results.all_of(cell, router)
    valid = sum(not run.invalid for run in every)
    return str(valid) if valid == len(every) else f"{valid} of {len(every)} valid"


def _of_class(name: str, figure: str) -> Callable[[Run], float]:
    def found(run: Run) -> float:
        spread = run.figures.classes.get(name)
        return math.nan if spread is None else float(getattr(spread, figure))

    return found


def _number(found: Mean, digits: int) -> str:
    if math.isnan(found.value):
        return "-"
    text = f"{found.value:,.{digits}f}"
    return text if math.isnan(found.half) else f"{text} ± {found.half:,.{digits}f}"
