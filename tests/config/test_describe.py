"""What may be configured: the docs and the JSON Schema tell all of it, and nothing else."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from headrace.config import describe, fields
from headrace.config.load import read

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def example() -> str:
    found = re.search(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    return found[1]


def described(schema: dict[str, Any], keys: fields.Keys) -> dict[str, Any]:
    """The part of a JSON Schema that speaks of a place."""
    part: dict[str, Any] = schema
    for key in keys:
        for either in part.get("anyOf", ()):  # a section that may be left out
            if "$ref" in either:
                part = schema["$defs"][either["$ref"].removeprefix("#/$defs/")]
        part = part["items"] if isinstance(key, int) else part["properties"][key]
        if "$ref" in part:
            part = schema["$defs"][part["$ref"].removeprefix("#/$defs/")]
    return part


def test_page_is_fresh() -> None:
    """The reference in the docs is what the schema says now."""
    page = PAGE.read_text(encoding="utf-8")

    assert describe.renewed(page) == page, "run: python -m headrace.config.describe " + str(PAGE)


def test_page_without_marker() -> None:
    """A page that has no place for the reference is not overwritten."""
    with pytest.raises(ValueError, match="the page has no line"):
        describe.renewed("# My page\n")


@pytest.mark.parametrize("keys", [keys for keys, _ in fields.settings()], ids=fields.dotted)
def test_every_setting_is_documented(keys: fields.Keys) -> None:
    """Every setting has a description, a row with its variable, and a place in the schema."""
    schema = describe.schema()

    assert fields.describe(keys)
    assert f"`{fields.variable(keys)}`" in PAGE.read_text(encoding="utf-8")
    assert fields.describe(keys) == described(schema, keys)["description"]


@pytest.mark.parametrize("keys", [keys for keys, _ in fields.settings()], ids=fields.dotted)
def test_example_shows_every_setting(keys: fields.Keys, tmp_path: Path) -> None:
    """The example in the docs is right and leaves nothing out."""
    path = tmp_path / "example.yaml"
    path.write_text(example(), encoding="utf-8")
    given = {
        tuple(0 if isinstance(key, int) else key for key in place)
        for place in read(path, {}).origins
    }

    assert keys in given


def test_schema_example_is_right(tmp_path: Path) -> None:
    """What the JSON Schema shows as an example can be loaded."""
    path = tmp_path / "example.yaml"
    path.write_text(json.dumps(describe.schema()["examples"][0]), encoding="utf-8")

    assert "headrace.yaml" == describe.schema()["title"]
    assert 1 == len(read(path, {"GPU_1_KEY": "k"}).config.backends)


def test_numbers_may_come_from_the_environment() -> None:
    """An editor does not complain about ${PORT} where a number belongs."""
    port = described(describe.schema(), ("server", "port"))

    assert {"type": "integer", "minimum": 0, "maximum": 65535} in port["anyOf"]
    assert {"$ref": "#/$defs/Variable"} in port["anyOf"]


def test_unknown_keys_are_marked() -> None:
    """An editor marks a key that no section has."""
    schema = describe.schema()

    assert schema["additionalProperties"] is False
    assert all(
        part["additionalProperties"] is False
        for name, part in schema["$defs"].items()
        if name != "Variable"
    )
