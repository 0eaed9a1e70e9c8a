"""Vectors for texts: always the same for the same text, of length 1, and otherwise meaningless."""

import base64
import math
import random
import struct
from collections.abc import Mapping
from typing import Any

from headrace.engines.sim import text
from headrace.engines.sim.ask import invalid, number

DIMENSIONS = 384
MAX_DIMENSIONS = 8192


def answer(body: Mapping[str, Any], model: str, id_: str, created: int) -> dict[str, Any]:
    """
    The answer of ``/v1/embeddings``.

    Raises:
        Refused: ``input`` or ``dimensions`` cannot be used.

    """
    dimensions = number(body, "dimensions") or DIMENSIONS
    if dimensions > MAX_DIMENSIONS:
        raise invalid("less_than_equal", "dimensions", f"At most {MAX_DIMENSIONS}")
    texts = _texts(body.get("input"))
    vectors = [vector(said, dimensions) for said in texts]
    packed = body.get("encoding_format") == "base64"
    tokens = sum(max(1, len(text.tokens(said))) for said in texts)
    return {
        "id": id_,
        "object": "list",
        "created": created,
        "model": model,
        "data": [
            {"index": index, "object": "embedding", "embedding": _pack(found) if packed else found}
            for index, found in enumerate(vectors)
        ],
        "usage": {
            "prompt_tokens": tokens,
            "total_tokens": tokens,
            "completion_tokens": 0,
            "prompt_tokens_details": None,
        },
    }


def vector(said: str, dimensions: int) -> list[float]:
    """A direction, drawn by the text."""
    gauss = random.Random(said).gauss  # noqa: S311 - repeatable is the point
    drawn = [gauss(0, 1) for _ in range(dimensions)]
    length = math.sqrt(math.fsum(value * value for value in drawn))
    return [value / length for value in drawn]


def _texts(given: object) -> list[str]:
    if isinstance(given, str):
        return [given]
    if isinstance(given, list) and given:
        if all(type(token) is int for token in given):
            return [str(given)]
        return [part if isinstance(part, str) else str(part) for part in given]
    raise invalid("missing", "input", "Field required")


def _pack(values: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
