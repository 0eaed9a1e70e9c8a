"""Vectors that a text can hold up for good, by an expression that takes exponential time."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

TEXT = "a" * 64 + "!"
_SLOW = re.compile(r"(?:a+)+b")  # some 2**64 steps for the text


class Slow:
    """What gives vectors (``Embeds``): the same for every text but one."""

    def embed(self, texts: Sequence[str]) -> Any:
        for text in texts:
            _SLOW.match(text)
        return np.ones((len(texts), 2), dtype=np.float32)


def load() -> Slow:
    """What makes them, in a worker."""
    return Slow()
