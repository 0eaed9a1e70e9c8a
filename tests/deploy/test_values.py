"""The chart's schema, README and copies: made from values.yaml and observability/, and fresh."""

import json

import jsonschema
import pytest
import yaml

from deploy.kit.helm import CHART
from deploy.kit.values import notes, readme, rows, schema, stale

VALUES = """\
# -- How many.
# @schema {"minimum": 1}
count: 2
# A group.
group:
  # -- Its name,
  # over two lines.
  name: ""
  # -- Anything.
  # @schema {"additionalProperties": true}
  free: {a: 1}
modelDefaults:
  # -- GPUs.
  gpus: 1
"""


def test_nothing_is_stale() -> None:
    """`make chart` would change no file of the chart."""
    assert [] == stale(), "run `make chart`"


def test_every_value_is_described() -> None:
    """Each value that can be set says what it does, in a sentence."""
    text = (CHART / "values.yaml").read_text()

    assert [] == [path for path, _, said in rows(text) if not said.endswith((".", "`."))]


def test_defaults_keep_the_schema() -> None:
    """The chart's own values are valid."""
    text = (CHART / "values.yaml").read_text()

    jsonschema.validate(yaml.safe_load(text), schema(text))
    assert json.loads((CHART / "values.schema.json").read_text()) == schema(text)


def test_comments_belong_to_their_keys() -> None:
    """A comment may have several lines; what its default does not show stands in `@schema`."""
    found = notes(VALUES)

    assert "Its name, over two lines." == found["group.name"].text
    assert {"minimum": 1} == found["count"].extra


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"count": 0}, "count"),
        ({"group": {"naem": "x"}}, "group"),
        ({"models": [{"gpus": "one"}]}, ""),
        ({"modelDefaults": {"gpus": 1.5}}, "modelDefaults.gpus"),
    ],
)
def test_the_schema_refuses(values: object, path: str) -> None:
    """Misspelt keys, wrong types and values out of range."""
    found = [*jsonschema.Draft7Validator(schema(VALUES)).iter_errors(values)]

    assert [path] == [".".join(map(str, error.absolute_path)) for error in found]


def test_free_values_are_free() -> None:
    """What is handed to Kubernetes or to headrace.yaml as it is may have any key."""
    jsonschema.validate({"group": {"free": {"b": [1]}}}, schema(VALUES))


def test_the_table_shows_defaults() -> None:
    """The README has a row for each value: path, default, meaning."""
    assert '| `group.free` | `{"a": 1}` | Anything. |' in readme(VALUES, [])
