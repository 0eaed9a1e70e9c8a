"""The results as Markdown: a table of gateways and cases, and what failed where. No processes."""

from collections.abc import Mapping, Sequence
from typing import Any

BEGIN = "<!-- results: written by `make conformance` -->"
END = "<!-- end of results -->"
_SIGNS = {"pass": "✓", "fail": "✗", "not applicable": "n/a"}
_EVIDENCE = 110  # characters of what was seen, in the list of failures


def replaced(page: str, results: str) -> str:
    """The page with new results between its marks. Raises ValueError when it has no marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{results.strip()}\n\n{END}{after}"


def render(written: Mapping[str, Any]) -> str:
    """The whole section."""
    runs = [run for run in written["runs"] if "counts" in run]
    absent = [run for run in written["runs"] if "counts" not in run]
    lines = [f"Measured on {written['date']}.", "", *_summary(runs)]
    lines += [f"{run['gateway']} is missing: {_cell(run['missing'])}" for run in absent]
    lines += ["", *_grid(runs), "", "### What failed, and what was seen instead", ""]
    for run in runs:
        lines += _failures(run)
    return "\n".join(lines)


def _summary(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["| gateway | version | pass | fail | not applicable | seconds |"]
    lines.append("|---|---|--:|--:|--:|--:|")
    for run in runs:
        counted = " | ".join(str(run["counts"][verdict]) for verdict in _SIGNS)
        version = run["version"]
        lines.append(f"| {run['gateway']} | {version} | {counted} | {run['took_s']:.0f} |")
    return [*lines, ""]


def _grid(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Cases down, gateways across."""
    lines = ["| case | " + " | ".join(run["gateway"] for run in runs) + " |"]
    lines.append("|---|" + ":-:|" * len(runs))
    verdicts = [{case["case"]: case["verdict"] for case in run["cases"]} for run in runs]
    for case in sorted(runs[0]["cases"], key=_order) if runs else []:
        signs = " | ".join(_SIGNS[found[case["case"]]] for found in verdicts)
        lines.append(f"| {case['case']} {case['name']} | {signs} |")
    return lines


def _order(case: Mapping[str, Any]) -> tuple[bool, int]:
    key = case["case"]
    return key.startswith("A"), int(key.removeprefix("A"))


def _failures(run: Mapping[str, Any]) -> list[str]:
    """The first failed check of each failed case, as evidence."""
    failed = [case for case in sorted(run["cases"], key=_order) if case["verdict"] == "fail"]
    lines = [f"**{run['gateway']} {run['version']}**", ""]
    if not failed:
        return [*lines, "Nothing.", ""]
    lines += ["| case | sent | expected | seen |", "|---|---|---|---|"]
    for case in failed:
        check = next(check for check in case["checks"] if not check["passed"])
        cells = (check["sent"], check["expected"], check["seen"])
        lines.append(f"| {case['case']} | " + " | ".join(map(_cell, cells)) + " |")
    return [*lines, ""]


def _cell(text: str) -> str:
    """Text that stays in its cell: no bars, no line ends, no markup, not too long."""
    short = " ".join(text.split())
    short = short if len(short) <= _EVIDENCE else short[: _EVIDENCE - 1] + "…"
    return "`" + short.replace("|", "/").replace("`", "'") + "`"
