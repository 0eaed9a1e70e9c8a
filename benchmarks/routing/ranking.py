"""The simulated half's section of the page: tables, and where Headrace stands. Pure."""

import re
from collections.abc import Iterator, Mapping

from headrace.simulate.report import AFTER_JOIN, BY_SIZE, CLASSES, MAIN, Column, Spread, table

BEGIN = "<!-- simulated: generated, edit benchmarks/routing/ranking.py instead -->"
END = "<!-- simulated: end -->"

OURS = "headrace:lowest_cost"
# What the default is allowed to cost compared with the best rival of a figure, by kind of workload.
SHARING = {"ttft_mean_ms": 0.6, "ttft_p50_ms": 0.5, "ttft_p99_ms": 0.7}
ALONE = {"ttft_mean_ms": 0.85, "ttft_p50_ms": 1.03, "ttft_p99_ms": 1.03}
NO_CLASS = 1.10
ORACLE = 1.15
_SHOWN = (
    MAIN[0], Column("± sd", "ttft_mean_ms"), *MAIN[1:8], Column("good /s", "good_rps", ".2f"),
    *MAIN[8:],
)  # fmt: skip

_PREFACE = (
    "Everything here is **simulated**: policies in a discrete-event simulation"
    " ([routing simulation](routing-simulation.md) says what that leaves out), other routers'"
    " written anew from their code. Headrace is the gateway's own core without KV events;"
    " `dynamo`, `kv_aware`, `sticky` and the oracle have the engines' true caches without"
    " delay. Means over {seeds} seeds; TTFT and gaps in ms; 8 H100 with Llama-3.1-8B where"
    " nothing else is said."
)

Found = Mapping[str, Spread | None]
Tables = Mapping[str, tuple[bool, Mapping[str, Found]]]


def section(tables: Tables, seeds: int) -> str:
    """The section, between its markers; ``tables`` has whether prompts share, and the rows."""
    parts = [
        BEGIN,
        "## Simulated",
        "",
        _PREFACE.format(seeds=seeds),
        "",
        "```sh",
        "uv run python -m benchmarks.routing.simulated --traces folder",
        "```",
        "",
        *_verdicts(tables),
        "",
    ]
    for name, (_, rows) in tables.items():
        parts += [f"### {name}", "", *_markdown(_with_deviation(rows)), ""]
        parts += [
            "By size of the prompt, tokens:",
            "",
            *_markdown(table(rows, BY_SIZE, spread=False)),
            "",
        ]
        if any(found["join_peak"] is not None for found in rows.values()):
            parts += ["Requests in flight after the join, compared with the mean:", ""]
            parts += [*_markdown(table(rows, AFTER_JOIN, spread=False)), ""]
    return "\n".join([*parts, END])


def page(before: str, new: str) -> str:
    """A page with the section in its place: between its markers, or at the end."""
    if BEGIN in before and END in before:
        return re.sub(
            f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: new, before, flags=re.DOTALL
        )
    return f"{before.rstrip()}\n\n{new}\n"


def best(rows: Mapping[str, Found], figure: str) -> tuple[str, float]:
    """The rival (neither ours nor the oracle) with the smallest figure."""
    found = {
        name: spread.mean
        for name, row in rows.items()
        if not name.startswith("headrace:") and name != "oracle"
        for spread in [row[figure]]
        if spread is not None
    }
    name = min(found, key=found.__getitem__)
    return name, found[name]


# --- below -------------------------------------------------------------------------------------


def _verdicts(tables: Tables) -> Iterator[str]:
    yield (
        "The default order (`balanced`) divided by the best rival **of each figure**, below 1 is"
        " better; bars are 0.6 / 0.5 / 0.7 with shared prefixes and 0.85 / 1.03 / 1.03 without,"
        " goodput 1.15, the worst size class 1.10, and 1.15 for the p50 beside the oracle's."
        " **Bold** misses its bar."
    )
    yield ""
    yield "| workload | mean | p50 | p99 | good /s | worst size class (mean) | p50 / oracle |"
    yield "|---|---|---|---|---|---|---|"
    for name, (shares, rows) in tables.items():
        bars = SHARING if shares else ALONE
        ours = rows[OURS]
        cells = []
        for figure, bar in bars.items():
            rival, value = best(rows, figure)
            cells.append(f"{_marked(_mean(ours, figure) / value, bar)} ({rival})")
        cells += [_goodput(rows, shares), _worst(rows)]
        cells.append(
            _marked(_mean(ours, "ttft_p50_ms") / _mean(rows["oracle"], "ttft_p50_ms"), ORACLE)
        )
        yield f"| {name} | {' | '.join(cells)} |"


def _goodput(rows: Mapping[str, Found], shares: bool) -> str:
    most = max(
        _mean(row, "good_rps")
        for name, row in rows.items()
        if not name.startswith("headrace:") and name != "oracle"
    )
    ratio = _mean(rows[OURS], "good_rps") / most if most else float("inf")
    text = f"{ratio:.2f}"
    return text if ratio >= (1.15 if shares else 1 / 1.03) else f"**{text}**"


def _worst(rows: Mapping[str, Found]) -> str:
    found = {}
    for name in CLASSES:
        figure = f"{name}_mean_ms"
        if rows[OURS][figure] is not None:
            found[name] = _mean(rows[OURS], figure) / best(rows, figure)[1]
    worst = max(found, key=found.__getitem__)
    return f"{_marked(found[worst], NO_CLASS)} ({worst})"


def _mean(row: Found, figure: str) -> float:
    spread = row[figure]
    return spread.mean if spread is not None else float("nan")


def _marked(ratio: float, bar: float) -> str:
    return f"{ratio:.2f}" if ratio <= bar else f"**{ratio:.2f}**"


def _with_deviation(rows: Mapping[str, Found]) -> list[list[str]]:
    lines = table(rows, _SHOWN, spread=False)
    for line, found in zip(lines[1:], rows.values(), strict=True):
        spread = found["ttft_mean_ms"]
        line[2] = "-" if spread is None else f"{spread.deviation:.0f}"
    return lines


def _markdown(lines: list[list[str]]) -> list[str]:
    head, *others = lines
    return [
        f"| {' | '.join(head)} |",
        "|---" * len(head) + "|",
        *(f"| {' | '.join(line)} |" for line in others),
    ]
