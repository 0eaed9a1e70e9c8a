"""`classes:`: what is refused, in one sentence with its place."""

from pathlib import Path

import pytest

from headrace.config.load import load
from headrace.errors import ConfigError


def refused(folder: Path, text: str) -> str:
    path = folder / "headrace.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("classes: {examples: {a: [x, y]}}", "two classes or more"),
        ("classes: {default: a, examples: {a: [x, y], b: [x]}}", "two different texts or more"),
        ("classes: {default: a, examples: {a: [x, y], b: [x, ' x']}}", "two different texts"),
        ("classes: {default: c, examples: {a: [x, y], b: [z, w]}}", "none of a, b"),
        ("classes: {default: a, examples: {a: [x, y], ' ': [z, w]}}", "class without a name"),
        ("classes: {default: quick}", "none of fast, reasoning"),
        ("classes: {threshold: 1.5}", "1"),
        ("classes: {deadline_ms: 0}", "0"),
        ("classes: {queue: 0}", "1"),
        ("classes: {embedding: {url: 'ftp://a/v1', model: m}}", "must be a URL like"),
        ("classes: {embedding: {url: 'http://a', model: m}}", "must be a URL like"),
        ("classes: {embedding: {url: 'http://a:x/v1', model: m}}", "must be a URL like"),
        ("classes: {embedding: {url: 'http://a/v1/embeddings'}}", "needs the `model`"),
        ("classes: {examples: {a: x, b: [x, y]}}", "list"),
        ("classes: {treshold: 0.5}", "threshold"),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    """What cannot work is said with file and line, before anything starts."""
    said = refused(tmp_path, text)

    assert f"{tmp_path / 'headrace.yaml'}:1" in said
    assert reason in said


def test_right_settings_are_taken(tmp_path: Path) -> None:
    """Classes of any names, with an endpoint for vectors; the key stays a secret."""
    path = tmp_path / "headrace.yaml"
    path.write_text(
        "classes:\n  enabled: true\n  default: small\n"
        "  examples: {small: [hi, hello], large: [prove it, derive it], code: [fix it, run it]}\n"
        "  embedding: {url: 'http://e:8000/v1/embeddings', model: m, api_key: sk-1}\n"
    )
    classes = load(path, {}).classes

    assert ["small", "large", "code"] == [*classes.examples]
    assert "sk-1" not in repr(classes)


def test_classes_are_off_by_default(tmp_path: Path) -> None:
    """Nobody pays for what nobody asked for."""
    path = tmp_path / "headrace.yaml"
    path.write_text("")

    assert not load(path, {}).classes.enabled


RULE = "rules: [{name: r, match: {classes: hard}, target: a}]\nmodels: [{name: a}]\n"


def test_rules_ask_for_classes_that_there_are(tmp_path: Path) -> None:
    """A rule that asks for a class which no example is of is refused where it stands."""
    said = refused(tmp_path, f"{RULE}classes: {{enabled: true}}\n")

    assert "headrace.yaml:1:rules[0].match.classes" in said
    assert "'hard' is no class; there are fast, reasoning" in said


@pytest.mark.parametrize(
    "classes",
    ["enabled: false", "enabled: true, file: x.yaml",
     "enabled: true, default: hard, examples: {hard: [a, b], easy: [c, d]}"],
)  # fmt: skip
def test_rules_whose_classes_may_be_there(tmp_path: Path, classes: str) -> None:
    """Known classes are right; what a file adds is not known yet, nor is what is off."""
    path = tmp_path / "headrace.yaml"
    path.write_text(f"{RULE}classes: {{{classes}}}\n")

    assert ("hard",) == load(path, {}).rules[0].match.classes
