"""The measurements of guards: labelled texts are what they say, the page is written anew."""

import json
from pathlib import Path

import pytest

from benchmarks.guards import accuracy, made, report, speed, unseen
from headrace.guard.patterns import ENTITIES, Patterns


def test_the_file_is_what_its_maker_makes() -> None:
    """So that anybody can see how every row came about."""
    assert made.written() == made.FILE.read_text(encoding="utf-8")


def test_labels_are_in_their_texts() -> None:
    """Hundreds of rows, of every entity and of none, each place within its text."""
    rows = accuracy.labelled()

    assert len(rows) >= 900
    assert {*ENTITIES} == {entity for _, spans in rows for entity, *_ in spans}
    assert all(0 <= start < end <= len(text) for text, spans in rows for _, start, end in spans)


def test_patterns_are_as_good_as_the_page_says() -> None:
    """A change that makes them worse is seen here, not by users."""
    scores = accuracy._scores(Patterns(), accuracy.labelled())

    assert scores["all"]["precision"] >= 0.97
    assert scores["all"]["recall"] >= 0.97
    assert scores["harmless"]["found"] <= 15


def test_chunks_are_guarded() -> None:
    """What is timed is what the gateway does: the made-up text has findings, the prose none."""
    assert Patterns().find(speed.MIXED)
    assert [] == Patterns().find(speed.PROSE)


def test_the_page() -> None:
    """Below its marker it is written anew; a page without one is not overwritten."""
    score = {"precision": 1.0, "recall": 0.5, "wrong": 1, "traps": 2, "false": 3, "prompts": 4}
    engine = {"JWT": score, "all": score, "harmless": {"rows": 5, "found": 1}}
    results = {
        "entities": {"patterns": engine, "presidio": engine}, "attacks": {"rules": score},
        "texts": {"pii": {"prose": 1.0, "mixed": 2.5}}, "chunks": {"x": 3.0}, "stalls": {"y": 4.0},
    }  # fmt: skip
    page = report.replaced(f"head\n{report.MARKER}old", report.render(results))

    assert page.startswith(f"head\n{report.MARKER}\n### Personal data")
    assert "| `JWT` | 100.0% | 50.0% | 100.0% | 50.0% |" in page
    assert "| rules | 100.0% | 50.0% | 1 of 2 | 3 of 4 |" in page
    assert "old" not in page
    with pytest.raises(ValueError, match="has no line"):
        report.replaced("", "")


def test_collections_that_nobody_has_read(tmp_path: Path) -> None:
    """About half of their rows, always the same; a frame has a harmless order in its place."""
    rows: list[dict[str, object]] = [{"injected": f"row {number}"} for number in range(200)]
    files: dict[str, list[dict[str, object]]] = {
        "aib/data/attacks.jsonl": [*rows, {"injected": ["a list"]}],
        "seeds-sysmsg-extraction-2025-04/instructions.jsonl": [{"instruction": "x"}],
        "seeds-cybersec-2026-01/jailbreaks.jsonl": [
            {"text": f"{number} <MALICIOUS_INSTRUCTION>"} for number in range(40)
        ],
        "seeds-investment-advice-fp/standalone_user_inputs.jsonl": [{"text": "y"}],
    }
    for name, listed in files.items():
        file = tmp_path / (name if name.startswith("aib") else f"{unseen.SPIKEE}/{name}")
        file.parent.mkdir(parents=True)
        file.write_text("\n".join(json.dumps(row) for row in listed) + "\n\n", encoding="utf-8")
    hidden, _, frames, _ = unseen.collections(tmp_path).values()

    assert 70 <= len(hidden) <= 130
    assert hidden == unseen.unseen(hidden)
    assert frames
    assert all(text.endswith(f" {unseen.ORDER}") for text in frames)
