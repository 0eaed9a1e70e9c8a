"""
Classes of requests by meaning: learned from examples, judged by one vector and some features.
Pure; where vectors come from, the cache and the deadline are the gateway's.
"""

from collections.abc import Sequence

import numpy as np

from headrace.config.examples import Example
from headrace.routing.features import Features
from headrace.routing.head import (
    Labels,
    Rows,
    dealt,
    fit,
    held_out,
    scores,
    softmax,
    temperature,
)
from headrace.types import Class

# Both chosen on the shipped examples alone, each source held out in turn (benchmarks/tiers).
STRENGTH = 3.0
WEIGHT = 0.1  # of a feature's one standard deviation, against a vector of length 1
FLAT = 1e-4  # a feature that varies less among the examples says nothing
FOREIGN = 0.5  # share of letters in other scripts from which English examples say nothing


class Judge:
    """Learned once from examples; then the same text is the same class every time."""

    def __init__(
        self,
        examples: Sequence[Example],
        vectors: Rows,
        measured: Sequence[Features],
        default: str,
        threshold: float,
    ) -> None:
        """``vectors`` and ``measured`` have one row for each example; the rows have length 1."""
        self.names = tuple(dict.fromkeys(example.name for example in examples))
        self.default = default
        self.threshold = threshold
        self._examples = tuple(examples)
        self._vectors = vectors
        table = np.array(measured, np.float32)
        spread = table.std(axis=0)
        flat = spread < FLAT
        self._middle: Rows = table.mean(axis=0)
        self._scale: Rows = np.where(flat, 0.0, WEIGHT / np.where(flat, 1.0, spread)).astype("f4")
        self._foreign = float(table[:, Features._fields.index("script")].mean()) > FOREIGN / 2
        rows = np.hstack([vectors, (table - self._middle) * self._scale])
        labels: Labels = np.array([self.names.index(example.name) for example in examples])
        self.temperature = temperature(*held_out(rows, labels, dealt(labels), STRENGTH))
        self._weights = fit(rows, labels, len(self.names), STRENGTH)

    def classify(self, vector: Rows, measured: Features) -> Class:
        """The class of a text by its vector (of length 1) and its features."""
        if not measured.words and not measured.digits:
            return Class(self.default, 0.0, "empty")
        if measured.script > FOREIGN and not self._foreign:
            return Class(self.default, 0.0, "script")
        shares = self.shares(vector, measured)
        best = int(np.argmax(shares))
        confidence = float(shares[best])
        if confidence < self.threshold:
            return Class(self.default, confidence, "unsure")
        return Class(self.names[best], confidence, "meaning")

    def shares(self, vector: Rows, measured: Features) -> Rows:
        """The calibrated probability of each of ``names``."""
        row = np.concatenate(
            [vector, (np.array(measured, np.float32) - self._middle) * self._scale]
        )
        return softmax(scores(row, self._weights) / np.float32(self.temperature))

    def pulls(self, measured: Features, name: str) -> dict[str, float]:
        """How far each feature moves the logit towards a class, against the mean of all classes."""
        start = self._vectors.shape[1]
        mine = self._weights[self.names.index(name), start:-1]
        lean = mine - self._weights[:, start:-1].mean(axis=0)
        moved = lean * self._scaled(measured)
        return {
            field: float(pull) / self.temperature
            for field, pull in zip(Features._fields, moved, strict=True)
        }

    def nearest(self, vector: Rows, count: int) -> list[tuple[Example, float]]:
        """The examples most like a text, the nearest first, with their cosine: for people."""
        likeness = self._vectors @ vector
        order = np.argsort(-likeness, kind="stable")[:count]
        return [(self._examples[index], float(likeness[index])) for index in order]

    def _scaled(self, measured: Features) -> Rows:
        scaled: Rows = (np.array(measured, np.float32) - self._middle) * self._scale
        return scaled
