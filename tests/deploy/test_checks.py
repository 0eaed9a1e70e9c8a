"""The page that says how deployments are checked: what it names is there, on both sides."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "deploy" / "checks.md").read_text(encoding="utf-8")
ROWS = [line.split(" | ") for line in PAGE.splitlines() if line.startswith("| ")][1:]
# What the project is asked to have, each with a planted mistake.
PROGRAMS = [
    "helm lint", "helm template", "checkov", "fmt", "validate", "test", "promtool", "amtool",
    "Envoy itself", "hadolint", "shellcheck", "yamllint", "compose", "CEL",
]  # fmt: skip


def test_every_program_has_a_row() -> None:
    """No checker is without its place in the table."""
    first = [" ".join(row[:2]) for row in ROWS]

    assert [] == [name for name in PROGRAMS if not any(name in each for each in first)]


def test_what_the_page_names_is_there() -> None:
    """Each test that a row names exists in its file."""
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)

    assert len(named) > 30
    for path, name in named:
        text = (ROOT / path).read_text(encoding="utf-8")
        assert f"def {name}(" in text or not name, f"{path}::{name}"


def test_every_check_has_a_planted_mistake() -> None:
    """The last column is empty for none but what runs as a whole."""
    bare = [row[0] for row in ROWS if not row[-1].strip(" |")]

    assert ["| the rendered configuration, running"] == bare
