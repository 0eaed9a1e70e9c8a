"""edits.py: parameters change as the rule says, and not one other byte does."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.config.rules import Limit
from headrace.errors import BadRequest
from headrace.gateway.body.edits import Edits
from headrace.gateway.body.scan import members
from tests.guard.growth import linear

CHAT = "/v1/chat/completions"


def edits(**limits: Any) -> Edits:
    return Edits({name: Limit.model_validate(limit) for name, limit in limits.items()})


@pytest.mark.parametrize(
    ("limits", "body", "expected"),
    [
        ({"n": {"max": 2}}, b'{"n": 3, "a":1}', b'{"n": 2, "a":1}'),
        ({"n": {"max": 2}}, b'{"n":2}', b'{"n":2}'),
        ({"n": {"min": 2}}, b'{"n":1}', b'{"n":2}'),
        ({"n": {"max": 2}}, b'{"a":1}', b'{"a":1}'),
        ({"n": {"max": 2.5}}, b'{"n":7e3}', b'{"n":2.5}'),
        ({"n": {"max": 2}}, b'{"n":"9"}', b'{"n":"9"}'),
        ({"n": {"max": 2}}, b'{"n":true}', b'{"n":true}'),
        ({"n": {"max": 2}}, b'{"a":{"n":9}}', b'{"a":{"n":9}}'),
        ({"n": {"max": 2}}, b'{"a":"\\"n\\":9","n":9}', b'{"a":"\\"n\\":9","n":2}'),
        ({"n": {"max": 2}}, b'{"\\u006e":9}', b'{"\\u006e":2}'),
        ({"n": {"max": 2}}, b'{"n":9,"n":8}', b'{"n":2,"n":2}'),
        ({"t": {"set": "0"}}, b'{"t":1}', b'{"t":0}'),
        ({"t": {"set": "0"}}, b'{"a":1}', b'{"t":0,"a":1}'),
        ({"t": {"set": "0"}}, b"{}", b'{"t":0}'),
        ({"t": {"set": ["x"]}}, b'{"t":[1,[2]]}', b'{"t":["x"]}'),
        ({"t": {"default": "0.5"}}, b'{"t":1}', b'{"t":1}'),
        ({"t": {"default": "0.5"}}, b'{"t":null}', b'{"t":0.5}'),
        ({"t": {"default": "0.5"}}, b'{"a":1}', b'{"t":0.5,"a":1}'),
        ({"t": {"default": "5", "max": "3"}}, b'{"t":4}', b'{"t":3}'),
        ({"n": {"drop": True}}, b'{"n":1,"a":2}', b'{"a":2}'),
        ({"n": {"drop": True}}, b'{"a":2, "n":1}', b'{"a":2}'),
        ({"n": {"drop": True}}, b'{"n":{"x":[1]}}', b"{}"),
        ({"n": {"drop": True}, "m": {"drop": True}}, b'{"n":1,"m":2}', b"{}"),
        ({"n": {"drop": True}, "m": {"drop": True}}, b'{"a":0,"n":1,"m":2}', b'{"a":0}'),
    ],
)
def test_edits(limits: dict[str, Any], body: bytes, expected: bytes) -> None:
    """Only the value's bytes change; nested and quoted namesakes do not."""
    assert expected == edits(**limits).apply(body, CHAT)


@pytest.mark.parametrize(
    ("body", "path", "expected"),
    [
        (b'{"max_completion_tokens":9}', CHAT, b'{"max_completion_tokens":5}'),
        (b'{"max_tokens":9,"max_tokens":8}', CHAT, b'{"max_tokens":5,"max_tokens":5}'),
        (b'{"max_tokens":null}', CHAT, b'{"max_tokens":5}'),
        (b'{"a":1}', CHAT, b'{"max_tokens":5,"a":1}'),
        (b'{"a":1}', "/v1/responses", b'{"max_output_tokens":5,"a":1}'),
        (b'{"max_output_tokens":7}', "/v1/responses", b'{"max_output_tokens":5}'),
        (b'{"a":1}', "/v1/embeddings", b'{"a":1}'),
    ],
)  # fmt: skip
def test_the_length_has_three_names(body: bytes, path: str, expected: bytes) -> None:
    """A limit holds whatever name the client uses, and cannot be avoided by using none."""
    assert expected == edits(max_tokens={"max": 5}).apply(body, path)
    assert expected == edits(max_completion_tokens={"max": 5}).apply(body, path)


