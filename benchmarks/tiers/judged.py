"""
How well classes are told apart: on sources that were never learned from, by what the judgement
looks at, and how honest its confidence is. Reads the data files; writes nothing.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from headrace.config.examples import Example, shipped
from headrace.gateway.rules.classifier import Local
from headrace.routing.classify import STRENGTH, WEIGHT, Judge
from headrace.routing.features import Features, excerpt, features
from headrace.routing.head import (
    BINS,
    Labels,
    Rows,
    calibration_error,
    dealt,
    fit,
    held_out,
    scores,
    softmax,
    temperature,
)

DATA = Path(__file__).parent / "data"
NAMES = ("fast", "reasoning")
THRESHOLDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9)
GRID = tuple(
    (weight, strength) for weight in (0.0, 0.05, 0.1, 0.2) for strength in (1.0, 3.0, 10.0)
)


class Texts(NamedTuple):
    """Texts with what is known of them: a vector and features each."""

    texts: list[str]
    vectors: Rows
    measured: list[Features]


class Set(NamedTuple):
    """Texts with their true classes and where they are from."""

    known: Texts
    labels: Labels
    sources: list[str]


def prepare(embedder: Local, texts: Sequence[str]) -> Texts:
    seen = [excerpt(text) for text in texts]
    return Texts(seen, embedder.embed(seen), [features(text) for text in seen])


def examples(embedder: Local) -> Set:
    """What the classifier that is shipped learns from."""
    taught = shipped()
    labels = np.array([NAMES.index(example.name) for example in taught])
    sources = [example.source for example in taught]
    return Set(prepare(embedder, [example.text for example in taught]), labels, sources)


def evaluation(embedder: Local) -> Set:
    """The held-out sources."""
    rows = [*read("evaluation.jsonl")]
    labels = np.array([NAMES.index(row["class"]) for row in rows])
    known = prepare(embedder, [row["text"] for row in rows])
    return Set(known, labels, [row["source"] for row in rows])


def read(name: str) -> Iterator[dict[str, Any]]:
    for line in (DATA / name).read_text(encoding="utf-8").splitlines():
        yield json.loads(line)


def learned(taught: Set, threshold: float = 0.0) -> Judge:
    listed = [
        Example(text, NAMES[label], source)
        for text, label, source in zip(
            taught.known.texts, taught.labels, taught.sources, strict=True
        )
    ]
    with threadpool_limits(1):
        return Judge(listed, taught.known.vectors, taught.known.measured, "reasoning", threshold)


def likely(judge: Judge, known: Texts) -> Rows:
    """The probability of ``reasoning`` for each text."""
    place = judge.names.index("reasoning")
    rows = [
        judge.shares(vector, measured)[place]
        for vector, measured in zip(known.vectors, known.measured, strict=True)
    ]
    return np.array(rows, np.float32)


def accuracy(tested: Set, reasoning: Rows) -> dict[str, Any]:
    """By source: how many, how many right, how many unsure at the threshold that is the default."""
    guessed = (reasoning > 0.5).astype(int)
    confidence = np.maximum(reasoning, 1 - reasoning)
    right = guessed == tested.labels
    origin = np.array(tested.sources)
    by_source = {}
    for source in dict.fromkeys(tested.sources):
        mine = origin == source
        by_source[source] = {
            "class": NAMES[int(tested.labels[mine][0])],
            "rows": int(mine.sum()),
            "right": share(right[mine]),
            "unsure": share(confidence[mine] < 0.6),
            "as_routed": share(routed(reasoning[mine], 0.6) == tested.labels[mine]),
        }
    return {
        "rows": len(right),
        "right": share(right),
        "mean_of_sources": round(float(np.mean([row["right"] for row in by_source.values()])), 4),
        "calibration_error": round(calibration_error(confidence.tolist(), right.tolist()), 4),
        "by_source": by_source,
        "by_threshold": [_at(threshold, reasoning, tested.labels) for threshold in THRESHOLDS],
        "reliability": _reliability(confidence, right),
    }


def routed(reasoning: Rows, threshold: float) -> Labels:
    """The class that a request gets; what is unsure is ``reasoning``, the default."""
    return np.where(1 - reasoning >= max(threshold, 0.5), 0, 1)


def share(true: Any) -> float:
    return round(float(np.mean(true)), 4)


def _at(threshold: float, reasoning: Rows, labels: Labels) -> dict[str, float]:
    confidence = np.maximum(reasoning, 1 - reasoning)
    sure = confidence >= threshold
    right = (reasoning > 0.5).astype(int) == labels
    return {
        "threshold": threshold,
        "unsure": share(~sure),
        "right_if_sure": share(right[sure]),
        "as_routed": share(routed(reasoning, threshold) == labels),
    }


def _reliability(confidence: Rows, right: Any) -> list[dict[str, float]]:
    edges = np.linspace(0, 1, BINS + 1)
    found = []
    for low, high in pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            found.append(
                {
                    "rows": int(inside.sum()),
                    "confidence": round(float(confidence[inside].mean()), 4),
                    "right": share(right[inside]),
                }
            )
    return found


# --- what the judgement looks at --------------------------------------------------------------


def ablations(taught: Set, tested: Set) -> dict[str, dict[str, float]]:
    """Accuracy on the held-out sources with less to look at, and with simpler judges."""
    vectors, others = taught.known.vectors, tested.known.vectors
    numbers, other_numbers = _scaled(taught, taught), _scaled(tested, taught)
    ways = {
        "embedding and features, logistic (shipped)": (
            np.hstack([vectors, WEIGHT * numbers]), np.hstack([others, WEIGHT * other_numbers]),
        ),
        "embedding, logistic": (vectors, others),
        "features, logistic": (WEIGHT * numbers, WEIGHT * other_numbers),
    }  # fmt: skip
    found = {}
    for name, (rows, other) in ways.items():
        weights = fit(rows, taught.labels, 2, STRENGTH)
        found[name] = _told(scores(other, weights).argmax(axis=1), tested)
    centres = np.array([vectors[taught.labels == label].mean(axis=0) for label in (0, 1)])
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    found["embedding, nearest centre"] = _told((others @ centres.T).argmax(axis=1), tested)
    for count in (5, 15):
        near = np.argsort(-(others @ vectors.T), axis=1)[:, :count]
        voted = taught.labels[near].mean(axis=1) > 0.5
        found[f"embedding, {count} nearest examples"] = _told(voted.astype(int), tested)
    return found


def chosen(taught: Set) -> list[dict[str, float]]:
    """
    How weight and strength were chosen, without the held-out sources: each source of the examples
    is left out in turn. They are so unlike each other that this is much harder than the evaluation.
    """
    numbers = _scaled(taught, taught)
    sources = sorted(set(taught.sources))
    fold = np.array([sources.index(source) for source in taught.sources])
    found = []
    for weight, strength in GRID:
        rows = np.hstack([taught.known.vectors, np.float32(weight) * numbers])
        logits, truth = held_out(rows, taught.labels, fold, strength)
        heat = temperature(logits, truth)
        likelihood = softmax(logits / np.float32(heat))[np.arange(len(truth)), truth]
        found.append(
            {
                "weight": weight,
                "strength": strength,
                "right": share(logits.argmax(axis=1) == truth),
                "loss": round(float(-np.log(np.maximum(likelihood, 1e-12)).mean()), 4),
                "temperature": round(heat, 3),
            }
        )
    return found


def calibrated(taught: Set, tested: Set) -> dict[str, dict[str, float]]:
    """The calibration error on the held-out sources by where the temperature was learned."""
    rows = np.hstack([taught.known.vectors, WEIGHT * _scaled(taught, taught)])
    other = np.hstack([tested.known.vectors, WEIGHT * _scaled(tested, taught)])
    sources = sorted(set(taught.sources))
    by_source = np.array([sources.index(source) for source in taught.sources])
    logits = scores(other, fit(rows, taught.labels, 2, STRENGTH))
    ways: dict[str, float] = {
        "none": 1.0,
        "examples dealt into five (shipped)": temperature(
            *held_out(rows, taught.labels, dealt(taught.labels), STRENGTH)
        ),
        "one source of examples left out": temperature(
            *held_out(rows, taught.labels, by_source, STRENGTH)
        ),
    }
    found = {}
    for name, heat in ways.items():
        shares = softmax(logits / np.float32(heat))
        right = shares.argmax(axis=1) == tested.labels
        error = calibration_error(shares.max(axis=1).tolist(), right.tolist())
        found[name] = {"temperature": round(heat, 3), "calibration_error": round(error, 4)}
    return found


def _scaled(these: Set, like: Set) -> Rows:
    table = np.array(like.known.measured, np.float32)
    spread = np.maximum(table.std(axis=0), 1e-6)
    scaled: Rows = ((np.array(these.known.measured) - table.mean(axis=0)) / spread).astype("f4")
    return scaled


def _told(guessed: Labels, tested: Set) -> dict[str, float]:
    right = guessed == tested.labels
    origin = np.array(tested.sources)
    means = [float(right[origin == source].mean()) for source in dict.fromkeys(tested.sources)]
    return {"right": share(right), "mean_of_sources": share(means)}
