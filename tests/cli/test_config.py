"""``headrace config``: check, show, schema."""

import json
import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from headrace.cli.app import app

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
TEXT = """\
backends:
  - url: http://gpu-1:8000
    serves: [a, b]
    api_key: sk-secret
  - url: http://gpu-2:8000
    serves: [a]
"""


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory without a configuration."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HEADRACE_CONFIG", raising=False)
    return tmp_path


def run(*arguments: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(app, ["config", *arguments], env=env, prog_name="headrace")


def test_check_counts(directory: Path) -> None:
    """A right file is one sentence that says what is in it."""
    Path("headrace.yaml").write_text(TEXT)

    assert "headrace.yaml is right: 2 models, 2 backends, embedded engine on.\n" == (
        run("check").stdout
    )


def test_check_counts_declared_models(directory: Path) -> None:
    """Where models are declared, these are counted."""
    path = directory / "a.yaml"
    path.write_text("models: [{name: a}]\nengine: {enabled: false}\n")

    assert f"{path} is right: 1 model, 0 backends, embedded engine off.\n" == (
        run("check", str(path)).stdout
    )


def test_check_without_a_file(directory: Path) -> None:
    """Where there is no file, that is said."""
    assert run("check").stdout.startswith("There is no file; the defaults are right: 0 models")


def test_check_minds_the_environment(directory: Path) -> None:
    """A wrong variable is found, too."""
    result = run("check", env={"HEADRACE__SERVER__PORT": "x"})

    assert 2 == result.exit_code
    assert "headrace: HEADRACE__SERVER__PORT: 'x' must be a whole number\n" == result.stderr


def test_show_says_where_from(directory: Path) -> None:
    """Every value in force has its origin beside it; keys are masked."""
    Path("headrace.yaml").write_text(TEXT)

    shown = run("show", env={"HEADRACE__SERVER__PORT": "9"}).stdout
    lines: dict[str, str] = {}
    for line in shown.splitlines():  # of names that several sections have, the first
        lines.setdefault(line.split(":")[0].strip(), line)

    assert "sk-secret" not in shown
    assert lines["port"].split() == ["port:", "9", "#", "HEADRACE__SERVER__PORT"]
    assert lines["host"].split() == ["host:", "127.0.0.1", "#", "default"]
    assert lines["- url"].endswith("# headrace.yaml:2")
    assert 2 == len(yaml.safe_load(shown)["backends"])


def test_show_as_json(directory: Path) -> None:
    """The same for programs."""
    Path("headrace.yaml").write_text(TEXT)

    shown = json.loads(run("show", "--format", "json").stdout)

    assert "********" == shown["backends"][0]["api_key"]
    assert 8000 == shown["server"]["port"]


def test_schema(directory: Path) -> None:
    """The JSON Schema is JSON and speaks of every section."""
    schema = json.loads(run("schema").stdout)

    assert {"server", "models", "backends", "engine"} <= schema["properties"].keys()


@pytest.mark.parametrize("command", ["check", "show", "schema"])
def test_help_has_an_example(command: str) -> None:
    """Every command shows how to call it."""
    result = run(command, "--help")

    assert 0 == result.exit_code
    assert f"headrace config {command}" in COLOUR.sub("", result.stdout).partition("Example")[2]


class TestTestsOfRules:
    def test_rules_tests_pass(self, tmp_path: Path) -> None:
        """The tests that rules carry are run and counted."""
        result = self.check(tmp_path, "{request: {model: a}, expect: {target: small}}")

        assert 0 == result.exit_code, result.output
        assert "1 test of rules passed." in result.output

    def test_rules_tests_fail(self, tmp_path: Path) -> None:
        """Each failure has file, line and key, and says what was decided instead."""
        result = self.check(tmp_path, "{request: {model: b}, expect: {target: big}}")

        assert 2 == result.exit_code
        place = f"{tmp_path}/rules.yaml:4:rules[0].tests[0]"
        assert [
            f"headrace: {place}: the rule is none, not r",
            f"headrace: {place}: the target is none, not big",
        ] == result.output.splitlines()

    def check(self, folder: Path, case: str) -> Result:
        rules = folder / "rules.yaml"
        rules.write_text(
            f"- name: r\n  match: {{models: a}}\n  target: small\n  tests: [{case}]\n",
            encoding="utf-8",
        )
        config = folder / "headrace.yaml"
        config.write_text(
            f"models: [{{name: small}}, {{name: big}}]\nrules_file: {rules}\n", encoding="utf-8"
        )
        return run("check", str(config))
