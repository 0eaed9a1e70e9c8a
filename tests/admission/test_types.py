"""types.py: callers and what they may use."""

import pytest

from headrace.admission.types import NOBODY, Allow, Caller


@pytest.mark.parametrize(
    ("given", "name", "allowed"),
    [
        (["a", "b"], "a", True),
        (["a", "b"], "ab", False),
        (["qwen3-*"], "qwen3-8b", True),
        (["qwen3-*"], "xqwen3-8b", False),
        (["m?"], "m1", True),
        (["m?"], "m12", False),
        (["a.b"], "axb", False),
        (["*"], "anything/at all", True),
        (["[ab]"], "a", True),
    ],
)
def test_lists_allow_names_and_patterns(given: list[str], name: str, allowed: bool) -> None:
    """A name is allowed if it or a pattern is in the list, as a whole."""
    allow = Allow.of(given)

    assert allow is not None
    assert allowed is (name in allow)


def test_an_empty_list_is_no_list() -> None:
    """What nobody listed is not restricted."""
    assert None is Allow.of([])


def test_nobody_may_use_everything() -> None:
    """Where nobody is asked, nothing is refused."""
    assert NOBODY.may_use("m")
    assert NOBODY.may_call("/v1/embeddings")


def test_each_list_must_allow() -> None:
    """A key cannot have more than its tenant; either name of a model will do."""
    lists = [Allow.of(["big", "small"]), Allow.of(["small", "tiny"])]
    caller = Caller(models=tuple(each for each in lists if each is not None))

    assert caller.may_use("small")
    assert caller.may_use("other", "small")
    assert not caller.may_use("big")
    assert not caller.may_use("tiny")


def test_endpoints() -> None:
    """A key with endpoints is for these alone."""
    caller = Caller(endpoints=Allow.of(["/v1/embeddings", "/v1/chat/*"]))

    assert [True, True, False] == [
        caller.may_call(path)
        for path in ("/v1/embeddings", "/v1/chat/completions", "/v1/completions")
    ]
