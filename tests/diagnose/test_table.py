"""table.py: every row is documented, has a runbook, and says why it is not the cause."""

import re
from pathlib import Path

import pytest

from headrace.diagnose.history import History
from headrace.diagnose.snapshot import Snapshot
from headrace.diagnose.table import LAST, NAMES, TABLE, Row, diagnose

DOCS = Path(__file__).parents[2] / "docs"
RUNBOOK = ("## Symptom", "## First look", "## Cause", "## Fix", "## Prove it")


def steady(minutes: int) -> Snapshot:
    """A model that answers two requests a second as it always did."""
    history, steps = History(), minutes * 12
    for step in range(steps):
        history.add(
            1000.0 + 5.0 * step,
            {
                ("ended", ("m", "completed")): 10.0 * step,
                ("ttft_sum", ("m",)): 1.0 * step,
                ("ttft_n", ("m",)): 10.0 * step,
                ("active", ("m", "streaming")): 6.0,
                ("waiting", ("m",)): 0.0,
                ("replicas", ("m",)): 1.0,
            },
        )
    return history.snapshot()


def test_the_page_has_the_table() -> None:
    """docs/diagnosis.md lists the rows in their order, with their conditions."""
    text = (DOCS / "diagnosis.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \d+ \| \[?`([a-z-]+)`\S* \| (.+) \|$", text, re.MULTILINE)

    assert [(row.name, row.when) for row in TABLE] == listed


@pytest.mark.parametrize("name", [name for name in NAMES if name not in {"nothing", "no-data"}])
def test_every_finding_has_a_runbook(name: str) -> None:
    """Symptom, first look, cause, fix and proof."""
    text = (DOCS / "runbooks" / f"{name}.md").read_text(encoding="utf-8")

    assert [] == [heading for heading in RUNBOOK if f"\n{heading}\n" not in text]
    assert f"`{name}`" in text


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_every_row_says_what_to_do(row: Row) -> None:
    """A condition and an advice, the latter as a sentence."""
    assert row.when
    assert row.advice.endswith(".")


def test_nothing_is_wrong() -> None:
    """A fleet that is as usual is well, and every row that was looked at says why it is not it."""
    found = diagnose(steady(10), 900.0, "m")

    assert ("nothing", True, ()) == (found.finding.name, found.healthy, found.symptoms)
    assert {row.name for row in TABLE if row.always} <= {each.name for each in found.ruled_out}
    assert all(each.why for each in found.ruled_out)


def test_too_early() -> None:
    """A gateway that has just started does not claim to know."""
    found = diagnose(steady(1), 900.0, "m")

    assert ("no-data", True) == (found.finding.name, found.healthy)
    assert LAST["no-data"] == found.finding.advice


def test_equal_snapshots_give_equal_answers() -> None:
    """The diagnosis is a function of what is known, and of nothing else."""
    taken = steady(10)

    assert diagnose(taken, 900.0, "m") == diagnose(taken, 900.0, "m")