def test_the_same_object() -> None:
    """Where nothing changes, nothing is copied."""
    body = b'{"n":1}'

    assert body is edits(n={"max": 2}).apply(body, CHAT)


@pytest.mark.parametrize(
    ("limit", "body", "message"),
    [
        ({"max": 2, "refuse": True}, b'{"n":3}', "`n` may be 2 at most here."),
        ({"min": 2, "refuse": True}, b'{"n":1}', "`n` may be 2 at least here."),
        ({"refuse": True}, b'{"n":1}', "The parameter `n` may not be set here."),
    ],
)
def test_refusals(limit: dict[str, Any], body: bytes, message: str) -> None:
    """The message says what is allowed, and names the parameter."""
    with pytest.raises(BadRequest) as caught:
        edits(n=limit).apply(body, CHAT)

    assert (message, "n") == (caught.value.message, caught.value.param)


@pytest.mark.parametrize("limit", [{"max": 2, "refuse": True}, {"refuse": True}])
def test_nothing_to_refuse(limit: dict[str, Any]) -> None:
    """Not given, null, or within the bounds: nothing happens."""
    for body in (b"{}", b'{"n":null}', *([b'{"n":2}'] if "max" in limit else [])):
        assert body == edits(n=limit).apply(body, CHAT)


@pytest.mark.parametrize("value", [b'"\xff"', b"1e999", b'"\\ud800"'])
def test_what_cannot_be_decoded(value: bytes) -> None:
    """A value that the scan skipped and that is no JSON is the client's error, not ours."""
    with pytest.raises(BadRequest, match="not valid JSON"):
        edits(n={"max": 2}).apply(b'{"n":' + value + b"}", CHAT)


scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4)
words = st.text(max_size=3)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(["n", "t", "d", "max_tokens"]) | st.text(max_size=3)


@given(st.dictionaries(keys, values, max_size=8), st.sampled_from([None, 1]))
def test_like_editing_the_object(body: dict[str, Any], indent: int | None) -> None:
    """On any object, spans give what the decoded object would become; its order is kept."""
    rule = edits(n={"max": 2}, t={"set": "0"}, d={"drop": "true"})
    expected = {key: value for key, value in body.items() if key != "d"}
    given_n = expected.get("n")
    if isinstance(given_n, int) and not isinstance(given_n, bool) and given_n > 2:
        expected["n"] = 2
    expected["t"] = 0

    data = json.dumps(body, indent=indent).encode()
    found = json.loads(rule.apply(data, CHAT))

    assert expected == found
    assert [key for key in body if key != "d"] == [key for key in found if key in body]
    quick = rule._quick_members(data)
    assert quick is None or members(data, rule._limits) == quick


@pytest.mark.parametrize("limit", [Limit(max=1), Limit(drop=True), Limit(set=0)])
def test_a_member_given_again_and_again_takes_linear_time(limit: Limit) -> None:
    """All of them are edited, in one go."""
    edits = Edits({"temperature": limit})

    def run(count: int) -> None:
        body = b"{" + b",".join([b'"temperature":2'] * count) + b"}"
        assert b'"temperature":2' not in edits.apply(body, "/v1/chat/completions")

    assert linear(run, 1000)


@given(
    st.lists(st.sampled_from(["a", "b", "c"]), max_size=6),
    st.lists(st.sampled_from(["", " ", "\n "]), min_size=14, max_size=14),
)
def test_what_is_taken_out_leaves_json(names: list[str], blanks: list[str]) -> None:
    """Whichever members go, first, last, next to each other or all, and whatever space is there."""
    space = iter(blanks)
    listed = [f'{next(space)}"{name}"{next(space)}:{index}' for index, name in enumerate(names)]
    body = ("{" + ",".join(listed) + " }").encode()
    left = {name: index for index, name in enumerate(names) if name == "c"}

    edited = Edits({"a": Limit(drop=True), "b": Limit(drop=True)}).apply(body, "/v1/embeddings")

    assert left == json.loads(edited)
