"""The page of threats: each line names a test that is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "threats.md"


def lines() -> list[list[str]]:
    """The cells of every line about a threat."""
    text = PAGE.read_text(encoding="utf-8")
    rows = [line[1:-1].split("|") for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row] for row in rows]
    return [row for row in cells if row[0] != "threat" and set(row[0]) != {"-"}]


def test_each_threat_has_its_test() -> None:
    """The last cell of a line is a test file that exists and has tests."""
    assert len(lines()) > 20
    for threat, *_, test in lines():
        found = re.fullmatch(r"`(tests/\S+\.py)`", test)
        assert found, threat
        assert "def test_" in (ROOT / found[1]).read_text(encoding="utf-8"), threat


def test_no_attack_is_left_out() -> None:
    """Each file of attacks is named."""
    named = {row[-1].strip("`") for row in lines()}
    attacks = {
        f"tests/edge/envoy/{path.name}"
        for path in (ROOT / "tests/edge/envoy").glob("test_attacks_*")
    }

    assert attacks
    assert attacks <= named
