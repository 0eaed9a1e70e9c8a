"""address.py: what may be an engine's URL, its key and its name."""

from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from headrace.config.address import base_url
from headrace.config.backends import Backend
from headrace.config.fleet import Admin


def backend(**settings: Any) -> Backend:
    return Backend.model_validate({"url": "http://gpu-1:8000", "serves": ["m"], **settings})


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("http://gpu-1:8000/", "http://gpu-1:8000"),
        ("http://gpu-1:8000/v1", "http://gpu-1:8000"),
        ("http://gpu-1:8000/v1/", "http://gpu-1:8000"),
        ("https://api.example.com/openai/v1", "https://api.example.com/openai"),
        ("https://example.com/llm/", "https://example.com/llm"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_base_urls(url: str, kept: str) -> None:
    """What people copy as a base URL is one; endpoints begin with /v1 by themselves."""
    assert kept == base_url(url)


@pytest.mark.parametrize(
    "url",
    ["http://gpu..x:1", f"http://{'a' * 64}:1", "http://模型:1", "http://gpu 1:1", "http://gpu:0",
     "http://gpu-1\n:8000", "http://gpu-1/a b"],
)  # fmt: skip
def test_what_no_resolver_takes(url: str) -> None:
    """It is refused when it is read, not when the first request needs it."""
    with pytest.raises(ValueError, match="must be http://host:port"):
        base_url(url)


@pytest.mark.parametrize("key", ["", " ", "a b", "a\r\nx-evil: 1", "sk-\u2014", "a\0"])
def test_no_keys(key: str) -> None:
    """What does not fit into a header is no key, and the error does not repeat it."""
    with pytest.raises(ValidationError, match="must be a key") as refused:
        backend(api_key=SecretStr(key))

    assert not key.strip() or key not in str(refused.value)


def test_a_line_end_is_not_the_keys() -> None:
    """What `$(cat FILE)` or a mounted secret leaves at the end is left out."""
    assert "sk-1" == backend(api_key="sk-1\n").key()


def test_an_empty_token_protects_nothing() -> None:
    """An admin API that others can reach does not take a variable that was not set for a token."""
    with pytest.raises(ValidationError, match="must be a key"):
        Admin.model_validate({"host": "0.0.0.0", "token": ""})


def test_names_stay_on_their_line() -> None:
    """A name stands in a header of each answer: it cannot begin another one."""
    with pytest.raises(ValidationError, match="printable"):
        backend(name="a\r\nset-cookie: x")


@pytest.mark.parametrize("serves", [[""], {"": "a"}, {"a": ""}])
def test_no_empty_names(serves: object) -> None:
    """A model has a name."""
    with pytest.raises(ValidationError, match="empty name"):
        backend(serves=serves)
