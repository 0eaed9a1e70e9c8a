"""``headrace classify``: classes, reasons, JSON, and what is wrong said in one sentence."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from headrace.cli.app import app

TEXT = """\
classes:
  default: fast
  examples:
    fast: [what is the weather, play a song, call my mother, set an alarm]
    reasoning: [prove this theorem, solve the equation, derive a formula, find the bug in my code]
"""


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory with few examples: learning them takes no time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HEADRACE_CONFIG", raising=False)
    Path("headrace.yaml").write_text(TEXT)
    return tmp_path


def run(*arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(app, ["classify", *arguments], input=stdin, prog_name="headrace")


def test_tells_class_and_reasons(directory: Path) -> None:
    """A text has its class, the features that say most, and the examples near it."""
    said = run("solve the equation x = 3").stdout

    assert said.startswith("reasoning ")
    assert "features: " in said
    assert "solve the equation" in said.splitlines()[2]


def test_lines_as_json(directory: Path) -> None:
    """Each line of a file is one object on a line, with every feature and near examples."""
    Path("texts.txt").write_text("play me a song\n\nprove the theorem\n")
    rows = [json.loads(line) for line in run("--file", "texts.txt", "--json").stdout.splitlines()]

    assert ["fast", "reasoning"] == [row["class"] for row in rows]
    assert ["play me a song", "prove the theorem"] == [row["text"] for row in rows]
    assert [3, 3] == [len(row["neighbours"]) for row in rows]
    assert {*rows[0]["features"]} == {*rows[0]["pulls"]}
    assert all(0 <= row["confidence"] <= 1 for row in rows)


def test_reads_standard_input(directory: Path) -> None:
    """A dash is standard input."""
    assert run("--file", "-", "--neighbours", "0", stdin="play a song\n").stdout.startswith("fast ")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "no text to judge"),
        (("--file", "none.txt"), "none.txt: No such file"),
        (("hello", "--config", "none.yaml"), "none.yaml: there is no such file"),
    ],
)
def test_what_is_wrong(directory: Path, arguments: tuple[str, ...], reason: str) -> None:
    """Without texts, or with files that are not there, the exit code is 2 and one line says why."""
    result = run(*arguments)

    assert 2 == result.exit_code
    assert reason in result.stderr


def test_route_judges_without_a_gateway(directory: Path) -> None:
    """``headrace route test`` finds out the class where a rule hangs on it, and says how sure."""
    rules = (
        "models: [{name: big}, {name: small}]\n"
        "rules: [{name: hard, match: {classes: reasoning}, target: big}]\n"
    )
    Path("headrace.yaml").write_text(rules + TEXT.replace("classes:", "classes:\n  enabled: true"))
    asked = ["route", "test", "-c", "headrace.yaml", "-m", "small", "-t"]
    hard = CliRunner().invoke(app, [*asked, "solve the equation x = 3"]).stdout.splitlines()
    easy = CliRunner().invoke(app, [*asked, "play a song"]).stdout.splitlines()

    assert ["rule", "hard"] == hard[0].split()
    assert ["class", "reasoning", "(meaning)"] == [*hard[1].split()[:2], hard[1].split()[-1]]
    assert "target   big" in hard
    assert "target   small" in easy


def test_check_reads_the_file_of_examples(directory: Path) -> None:
    """``headrace config check`` finds a wrong file of examples before a gateway meets it."""
    Path("headrace.yaml").write_text("classes: {enabled: true, file: more.yaml, default: hard}")
    missing = CliRunner().invoke(app, ["config", "check"], prog_name="headrace")
    Path("more.yaml").write_text("easy: [a, b]\nhard: c\n")
    wrong = CliRunner().invoke(app, ["config", "check"], prog_name="headrace")
    Path("more.yaml").write_text("easy: [a, b]\nhard: [c, d]\n")
    right = CliRunner().invoke(app, ["config", "check"], prog_name="headrace")

    assert [2, 2, 0] == [each.exit_code for each in (missing, wrong, right)]
    assert "classes.file more.yaml: No such file" in missing.stderr
    assert "more.yaml:2: hard must be a list of texts" in wrong.stderr
