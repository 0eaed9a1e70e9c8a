"""forms.py: which schemas, expressions, grammars and choices an engine can be asked to follow."""

import itertools
import json
from enum import Enum
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from headrace.config.parameters import Schemas
from headrace.guard.forms import Forms, Unfit
from tests.guard.growth import linear


def look(schema: Any, *, strict: bool = True, **bounds: int) -> int:
    forms = Forms(Schemas.model_validate(bounds))
    forms.schema(json.loads(json.dumps(schema)), strict=strict)
    return forms.nodes


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Leaf(BaseModel):
    name: str = Field(max_length=80, pattern=r"^[a-z]+$")
    colour: Colour
    kind: Literal["a", "b"] = "a"


class Tree(BaseModel):
    leaves: list[Leaf] = Field(min_length=1, max_length=10)
    inner: "Tree | None" = None
    extra: dict[str, float] = {}


@pytest.mark.parametrize(
    "schema",
    [
        Tree.model_json_schema(),
        {},
        True,
        {"$ref": "#"},
        {"type": ["string", "null"]},
        {"type": "array", "items": [{"type": "string"}, True]},
        {"type": "array", "items": [], "prefixItems": [{}]},
        {"$defs": {"a/b": {"$anchor": "x"}}, "anyOf": [{"$ref": "#/$defs/a~1b"}, {"$ref": "#x"}]},
        {"allOf": [{"$ref": "#/allOf/1"}, {"type": "object"}]},
        {"properties": {"pattern": {}, "enum": {}, "$ref": {}, "minItems": {}, "type": {}}},
        {"enum": [{"type": 3, "$ref": 7}], "const": {"pattern": "("}, "default": {"items": 1}},
        {"patternProperties": {"^x-": {"type": "integer"}}, "additionalProperties": False},
        {"minLength": 1.0, "x-of-ours": {"type": "whatever"}},
    ],
)
def test_good_schemas_pass(schema: Any) -> None:
    """Schemas as libraries make them, recursive ones, and data that only looks like a schema."""
    assert look(schema) >= 0


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (["a"], "must be an object"),
        ("{}", "must be an object"),
        ({"properties": {"foo": "bar"}}, "`foo` has no schema"),
        ({"properties": ["a"]}, "`properties` has no schema"),
        ({"anyOf": []}, "`anyOf` has no schema"),
        ({"oneOf": [3]}, "`oneOf` has no schema"),
        ({"items": "string"}, "`items` has no schema"),
        ({"type": "str"}, "`type` must be one of array,"),
        ({"type": []}, "`type` must be"),
        ({"enum": "a"}, "`enum` must be a list"),
        ({"required": True}, "`required` must be"),
        ({"minItems": "3"}, "`minItems` must be a whole number"),
        ({"maxLength": -1}, "`maxLength` must be a whole number"),
        ({"minLength": True}, "`minLength` must be a whole number"),
        ({"pattern": "(a"}, "regular expression that has a group"),
        ({"patternProperties": {"*": {}}}, "repeats nothing"),
        ({"$ref": 3}, "`\\$ref` must be a text"),
        ({"$ref": "#/$defs/a"}, "refers to `#/\\$defs/a`, which is not in it"),
        ({"$ref": "other.json"}, "only places within it"),
    ],
)
def test_what_is_wrong_is_told_where_it_must_be_followed(schema: Any, why: str) -> None:
    """Each of these has ended or stalled some engine that was asked to follow it."""
    with pytest.raises(Unfit, match=why):
        look(schema)


