"""walk.py: all that people and models wrote is found, and nothing of what is around it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.guard.walk import QUOTED, SPELLED, TEXTS, numbers, silenced, spots

KEYS = sorted(TEXTS | QUOTED | SPELLED | {"role", "type", "data", "messages"})

TREES: list[tuple[dict[str, Any], set[str]]] = [
    ({"model": "m", "messages": [{"role": "user", "name": "U", "content": "T"}]}, {"T", "U"}),
    ({"messages": [{"content": [{"type": "text", "text": "T"},
                                {"type": "image_url", "image_url": {"url": "u"}}]}]}, {"T"}),
    ({"prompt": ["T", "U"], "suffix": "V", "user": "x"}, {"T", "U", "V"}),
    ({"input": "T", "instructions": "U"}, {"T", "U"}),
    ({"input": [{"role": "user", "content": [{"type": "input_text", "text": "T"}]},
                {"type": "function_call_output", "call_id": "c", "output": "U"}]}, {"T", "U"}),
    ({"input": [1, 2]}, set()),
    ({"system": [{"type": "text", "text": "T", "cache_control": {"type": "ephemeral"}}]}, {"T"}),
    ({"messages": [{"role": "assistant", "content": [
        {"type": "tool_use", "id": "i", "name": "n", "input": {"to": "T", "cc": ["U", {"x": "V"}]}},
        {"type": "thinking", "thinking": "W", "signature": "s"}]}]}, {"T", "U", "V", "W"}),
    ({"messages": [{"content": [{"type": "document", "source": {"type": "text", "data": "T"}}]}]},
     {"T"}),
    ({"messages": [{"tool_calls": [{"id": "i", "function": {"name": "n", "arguments": "T"}}]}]},
     {"T"}),
    ({"query": "T", "documents": ["U", {"text": "V"}], "text_1": "W"}, {"T", "U", "V", "W"}),
    ({"choices": [{"finish_reason": "stop", "message": {"content": "T", "refusal": "U",
                                                        "reasoning": "V"}}]}, {"T", "U", "V"}),
    ({"content": "data:image/png;base64,AAAA"}, set()),
    ({"content": ["data: T", "data:image/png;base64,T!"]}, {"data: T", "data:image/png;base64,T!"}),
    ({"content": "data:text/plain;base64,AAAA"}, {"data:text/plain;base64,AAAA"}),
    ({"chat_template": "T", "chat_template_kwargs": {"x": ["U", {"y": "V"}], "on": True}},
     {"T", "U", "V"}),
    ({"documents": [{"title": "T", "source": "U", "page": 3}]}, {"T", "U"}),
    ({"mm_processor_kwargs": {"prefix": "T"}, "metadata": {"x": "y"}}, {"T"}),
    ({"tools": [{"input_schema": {"properties": {"a": {
        "type": "string", "title": "T", "enum": ["U"], "default": "V", "examples": ["W"]}}}}]},
     {"T", "U", "V", "W"}),
    ({"tools": [{"type": "function", "function": {"name": "n", "description": "T", "parameters":
        {"properties": {"description": {"type": "string", "description": "U"}}}}}]}, {"T", "U"}),
]  # fmt: skip


@pytest.mark.parametrize(("tree", "texts"), TREES)
def test_texts(tree: dict[str, Any], texts: set[str]) -> None:
    """In requests and answers of every API."""
    assert texts == {spot.text for spot in spots(tree)}


@pytest.mark.parametrize(
    ("tree", "named"),
    [
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": ["a", [1]]}, "prompt"),
        ({"input": [[1, 2]]}, "input"),
        ({"prompt": "a", "prompt_embeds": "AAAA"}, "prompt_embeds"),
        ({"prompt": ["a", "b"], "input": [{"role": "user", "content": [1]}]}, ""),
        ({"prompt": "a", "prompt_embeds": None}, ""),
    ],
)
def test_prompts_that_are_no_text(tree: dict[str, Any], named: str) -> None:
    """Numbers of tokens and vectors say what no guard can read; texts and lists of them do not."""
    assert named == numbers(tree)


def test_what_is_put_stands_in_the_tree() -> None:
    """Whose message it is, and whether it is JSON, is told, too."""
    tree: dict[str, Any] = {
        "messages": [{"role": "tool", "content": ["a"], "function": {"arguments": "{}"}}]
    }
    found = {spot.text: spot for spot in spots(tree, ["messages"])}

    assert [("tool", False), ("tool", True)] == [
        (found[text].role, found[text].quoted) for text in ("a", "{}")
    ]
    found["a"].put("b")
    assert ["b"] == tree["messages"][0]["content"]


def test_depth_is_free() -> None:
    """A tree may be as deep as a body can be."""
    tree: dict[str, Any] = {"content": "T"}
    for _ in range(5000):
        tree = {"content": [tree]}

    assert ["T"] == [spot.text for spot in spots(tree)]


TREE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS) | st.text(), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(KEYS), TREE))
def test_clients_may_send_anything(tree: dict[str, Any]) -> None:
    """Whatever the shape, texts are found or not, and all of them can be replaced."""
    for spot in list(spots(tree)):
        spot.put("x")
    silenced(tree)

    assert {"x"} >= {spot.text for spot in spots(tree)}


def test_what_spells_a_text_is_silenced() -> None:
    """Wherever it is, and only where there is something."""
    tree = {"choices": [{"logprobs": {"content": []}, "token_ids": [1]}], "prompt_logprobs": None}

    assert silenced(tree)
    assert {"choices": [{"logprobs": None, "token_ids": None}], "prompt_logprobs": None} == tree
    assert not silenced(tree)
