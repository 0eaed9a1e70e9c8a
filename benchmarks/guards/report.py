"""The measurements as the tables of docs/guardrails.md."""

from collections.abc import Mapping
from typing import Any

MARKER = "<!-- Written by `make bench-guards`; below this line edit benchmarks/guards. -->\n"


def replaced(page: str, written: str) -> str:
    """A page with what stands below its marker made anew."""
    head, marker, _ = page.partition(MARKER)
    if not marker:
        raise ValueError(f"the page has no line {MARKER.strip()!r}")
    return f"{head}{MARKER}\n{written}"


def render(results: Mapping[str, Any]) -> str:
    """All tables."""
    return "\n".join(
        [*_entities(results["entities"]), *_attacks(results["attacks"]), *_costs(results)]
    )


def _entities(engines: Mapping[str, Any]) -> list[str]:
    ours, theirs = engines["patterns"], engines["presidio"]
    columns = "precision, patterns | recall, patterns | precision, Presidio | recall, Presidio"
    lines = ["### Personal data", "", f"| entity | {columns} |", "|---|---|---|---|---|"]
    for name in ours:
        if name == "harmless":
            continue
        shown = f"`{name}`" if name != "all" else "all"
        cells = [_percent(each[key]) for each in (ours[name], theirs[name])
                 for key in ("precision", "recall")]  # fmt: skip
        lines.append(f"| {shown} | {' | '.join(cells)} |")
    count = ours["harmless"]["rows"]
    harmless = (
        f"Of {count} harmless rows {ours['harmless']['found']} have a finding by patterns,"
        f" {theirs['harmless']['found']} by Presidio."
    )
    lines += ["", harmless, ""]
    return lines


def _attacks(kinds: Mapping[str, Any]) -> list[str]:
    lines = [
        "### Attacks", "",
        "| judged by | precision | recall | false alarms in traps | false alarms in prompts |",
        "|---|---|---|---|---|",
    ]  # fmt: skip
    for name, each in kinds.items():
        lines.append(
            f"| {name} | {_percent(each['precision'])} | {_percent(each['recall'])}"
            f" | {each['wrong']} of {each['traps']} | {each['false']} of {each['prompts']} |"
        )
    return [*lines, ""]


def _costs(results: Mapping[str, Any]) -> list[str]:
    lines = [
        "### Costs", "", "CPU time for a kilobyte of text:", "",
        "| guard | prose, us | numbers and names, us |", "|---|---|---|",
    ]  # fmt: skip
    lines += [
        f"| {name} | {each['prose']:g} | {each['mixed']:g} |"
        for name, each in results["texts"].items()
    ]
    lines += [
        "", "CPU time for a chunk of a streamed answer (four letters):", "",
        "| stream | us |", "|---|---|",
    ]  # fmt: skip
    lines += [f"| {name} | {value:g} |" for name, value in results["chunks"].items()]
    lines += [
        "", "How long the event loop stands still while 200 kB are looked at (median of ten):", "",
        "| where | ms |", "|---|---|",
    ]  # fmt: skip
    lines += [f"| {name} | {value:g} |" for name, value in results["stalls"].items()]
    return [*lines, ""]


def _percent(share: float) -> str:
    return f"{share:.1%}"