def test_tools_may_be_careless() -> None:
    """Most engines only show a tool's schema to the model: what is merely wrong passes."""
    careless = {
        "type": "OBJECT", "required": True, "properties": {"a": "string"}, "$ref": "#/nowhere",
        "items": {"type": "any", "$ref": "local"},
    }  # fmt: skip
    assert look(careless, strict=False) > 0


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"$ref": "http://10.0.0.1/x"}, "only places within it"),
        ({"$ref": "file:///etc/passwd"}, "only places within it"),
        ({"properties": {"a": {"pattern": "((("}}}, "not closed"),
        ({"pattern": "((a{99}){99}){99}"}, "larger than 20000"),
        ({"pattern": "a" * 5000}, "more than 4096 characters"),
        ({"enum": ["x"] * 5001}, "more than 5000 values"),
        ({"maxLength": 10**400}, "`maxLength` above 100000"),
        ({"properties": {f"p{number}": {} for number in range(20_000)}}, "more than 20000 values"),
        ({"minItems": 999, "items": {"minItems": 999, "items": {"minItems": 999}}}, "unfold"),
        ({"minItems": 99_999, "items": {"minLength": 99_999}}, "unfold"),
    ],
)
def test_what_is_hostile_is_refused_everywhere(schema: Any, why: str, *, strict: bool) -> None:
    """Of tools, too: some engines compile those with every request."""
    with pytest.raises(Unfit, match=why):
        look(schema, strict=strict)


def test_depth_is_bounded() -> None:
    """Objects and lists within each other, whatever they are for."""
    deep: dict[str, Any] = {}
    for _ in range(40):
        deep = {"default": [deep]}

    with pytest.raises(Unfit, match="more than 64 deep"):
        look(deep)
    assert look(deep, max_depth=81) > 0


def test_references_that_double() -> None:
    """A schema of 3 kB that has a million million values once it is written out."""
    names = [f"a{number}" for number in range(41)]
    defs = {
        name: {"anyOf": [{"$ref": f"#/$defs/{after}"}] * 2}
        for name, after in itertools.pairwise(names)
    }
    laughs = {"$ref": "#/$defs/a0", "$defs": defs | {"a40": {"type": "string"}}}

    with pytest.raises(Unfit, match="unfold to more than 1000000 values"):
        look(laughs)
    assert look({**laughs, "$ref": "#/$defs/a38"}, max_unfolded=10**15) > 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("#/$defs/a"),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from([
            "type", "properties", "items", "$ref", "$defs", "a", "anyOf", "enum", "pattern",
            "minItems", "required", "$anchor", "patternProperties", "additionalProperties",
        ]),
        inner,
        max_size=4,
    ),
    max_leaves=20,
)  # fmt: skip


@given(JSON, st.booleans())
def test_whatever_it_is(schema: Any, strict: bool) -> None:
    """Any JSON passes or is unfit; nothing else happens."""
    try:
        assert look(schema, strict=strict) >= 0
    except Unfit:
        return


def test_work_grows_with_size() -> None:
    """References that lead to each other, and long chains of them, take no longer than others."""

    def chain(size: int) -> None:
        defs = {f"a{each}": {"$ref": f"#/$defs/a{each + 1}"} for each in range(size)}
        defs[f"a{size}"] = {"$ref": "#/$defs/a0"}
        look({"$ref": "#/$defs/a0", "$defs": defs}, max_nodes=10**7, max_unfolded=10**9)

    def knot(size: int) -> None:
        look({"anyOf": [{"$ref": "#"}] * size}, max_nodes=10**7)

    assert linear(chain, 1000)
    assert linear(knot, 1000)


def test_choices_and_grammars() -> None:
    """They have bounds of their own."""
    forms = Forms(Schemas(max_choices=3, max_grammar=100, max_unfolded=1000))
    forms.choices(["a", "b"])
    forms.grammar('root ::= "yes" | "no"')
    for choices, why in (([], "one at least"), ("a", "a list"), ([3], "texts"), (["a"] * 4, "3")):
        with pytest.raises(Unfit, match=why):
            forms.choices(choices)
    for grammar, bad in ((3, "no text"), ("x" * 101, "100 char"), ("a{1001}", "1000 when")):
        with pytest.raises(Unfit, match=bad):
            forms.grammar(grammar)
    with pytest.raises(Unfit, match="nested"):
        forms.grammar("(" * 70)
    with pytest.raises(Unfit, match="no text"):
        forms.pattern(3)


@pytest.mark.parametrize("ask", [Forms.pattern, Forms.grammar])
def test_many_expressions_are_bounded_together(ask: Any) -> None:
    """Each may be as long as one may be, but not a hundred of them."""
    forms = Forms(Schemas(max_pattern=100, max_grammar=100))
    for _ in range(8):
        ask(forms, "a" * 100)
    with pytest.raises(Unfit, match="of more than 800 characters together"):
        ask(forms, "a")
