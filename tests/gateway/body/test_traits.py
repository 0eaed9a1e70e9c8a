"""traits.py: what rules ask of a body, in every API's spelling, and that odd bodies do no harm."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import BadRequest
from headrace.gateway.body import scan
from headrace.gateway.body.traits import NO_TRAITS, Traits, read, traits

TEXT = {"role": "user", "content": "x"}


def found(**body: Any) -> Traits:
    return traits(read(json.dumps(body).encode()))


def said(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [*parts]}]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, {}),
        ({"messages": [TEXT, TEXT]}, {"messages": 2}),
        ({"input": "x"}, {"messages": 1}),
        ({"input": [TEXT, {"type": "function_call_output", "output": "x"}]}, {"messages": 2}),
        ({"input": ["a", "b"]}, {}),
        ({"input": [1, 2]}, {}),
        ({"messages": said({"type": "text", "text": "image"})}, {"messages": 1}),
        ({"messages": said({"type": "image_url"})}, {"messages": 1, "images": True}),
        ({"messages": said({"type": "image", "source": {}})}, {"messages": 1, "images": True}),
        ({"input": said({"type": "input_image"})}, {"messages": 1, "images": True}),
        (
            {"messages": said({"type": "tool_result", "content": [{"type": "image"}]})},
            {"messages": 1, "images": True},
        ),
        ({"tools": [{"type": "function"}]}, {"tools": True}),
        ({"tools": []}, {}),
        ({"tools": [{}], "tool_choice": "none"}, {}),
        ({"tools": [{}], "tool_choice": {"type": "auto"}}, {"tools": True}),
        ({"response_format": {"type": "json_schema"}}, {"json_schema": True}),
        ({"response_format": {"type": "json_object"}}, {}),
        ({"text": {"format": {"type": "json_schema"}}}, {"json_schema": True}),
        ({"text": "plain"}, {}),
        ({"guided_json": {}}, {"json_schema": True}),
        ({"structured_outputs": None}, {}),
        ({"user": "u"}, {"user": "u"}),
        ({"user": 7, "safety_identifier": "s"}, {"user": "s"}),
        ({"metadata": {"user_id": "m"}}, {"user": "m"}),
        ({"metadata": {"user_id": 3}}, {}),
        ({"prompt_cache_key": "k", "previous_response_id": "r"}, {"session": "k"}),
        ({"previous_response_id": "r"}, {"session": "r"}),
    ],
)  # fmt: skip
def test_traits(body: dict[str, Any], expected: dict[str, Any]) -> None:
    """Each is found where one of the APIs puts it, and nowhere else."""
    assert Traits(**expected) == found(**body)


@pytest.mark.parametrize(
    "body", [{"messages": "x"}, {"messages": [1]}, {"messages": {}}, {"response_format": 3}]
)
def test_odd_bodies(body: dict[str, Any]) -> None:
    """A body of another shape is read as always and has no traits: let the engine judge it."""
    data = json.dumps({"model": "m", **body}).encode()

    assert "m" == read(data).model
    assert NO_TRAITS == traits(read(data))


@pytest.mark.parametrize("data", [b"", b"[]", b'{"model":3}', b'{"model":"m"'])
def test_refusals_are_the_scans(data: bytes) -> None:
    """What the scan refuses is refused with the same words."""
    with pytest.raises(BadRequest) as usual:
        scan.read(data)
    with pytest.raises(BadRequest) as wide:
        read(data)

    assert usual.value.message == wide.value.message


KEYS = st.sampled_from(["type", "content", "format"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=10,
)
FIELDS = (
    "messages",
    "input",
    "tools",
    "tool_choice",
    "response_format",
    "text",
    "user",
    "metadata",
)


@given(st.dictionaries(st.sampled_from(FIELDS), values))
def test_any_body(body: dict[str, Any]) -> None:
    """Whatever a client sends, reading it never fails in a new way."""
    data = json.dumps(body).encode()

    assert scan.read(data).stream is read(data).stream
    assert isinstance(traits(read(data)), Traits)
