"""Printing the configuration: readable, complete, and without secrets."""

import json

import pytest
import yaml

from headrace.config import dump
from headrace.config.schema import Config

CONFIG = Config.model_validate(
    {
        "models": [{"name": "a"}],
        "backends": [{"url": "http://h", "serves": ["a"], "api_key": "sk-secret"}],
        "engine": {"name": "${X}", "model": "a.gguf"},
    }
)


def test_secrets_are_masked() -> None:
    """Neither form shows a key."""
    for text in (dump.to_yaml(CONFIG), dump.to_json(CONFIG)):
        assert "sk-secret" not in text
        assert "********" in text


def test_forms_say_the_same() -> None:
    """YAML and JSON hold the same values; only `${` has to be written differently."""
    written = yaml.safe_load(dump.to_yaml(CONFIG).replace("$${", "${"))

    assert json.loads(dump.to_json(CONFIG)) == written


def test_origins_stand_beside_values() -> None:
    """Every value says where it came from; sections do not."""
    lines = dump.to_yaml(CONFIG, {("engine", "name"): "headrace.yaml:7"}).splitlines()

    assert any(
        line.startswith("  name: $${X}") and line.endswith("# headrace.yaml:7") for line in lines
    )
    assert any(line.startswith("  slots: 4") and line.endswith("# default") for line in lines)
    assert "engine:" in lines


@pytest.mark.parametrize("text", ["a\x85b", "a\u2028b", "a\nb", "a\tb", "\ufeff", "é", "😀"])
def test_any_text_stays_on_its_line(text: str) -> None:
    """A value with line breaks or control characters is escaped, and others stay readable."""
    written = dump.to_yaml(Config.model_validate({"engine": {"name": text}}))

    assert len(dump.to_yaml(Config()).splitlines()) == len(written.splitlines())
    assert (text in written) == text.isprintable()
