"""The text that is judged, and what is said where the libraries for judging are missing."""

import importlib
import json

import pytest

from headrace.config.classes import Classes
from headrace.errors import StartError
from headrace.gateway.rules.classes import classifier, words
from headrace.telemetry.classes import ClassMetrics
from headrace.telemetry.metrics import Metrics
from headrace.telemetry.writer import Writer


def user(content: object) -> dict[str, object]:
    return {"role": "user", "content": content}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"messages": [user("first"), {"role": "assistant"}, user("last")]}, "last"),
        ({"messages": [{"role": "system", "content": "s"}, user("asked")]}, "asked"),
        ({"messages": [user([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])]},
         "a\nb"),
        ({"messages": [user([{"type": "image_url", "image_url": {"url": "data:"}},
                             {"type": "text", "text": "what is it?"}])]}, "what is it?"),
        ({"messages": [user("asked"), user([{"type": "tool_result", "content": "42"}])]}, "asked"),
        ({"messages": [user("asked"), {"role": "tool", "content": "42"}]}, "asked"),
        ({"messages": [user(None)]}, ""),
        ({"messages": [user('höher "und"\n')]}, 'höher "und"\n'),
        ({"input": "a response"}, "a response"),
        ({"input": [user([{"type": "input_text", "text": "listed"}])]}, "listed"),
        ({"input": [user("one"), {"type": "function_call_output", "output": "42"}]}, "one"),
        ({"prompt": "complete me"}, "complete me"),
        ({"prompt": ["one", "two"]}, "one\ntwo"),
        ({"prompt": [1, 2, 3]}, ""),
        ({"messages": "nonsense"}, ""),
        ({"messages": [1]}, ""),
        ({}, ""),
    ],
)  # fmt: skip
def test_words_of_a_request(body: object, text: str) -> None:
    """Chat, messages, responses and completions: what the user said last, if anything."""
    assert text == words(json.dumps(body).encode())


def test_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the extra is not installed, the error says which package and how to get it."""

    def absent(name: str) -> object:
        raise ModuleNotFoundError(f"No module named 'numpy' for {name}", name="numpy")

    monkeypatch.setattr(importlib, "import_module", absent)
    metrics = Metrics([], [])
    log = Writer(metrics, requests=False, console=False, file=None)

    with pytest.raises(
        StartError, match=r"numpy; install it with `pip install 'headrace\[classify"
    ):
        classifier(Classes(), ClassMetrics(metrics.registry), log)
