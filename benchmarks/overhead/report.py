"""
The results as tables for a terminal and for Markdown, and as the rows of the chart. Pure text;
every number a reader sees is formatted here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table as RichTable

from . import chart
from .bars import Verdict, judge
from .plan import size_name
from .results import DIRECT, Results
from .summary import Spread, median

_NONE = "-"
# Cores that other processes may take before a run is called unreliable.
_QUIET = 0.1
# Below this many open streams, what memory grew by says nothing about one of them.
_ENOUGH_IDLE = 100


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]


def tables(results: Results) -> list[Table]:
    """Everything, in the order in which it is printed."""
    return [_cost(results), _bodies(results), _limits(results), _growth(results), _bars(results)]


def _cost(results: Results) -> Table:
    head = (
        "proxy",
        "CPU \u00b5s per chunk",
        "CPU \u00b5s per request",
        "added TTFT p50, ms",
        "added TTFT p99, ms",
        "requests/s",
    )
    rows: list[tuple[str, ...]] = []
    for peer, label in _everyone(results):
        if peer in results.missing:
            rows.append((label, f"not measured: {results.missing[peer]}", "", "", "", ""))
            continue
        rows.append(
            (
                label,
                _cost_or_why(results, peer, "stream"),
                _cost_or_why(results, peer, "whole"),
                _ms(results.added_ttft_ms(peer, 0.5), 2),
                _ms(results.added_ttft_ms(peer, 0.99), 2),
                _rate(results, peer),
            )
        )
    return Table("Streams and whole requests", head, rows)


def _bodies(results: Results) -> Table:
    sizes = [size_name(size) for size in results.plan.body_sizes]
    head = (
        "proxy",
        *(f"{size}: {what}" for size in sizes for what in ("CPU \u00b5s", "p50 / p99 ms")),
    )
    rows: list[tuple[str, ...]] = []
    for peer, label in _measured(results):
        cells = [label]
        for size in sizes:
            cells += [_cost_or_why(results, peer, size), _latency(results, peer, size)]
        rows.append(tuple(cells))
    return Table("Requests with large bodies", head, rows)


def _limits(results: Results) -> Table:
    head = ("proxy", "kB per idle stream", "idle streams", "stall by 10 MB bodies, ms")
    rows: list[tuple[str, ...]] = []
    for peer, label in _measured(results):
        idle = results.of(peer, "idle")
        kept = f"{idle[0].done} of {results.plan.idle_streams}" if idle else _NONE
        memory = f"{idle[0].kb_each:.1f}" if idle and idle[0].done >= _ENOUGH_IDLE else _NONE
        rows.append((label, memory, kept, _ms(results.stall_ms(peer))))
    return Table("Memory and stalls", head, rows)


def _growth(results: Results) -> Table:
    counts = results.plan.replica_counts
    rows: list[tuple[str, ...]] = []
    for peer, label in _measured(results):
        if results.of(peer, f"{counts[0]} replicas"):
            costs = (_cost_or_why(results, peer, f"{count} replicas") for count in counts)
            rows.append((label, *costs))
    return Table("CPU \u00b5s per whole request, by replicas", ("proxy", *map(str, counts)), rows)


def _bars(results: Results) -> Table:
    rows = [_verdict(verdict) for verdict in judge(results)]
    foreign = results.foreign_cores
    doubt = f" (unreliable: other processes took {foreign:.1f} cores)" if foreign > _QUIET else ""
    return Table(f"Bars{doubt}", ("bar", "limit", "measured", "", "against"), rows)


def _verdict(verdict: Verdict) -> tuple[str, ...]:
    sign = "<=" if verdict.sense == "at most" else ">="
    measured = _NONE if verdict.measured is None else f"{verdict.measured:.3f}"
    return (verdict.text, f"{sign} {verdict.limit:g}", measured, verdict.state, verdict.against)


def _everyone(results: Results) -> Iterable[tuple[str, str]]:
    return results.labels.items()


def _measured(results: Results) -> Iterable[tuple[str, str]]:
    return [(peer, label) for peer, label in _everyone(results) if peer not in results.missing]


def _cost_or_why(results: Results, peer: str, scene: str) -> str:
    cost = results.cpu_us(peer, scene)
    if cost is not None:
        return _spread(cost) + _rounds(results, peer, scene)
    failed = [sample for sample in results.of(peer, scene) if not sample.clean]
    if not failed:
        return _NONE
    return "failed: " + (next(iter(failed[0].outcome.failures), "nothing answered"))


def _rounds(results: Results, peer: str, scene: str) -> str:
    """Said where rounds are missing: that median stands beside others of different moments."""
    plan = results.plan
    wanted = plan.replica_rounds if scene.endswith("replicas") else plan.rounds
    found = len(results.clean(peer, scene))
    return "" if found >= wanted else f", {found} of {wanted} rounds"


def _spread(cost: Spread) -> str:
    digits = 1 if cost.median < 100 else 0
    if cost.low == cost.high:
        return f"{cost.median:.{digits}f}"
    return f"{cost.median:.{digits}f} ({cost.low:.{digits}f}-{cost.high:.{digits}f})"


def _ms(value: float | None, digits: int = 1) -> str:
    return _NONE if value is None else f"{value:.{digits}f}"


def _rate(results: Results, peer: str) -> str:
    rates = [sample.done / sample.outcome.elapsed_s for sample in results.clean(peer, "whole")]
    return f"{median(rates):.0f}" if rates else _NONE


def _latency(results: Results, peer: str, scene: str) -> str:
    clean = results.clean(peer, scene)
    if not clean:
        return _NONE
    p50 = median([sample.outcome.latency_p50_ms for sample in clean])
    p99 = median([sample.outcome.latency_p99_ms for sample in clean])
    return f"{p50:.1f} / {p99:.1f}"


def _facts(results: Results) -> list[str]:
    machine = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    plan = results.plan
    base = results.ttft_ms(DIRECT, 0.99)
    return [
        f"Machine: {machine}.",
        f"Load: {plan.streams} streams x {plan.chunks} chunks at 10 ms, {plan.replicas} replicas.",
        f"Numbers: median (lowest-highest) of {plan.rounds} interleaved repetition(s).",
        f"TTFT p99 without a proxy: {_ms(base, 2)} ms, taken off every proxy's.",
        f"Other processes took {results.foreign_cores:.2f} cores meanwhile (90th percentile).",
        *(f"`{name}`: not measured: {why}" for name, why in results.startup.missing.items()),
        *(f"Warning: {text}." for text in results.warnings),
    ]


def markdown(results: Results) -> str:
    """The page fragment that the documentation includes."""
    lines = ["<!-- Written by `make bench-overhead`; do not edit. -->", ""]
    for table in tables(results):
        lines += [f"**{table.title}**", "", _row(table.head), _row(["---"] * len(table.head))]
        lines += [*map(_row, table.rows), ""]
    return "\n".join([*lines, *(f"- {fact}" for fact in _facts(results)), ""])


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


def show(results: Results, console: Console) -> None:
    colours = {"pass": "green", "miss": "red", "open": "yellow"}
    for table in tables(results):
        rich = RichTable(title=table.title, title_justify="left")
        for number, name in enumerate(table.head):
            rich.add_column(name, justify="right" if number else "left", overflow="fold")
        for row in table.rows:
            style = "bold" if row[0] == results.labels.get("headrace") else colours.get(row[-2], "")
            rich.add_row(*row, style=style)
        console.print(rich)
    for fact in _facts(results):
        console.print(fact, markup=False, highlight=False)


def drawing(results: Results) -> str:
    """The SVG chart: cost per chunk, and cost per whole request."""

    def rows(scene: str) -> list[chart.Row]:
        found: list[chart.Row] = []
        for peer, label in _measured(results):
            cost = results.cpu_us(peer, scene)
            if cost is not None and results.complete(peer, scene, results.plan.rounds):
                found.append(chart.Row(label, cost.median, ours=peer == "headrace"))
        return found

    panels = [("per streamed chunk", rows("stream")), ("per whole request", rows("whole"))]
    note = "One proxy process on one core; a bar with strokes goes on. Shorter is better."
    return chart.draw("CPU microseconds spent by the proxy", panels, note)
