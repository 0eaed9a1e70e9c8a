"""Vectors: the table that is installed, and answers of endpoints that are not as they should be."""

import importlib.util
import json

import numpy as np
import pytest

from headrace.errors import StartError
from headrace.gateway.rules.embedding import Builtin, NotEmbedded, _vectors


@pytest.fixture(scope="module")
def builtin() -> Builtin:
    """The table, loaded once: 16 MB."""
    return Builtin()


def test_meaning_is_near(builtin: Builtin) -> None:
    """Two ways to say the same are nearer to each other than to something else."""
    weather, forecast, poem = builtin.embed(
        ["what is the weather like", "is it going to rain today", "write a sonnet about a queen"]
    )

    assert float(weather @ forecast) > float(weather @ poem) + 0.1


def test_vectors_have_length_one(builtin: Builtin) -> None:
    """One row of 256 numbers for each text; a text without tokens is zeros."""
    rows = builtin.embed(["hello", "wörld 🎉", ""])

    assert (3, 256) == rows.shape
    assert np.float32 == rows.dtype
    assert [1, 1, 0] == pytest.approx(np.linalg.norm(rows, axis=1).tolist(), abs=1e-4)


def test_same_text_same_vector(builtin: Builtin) -> None:
    """A vector does not depend on what else is embedded with it."""
    alone = builtin.embed(["prove it"])
    among = builtin.embed(["hello", "prove it", "card"])

    assert alone[0].tobytes() == among[1].tobytes()


def test_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package the error names it, how to install it, and the way around."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(StartError, match=r"wordllama; install it .*classify.*embedding\.url"):
        Builtin()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"data": []}, "0 embeddings for 2"),
        ({"data": [{"index": 0, "embedding": [1.0]}]}, "1 embeddings for 2"),
        ({"data": [{"embedding": [1.0]}, {"embedding": [1.0, 2.0]}]}, "2 embeddings for 2"),
        ({"data": [{"embedding": []}, {"embedding": []}]}, "2 embeddings for 2"),
        ({"error": "no"}, "something else"),
        ([], "something else"),
    ],
)
def test_odd_answers_are_refused(answer: object, reason: str) -> None:
    """An answer without as many vectors as there are texts is said to be none."""
    with pytest.raises(NotEmbedded, match=reason):
        _vectors(json.dumps(answer).encode(), 2, "http://e")


def test_answers_are_put_in_order() -> None:
    """Vectors belong to the texts by their index, not by their place."""
    answer = {"data": [{"index": 1, "embedding": [1.0]}, {"index": 0, "embedding": [2.0]}]}

    assert [[2.0], [1.0]] == _vectors(json.dumps(answer).encode(), 2, "http://e").tolist()
