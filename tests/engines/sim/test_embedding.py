"""Embeddings: what may be embedded, and in which form vectors come."""

import base64
import struct
from typing import Any

import pytest

from headrace.engines.sim import embedding
from headrace.engines.sim.ask import Refused


def answer(**body: Any) -> dict[str, Any]:
    return embedding.answer(body, "m", "id", 0)


def test_one_text_and_its_tokens() -> None:
    """A text, a list of one, or tokens give one vector each."""
    for given in ("water", ["water"], [1, 2, 3]):
        assert [0] == [entry["index"] for entry in answer(input=given)["data"]]


def test_base64_holds_the_same_numbers() -> None:
    """The packed form is little-endian floats."""
    (plain,) = answer(input="x", dimensions=4)["data"]
    (packed,) = answer(input="x", dimensions=4, encoding_format="base64")["data"]
    numbers = struct.unpack("<4f", base64.b64decode(packed["embedding"]))

    assert plain["embedding"] == pytest.approx(numbers, rel=1e-6)


@pytest.mark.parametrize("body", [{}, {"input": []}, {"input": "x", "dimensions": 9000}])
def test_what_cannot_be_embedded(body: dict[str, Any]) -> None:
    """Nothing, or vectors of no known size."""
    with pytest.raises(Refused):
        answer(**body)
