"""Instances of schemas, judged by pydantic, which also made the schemas."""

import json
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from headrace.engines.sim.instance import MAX_DEPTH, instance


class Colour(StrEnum):
    RED = "red"


class Leaf(BaseModel):
    model_config = ConfigDict(extra="forbid")

    colour: Colour
    kind: Literal["leaf"]
    size: Annotated[float, Field(gt=0, lt=1)]
    note: str | None
    ripe: bool = False


class Tree(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: UUID
    planted: date
    seen: datetime
    name: Annotated[str, Field(min_length=9, max_length=12)]
    short: Annotated[str, Field(max_length=2)]
    age: Annotated[int, Field(ge=3, multiple_of=5)]
    depth: Annotated[int, Field(le=-4)]
    above: Annotated[int, Field(gt=7)]
    high: Annotated[float, Field(ge=2.5)]
    leaves: Annotated[list[Leaf], Field(min_length=2)]
    first: Leaf | None
    nothing: None
    children: list["Tree"]


@pytest.mark.parametrize(
    "kind", [Tree, Leaf, int, float, str, bool, None, list[int], dict[str, int], int | str, Colour]
)
def test_instances_are_valid(kind: Any) -> None:
    """Whatever the type, the smallest instance of its schema is a value of it, as JSON too."""
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    value = instance(adapter.json_schema())

    adapter.validate_json(json.dumps(value), strict=kind not in {Tree, Leaf})


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({}, "water"),
        ({"const": 3}, 3),
        ({"enum": ["x", "y"]}, "x"),
        ({"type": ["null", "string"]}, None),
        ({"default": 5, "type": "integer"}, 5),
        ({"type": "object", "properties": {"a": {"type": "integer"}}}, {}),
        ({"properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"a": 0}),
        ({"allOf": [{"properties": {"a": {"type": "null"}}}], "required": ["a"]}, {"a": None}),
        ({"type": "number", "multipleOf": 5, "minimum": 7}, 10.0),
        ({"type": "unheard-of"}, None),
        (True, None),
    ],
)
def test_small_schemas(schema: Any, expected: Any) -> None:
    """One word of JSON schema each."""
    assert expected == instance(schema)


def test_a_schema_without_end_is_cut() -> None:
    """A required property that is the schema itself ends at a depth."""
    value = instance({"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#"}}})
    depth = 0
    while value:
        value, depth = value["a"], depth + 1

    assert MAX_DEPTH + 1 == depth
