"""The table of the conformance results: what it shows of a run, and where it is put."""

from typing import Any

import pytest

from benchmarks.conformance import table


def run(name: str, **verdicts: str) -> dict[str, Any]:
    """Results as `headrace conformance --out` writes them."""
    checks = [{"sent": "a|b", "expected": "1", "seen": "2\n3", "passed": False}]
    cases = [
        {"case": key, "name": f"name {key}", "verdict": verdict, "checks": checks}
        for key, verdict in verdicts.items()
    ]
    counts = {"pass": 1, "fail": 1, "not applicable": 0}
    return {"gateway": name, "version": "1.0", "counts": counts, "took_s": 3.2, "cases": cases}


def test_table_shows_verdicts_and_evidence() -> None:
    """Cases go down in their order, gateways across, and a failure shows what was seen."""
    runs = [run("one", A1="pass", **{"2": "fail"}), {"gateway": "two", "missing": "no disk"}]

    text = table.render({"date": "2026-01-02", "runs": runs})

    assert "| one | 1.0 | 1 | 1 | 0 | 3 |" in text
    assert text.index("| 2 name 2 | ✗ |") < text.index("| A1 name A1 | ✓ |")
    assert "| 2 | `a/b` | `1` | `2 3` |" in text
    assert "two is missing: `no disk`" in text


def test_results_replace_what_was_there() -> None:
    """Only what stands between the marks changes; a page without marks is refused."""
    page = f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n"

    assert f"before\n{table.BEGIN}\n\nnew\n\n{table.END}\nafter\n" == table.replaced(page, "new")
    with pytest.raises(ValueError, match="has no lines"):
        table.replaced("nothing", "new")
