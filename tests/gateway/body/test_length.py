"""length.py: how long answers may be, and how many of them, whatever the body looks like."""

import json
from typing import Any

import pytest

from headrace.errors import BadRequest, TooLong
from headrace.gateway.body import length, scan
from headrace.gateway.body.length import asked

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
RESPONSES, MESSAGES = "/v1/responses", "/v1/messages"


def dump(**fields: Any) -> bytes:
    return json.dumps({"model": "m", **fields}).encode()


def bounded(body: bytes, path: str, most: int, *, refuse: bool) -> tuple[bytes, int]:
    """As it is done with what was read at first, and with what a rule has edited."""
    found = length.bounded(body, scan.read(body), path, most, refuse=refuse)
    assert found == length.bounded(body, length.read(body), path, most, refuse=refuse)
    return found


def choices(body: bytes, path: str) -> int:
    found = length.choices(scan.read(body), path)
    assert found == length.choices(length.read(body), path)
    return found


@pytest.mark.parametrize(
    ("path", "fields", "expected"),
    [
        (CHAT, {"max_tokens": 7}, 7),
        (CHAT, {"max_tokens": 7, "max_completion_tokens": 9}, 9),
        (CHAT, {"max_tokens": 7, "max_completion_tokens": None}, 7),
        (CHAT, {"max_output_tokens": 7}, 0),  # no name of this endpoint
        (TEXT, {"max_completion_tokens": 1, "max_tokens": 900}, 900),
        (RESPONSES, {"max_output_tokens": 7}, 7),
        (MESSAGES, {"max_tokens": 7}, 7),
        (MESSAGES, {}, 0),
        (MESSAGES, {"max_tokens": -7}, 0),
    ],
)
def test_what_is_asked_for(path: str, fields: dict[str, Any], expected: int) -> None:
    """Each endpoint has names of its own; others there are no way around a limit."""
    assert expected == asked(scan.read(dump(**fields)), path)


@pytest.mark.parametrize("value", ["9", 9.0, True, [9]])
def test_what_is_no_length(value: Any) -> None:
    """Engines read numbers in texts as numbers: a length that is none is refused."""
    with pytest.raises(BadRequest, match="`max_tokens` must be a whole number"):
        bounded(dump(max_tokens=value), CHAT, 5, refuse=True)
    with pytest.raises(BadRequest, match="`max_tokens` must be a whole number"):
        asked(scan.read(dump(max_tokens=value)), CHAT)


@pytest.mark.parametrize(
    ("path", "fields", "expected"),
    [
        (CHAT, {"max_tokens": 5}, 5),
        (CHAT, {"max_tokens": 3}, 3),
        (CHAT, {}, 5),
        (CHAT, {"max_tokens": None}, 5),
        (CHAT, {"max_output_tokens": 2}, 5),
        (CHAT, {"max_completion_tokens": None, "max_output_tokens": 2}, 5),
        (RESPONSES, {"max_tokens": 2}, 5),
        (RESPONSES, {}, 5),
        (TEXT, {}, 5),
    ],
)
def test_a_bound(path: str, fields: dict[str, Any], expected: int) -> None:
    """A request within it passes; one that does not say how long is told, in its own words."""
    body, tokens = bounded(dump(**fields), path, 5, refuse=True)

    assert expected == tokens
    assert expected == asked(scan.read(body), path)
    assert {"model": "m"}.items() <= json.loads(body).items()


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "max_output_tokens"])
def test_a_longer_one_is_refused(name: str) -> None:
    """By whatever name, and the error says which."""
    with pytest.raises(TooLong, match=f"`{name}` is 6; at most 5 is allowed") as refused:
        bounded(dump(**{name: 6}), CHAT, 5, refuse=True)

    assert (400, name, True) == (
        refused.value.status, refused.value.param, refused.value.hopeless,
    )  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [
        {"max_tokens": 99},
        {"max_completion_tokens": 99},
        {"max_tokens": 3, "max_completion_tokens": 99},
        {"max_tokens": 99, "max_completion_tokens": None},
    ],
)
def test_a_longer_one_is_clamped(fields: dict[str, Any]) -> None:
    """Or made as long as it may be, and not one byte more."""
    body, tokens = bounded(dump(**fields), CHAT, 5, refuse=False)

    assert 5 == tokens == asked(scan.read(body), CHAT)
    assert all(
        value is None or value <= 5 for key, value in json.loads(body).items() if key != "model"
    )


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        (CHAT, dump(), 1),
        (CHAT, dump(n=3), 3),
        (CHAT, dump(n=None), 1),
        (CHAT, b'{"\\u006e": 4}', 4),  # a name in disguise
        (CHAT, dump(messages=[{"n": 9}]), 1),
        (TEXT, dump(n=2, best_of=5), 5),
        (TEXT, dump(prompt="one"), 1),
        (TEXT, dump(prompt=["one", "two", "three"]), 3),
        (TEXT, dump(prompt=["one", "two"], n=2), 4),
        (TEXT, dump(prompt=[1, 2, 3]), 1),
        (TEXT, dump(prompt=[[1, 2], [3]]), 2),
        (TEXT, dump(prompt=[]), 1),
        (TEXT, dump(n=0), 1),
    ],
)
def test_how_many_answers(path: str, body: bytes, expected: int) -> None:
    """Choices and lists of prompts are as many answers, each as long as it is allowed."""
    assert expected == choices(body, path)


def test_what_is_no_number_of_answers() -> None:
    """A number in a text would be one to an engine."""
    with pytest.raises(BadRequest, match="`n` must be a whole number"):
        choices(dump(n="128"), CHAT)


def test_what_is_no_json() -> None:
    """A body that cannot be decoded is refused as everywhere."""
    with pytest.raises(BadRequest, match="not valid JSON"):
        length.read(b'{"n": 1')
