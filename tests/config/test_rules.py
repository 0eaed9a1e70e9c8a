"""rules.py in config: what rules may say, what YAML's values mean, what is refused and where."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from headrace.config.load import load, rules
from headrace.config.rules import Rule
from headrace.config.schema import Config
from headrace.errors import ConfigError

NOBODY = "- {name: a, experiment: {name: e, arms: [{name: x, weight: 0}, {name: y, weight: 0}]}}"
TWICE = """
- {name: a, experiment: &e {name: e, arms: [{name: x}, {name: y}]}}
- {name: b, experiment: *e}
"""


def rule(**values: Any) -> Rule:
    return Rule.model_validate({"name": "r", **values})


def refused(text: str, tmp_path: Path) -> str:
    """What is said of a rules' file."""
    path = tmp_path / "rules.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        rules(path, ["small", "big"])
    return str(caught.value).replace(str(path), "rules.yaml")


def test_one_name_is_a_list() -> None:
    """Where a list of names belongs, one name will do."""
    found = rule(match={"models": "a", "times": "sat"}, target="b")

    assert (("a",), ("sat",), ("b",)) == (found.match.models, found.match.times, found.target)


@pytest.mark.parametrize(
    ("given", "expected"), [("batch", -50), ("normal", 0), ("critical", 50), ("7", 7), (-100, -100)]
)
def test_priorities(given: object, expected: int) -> None:
    """Words and numbers are on one scale."""
    assert expected == rule(priority=given).priority


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("0.5", 0.5),
        ("3", 3),
        ("true", True),
        ("a b", "a b"),
        ({"a": ["1"]}, {"a": [1]}),
        ("1e3", 1e3),
    ],
)
def test_values_are_json(given: object, expected: object) -> None:
    """What reads as a number, true or false is that: YAML's scalars are all text here."""
    found = rule(parameters={"p": {"set": given}}).parameters["p"].set

    assert (type(expected), expected) == (type(found), found)


def test_requests_of_tests() -> None:
    """A mapping, or a text of JSON where types matter; a time without a zone is UTC."""
    case = rule(tests=[{"request": '{"model": "1"}', "at": "2026-01-01T00:00"}]).tests[0]
    other = rule(tests=[{"request": {"n": "1"}}]).tests[0]

    assert ({"model": "1"}, datetime(2026, 1, 1, tzinfo=UTC)) == (case.request, case.at)
    assert {"n": 1} == other.request


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- name: none", "rules.yaml:1:rules[0]: cannot be named 'none'"),
        ("- name: a b", "rules[0].name: 'a b' must match"),
        ("- {name: a}\n- {name: a}", "rules.yaml:2:rules[1]: another rule is named 'a'"),
        (
            "- name: a\n  target: huge",
            "rules.yaml:2:rules[0].target: 'huge' is no model; there are big, small",
        ),
        ("- name: a\n  shadow: {target: huge}", "yaml:2:rules[0].shadow.target: 'huge' is no"),
        (
            "- name: a\n  target: big\n  experiment: {name: e, arms: [{name: x}, {name: y}]}",
            "has both `target` and `experiment`",
        ),
        ("- name: a\n  experiment: {name: e, arms: [{name: x}, {name: x}]}", "two arms named 'x'"),
        (
            NOBODY,
            "an arm with a weight above 0",
        ),
        (
            TWICE,
            "rules[1].experiment.name: another experiment is named 'e'",
        ),
        ("- name: a\n  parameters: {model: {set: x}}", "cannot edit the parameter 'model'"),
        ("- name: a\n  parameters: {n: {min: 3, max: 2}}", "a min of 3 above its max of 2"),
        ("- name: a\n  parameters: {n: {set: 1, max: 2}}", "takes one of set, drop"),
        ("- name: a\n  parameters: {n: {}}", "needs one of set, default"),
        ("- name: a\n  match: {prompt_tokens: lots}", "rules.yaml:2:rules[0].match.prompt_tokens"),
        ("- name: a\n  match: {times: [never]}", "'never' is no time zone"),
        ("- name: a\n  match: {modells: x}", "did you mean `models`"),
        ("- name: a\n  policy: luck", "rules[0].policy: 'luck' must be 'lowest_cost'"),
        ("- name: a\n  priority: urgent", "rules[0].priority: 'urgent' must be a whole number"),
        ('- name: a\n  tests: [{request: "{"}]', "is not valid JSON"),
        ("", "lists nothing; write []"),
    ],
)  # fmt: skip
def test_refused(text: str, message: str, tmp_path: Path) -> None:
    """Each mistake is told with its file, line and key."""
    assert message in refused(text, tmp_path)


def test_a_file_of_rules(tmp_path: Path) -> None:
    """A list, or one key with it; every value knows its line; variables are filled in."""
    for text, line in (("- name: a\n  target: ${T}", 2), ("rules:\n- name: a\n  target: ${T}", 3)):
        path = tmp_path / "rules.yaml"
        path.write_text(text, encoding="utf-8")
        found = rules(path, ["big"], {"T": "big"})
        assert ("big",) == found.rules[0].target
        assert f"{path}:{line}" == found.origins["rules", 0, "target"]


def test_rules_in_the_configuration(tmp_path: Path) -> None:
    """Targets must be declared models; a file beside a list is one too many."""
    models = "models: [{name: m, aliases: [x]}]\n"
    text = f"{models}rules:\n- {{name: a, target: x}}\n- {{name: b, target: y}}\n"
    path = tmp_path / "headrace.yaml"
    path.write_text(text + "rules_file: r.yaml", encoding="utf-8")

    with pytest.raises(ConfigError) as caught:
        load(path, {})

    first, second = str(caught.value).replace(str(path), "h").split("\n")
    assert "h:4:rules[1].target: 'y' is no model; there are m, x" == first
    assert "h:5:rules_file: has `rules` beside it; keep one of the two" == second


def test_models_that_are_not_known_yet() -> None:
    """Without declared models the targets are judged when the gateway starts."""
    assert ("y",) == Config.model_validate({"rules": [{"name": "a", "target": "y"}]}).rules[
        0
    ].target
