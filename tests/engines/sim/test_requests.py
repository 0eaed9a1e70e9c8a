"""Requests of all dialects become wishes; what they say becomes tokens."""

from typing import Any

import pytest

from headrace.engines.sim import requests
from headrace.engines.sim.ask import Refused

USER = {"role": "user", "content": "Hi"}


def prompt(**fields: Any) -> str:
    return "".join(requests.chat({"messages": [USER], **fields}).prompt)


def test_a_conversation_is_laid_out() -> None:
    """Roles, contents and the opening of the answer, as a chat template has them."""
    turns = [{"role": "system", "content": "Be brief."}, USER]

    assert (
        "<|system|>\nBe brief.<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\n"
        == prompt(messages=turns)
    )  # fmt: skip


def test_all_dialects_lay_out_the_same() -> None:
    """The same conversation has the same tokens in each dialect, so that caches are shared."""
    chat = requests.chat({"messages": [{"role": "system", "content": "S"}, USER]})
    messages = requests.messages({"system": "S", "messages": [USER], "max_tokens": 1})
    responses = requests.responses({"instructions": "S", "input": "Hi"})
    parts = requests.responses(
        {
            "instructions": "S",
            "input": [{**USER, "content": [{"type": "input_text", "text": "Hi"}]}],
        }
    )

    assert chat.prompt == messages.prompt == responses.prompt == parts.prompt


def test_pictures_have_tokens() -> None:
    """Equal pictures have equal tokens, others have others; all have as many."""

    def picture(url: str) -> list[str]:
        part = {"type": "image_url", "image_url": {"url": url}}
        return requests.chat({"messages": [{"role": "user", "content": [part]}]}).prompt

    assert picture("a") == picture("a")
    assert picture("a") != picture("b")
    assert len(picture("a")) == len(picture("b")) > requests.IMAGE_TOKENS


def test_tools_and_calls_are_part_of_the_prompt() -> None:
    """Tools, calls and their results count as tokens."""
    tools = [{"type": "function", "function": {"name": "look"}}]
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
    result = {"role": "tool", "content": "sunny"}

    assert '{"name": "look"}' in prompt(tools=tools)
    assert '<|call|>[{"id": "1"}]<|end|>' in prompt(messages=[USER, call, result])
    assert "<|tool|>\nsunny<|end|>" in prompt(messages=[USER, call, result])


def test_odd_content_is_kept() -> None:
    """What is neither text nor a list of parts still counts; an odd role is a user's."""
    odd = prompt(messages=[{"role": "a b", "content": {"x": 1}}, {"content": ["plain", {"y": 2}]}])

    assert '<|user|>\n{"x": 1}<|end|>\n<|user|>\nplain{"y": 2}<|end|>' in odd


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"response_format": "json"}, "body.response_format"),
        ({"min_tokens": -1}, "min_tokens"),
        ({"logprobs": True}, "logprobs"),
        ({"messages": ["Hi"]}, "body.messages"),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, Any], param: str) -> None:
    """The refusal names the field."""
    with pytest.raises(Refused) as caught:
        prompt(**fields)

    assert param == caught.value.param


def test_limits_have_two_names() -> None:
    """The newer name of the limit wins, and is the one that errors tell."""
    both = requests.chat({"messages": [USER], "max_tokens": 5, "max_completion_tokens": 3})
    old = requests.chat({"messages": [USER], "max_tokens": 5})

    assert (3, "max_completion_tokens") == (both.max_tokens, both.max_tokens_name)
    assert (5, "max_tokens") == (old.max_tokens, old.max_tokens_name)


def test_text_completions_have_a_default_limit() -> None:
    """16 tokens, as in OpenAI's and vLLM's API; an empty prompt still has a token."""
    wish = requests.completion({"prompt": ""})

    assert (16, 1) == (wish.max_tokens, len(wish.prompt))
    assert ["<7>", "<8>"] == requests.completion({"prompt": [[7, 8]]}).prompt


def test_a_named_tool_is_taken_among_many() -> None:
    """By name the right one is called; when any will do, the first."""
    tools = [{"name": name, "input_schema": {"type": "object"}} for name in ("a", "b")]
    body = {"messages": [USER], "max_tokens": 9, "tools": tools}
    named = requests.messages({**body, "tool_choice": {"type": "tool", "name": "b"}})
    free = requests.messages({**body, "tool_choice": {"type": "any"}})

    assert ("b", "a") == (named.call, free.call)
    assert "{}" == named.said
