"""catalogue.py: names and aliases, and what is told about a name that is none."""

import pytest

from headrace.config.backends import Model
from headrace.errors import ModelNotFound
from headrace.fleet.catalogue import Catalogue

LLAMA = Model(name="meta/llama-3-8b", aliases=("llama", "gpt-4o"))
QWEN = Model(name="qwen-2.5")


@pytest.mark.parametrize(
    ("asked", "model"),
    [("meta/llama-3-8b", LLAMA), ("llama", LLAMA), ("gpt-4o", LLAMA), ("qwen-2.5", QWEN)],
)
def test_names_and_aliases(asked: str, model: Model) -> None:
    """A name and each alias lead to the model."""
    assert model == Catalogue([LLAMA, QWEN]).resolve(asked)


@pytest.mark.parametrize("asked", [None, ""])
def test_the_only_model_needs_no_name(asked: str | None) -> None:
    """As in vLLM; with two models a request must say which one it means."""
    assert QWEN == Catalogue([QWEN]).resolve(asked)
    for several in ([LLAMA, QWEN], []):
        with pytest.raises(ModelNotFound, match="names no `model`") as caught:
            Catalogue(several).resolve(asked)
        assert "model" == caught.value.param


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("qwen-2", "Did you mean `qwen-2.5`?"),
        ("lama", "Did you mean `llama`?"),
        ("zzzzz", "Did you mean `gpt-4o` or `llama` or `meta/llama-3-8b` or `qwen-2.5`?"),
        ("LLAMA", "Did you mean `gpt-4o` or"),
        ("x" * 9999, "` does not exist. Did you mean"),
    ],
)
def test_unknown_names(asked: str, hint: str) -> None:
    """The message names what is close, or what there is; it is never as long as what was asked."""
    with pytest.raises(ModelNotFound) as caught:
        Catalogue([LLAMA, QWEN]).resolve(asked)

    assert hint in caught.value.message
    assert len(caught.value.message) < 600
    assert "model" == caught.value.param


def test_an_empty_catalogue() -> None:
    """Without any model there is nothing to suggest."""
    with pytest.raises(ModelNotFound, match=r"does not exist\.$"):
        Catalogue([]).resolve("m")
