"""
Where the texts are in a request or an answer that was decoded from JSON: what people and models
wrote, not the names, ids and settings around it. The same for OpenAI's and Anthropic's APIs.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

# What stands under these keys was written by somebody, wherever they are.
TEXTS = frozenset({
    "chat_template", "const", "content", "default", "description", "documents",
    "enum", "examples", "input", "instructions", "output", "output_text",
    "prompt", "query",
    "reasoning", "reasoning_content", "refusal", "suffix", "summary_text", "system", "text",
    "text_1", "text_2", "thinking", "title",
})  # fmt: skip
# Templates show the model whatever is in these, by names of their own.
SHOWN = frozenset({"chat_template_kwargs", "documents", "mm_processor_kwargs"})
# JSON within a text: the arguments of tool calls.
QUOTED = frozenset({"arguments", "partial_json"})
# Tokens of a text one by one, or their numbers, would tell what was taken out of it.
SPELLED = frozenset({
    "encrypted_content", "logprobs", "prompt_logprobs", "prompt_token_ids", "token_ids",
    "top_logprobs",
})  # fmt: skip


_MEDIUM = re.compile(r"data:(?:image|audio|video|application)/[\w.+-]{1,80};base64,")
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="


class Spot(NamedTuple):
    """A text: ``holder[key]`` is it. ``quoted``: it is JSON; ``role`` is that of its message."""

    holder: Any
    key: str | int
    quoted: bool
    role: str

    @property
    def text(self) -> str:
        """It."""
        text: str = self.holder[self.key]
        return text

    def put(self, text: str) -> None:
        """Another in its place."""
        self.holder[self.key] = text


class _Node(NamedTuple):
    holder: Any
    key: Any
    role: str
    said: bool  # under one of the keys
    all_texts: bool  # a tool's input: whatever strings there are


def spots(tree: dict[str, Any], keys: Iterable[str] | None = None) -> Iterator[Spot]:
    """Every text below these top-level keys, or below all. Not recursive: depth is free."""
    given = tree if keys is None else keys
    todo = [_Node(tree, key, "", key in TEXTS | QUOTED, key in SHOWN) for key in given]
    while todo:
        node = todo.pop()
        value = node.holder[node.key]
        if isinstance(value, str):
            if node.said and not _is_medium(value):
                yield Spot(node.holder, node.key, node.key in QUOTED, node.role)
        elif isinstance(value, list):
            todo += [node._replace(holder=value, key=index) for index in range(len(value))]
        elif isinstance(value, dict):
            todo += _inside(value, node)


def _is_medium(text: str) -> bool:
    """Whether it is an image or a sound, and not a text that only begins like one."""
    head = _MEDIUM.match(text)
    return head is not None and not text[head.end() :].encode().translate(None, _BASE64)


def _inside(value: dict[str, Any], node: _Node) -> Iterator[_Node]:
    """The members of an object, each with what it stands under."""
    role = value["role"] if isinstance(value.get("role"), str) else node.role
    everything = node.all_texts or (node.key == "input" and "role" not in value)
    whose = "role" in value and isinstance(value.get("name"), str)
    spelled_out = value.get("type") == "text"  # a document of Anthropic's
    for key in value:
        said = everything or key in TEXTS or key in QUOTED or (spelled_out and key == "data")
        said = said or (whose and key == "name")  # templates show it before the message
        yield _Node(value, key, role, said, everything)


def numbers(tree: dict[str, Any]) -> str:
    """The parameter that gives a prompt as numbers of tokens or as vectors; empty for none."""
    for name in ("prompt", "input"):
        given = tree.get(name)
        if isinstance(given, list) and any(isinstance(each, int | list) for each in given):
            return name
    return "prompt_embeds" if tree.get("prompt_embeds") is not None else ""


def silenced(tree: Any) -> bool:
    """Take out what would tell a text token by token; whether there was any."""
    found, todo = False, [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, list):
            todo += node
        if not isinstance(node, dict):
            continue
        spelled = {key: None for key in SPELLED & node.keys() if node[key] is not None}
        found = found or bool(spelled)
        node |= spelled
        todo += node.values()
    return found
