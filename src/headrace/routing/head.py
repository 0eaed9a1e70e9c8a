"""
The arithmetic of classes: softmax regression, its temperature, and how honest its confidence is.
Pure and without chance: the same rows give the same numbers. What the rows mean is classify.py's.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]  # one row for each text
Labels = NDArray[np.intp]  # the index of each text's class

STEPS = 200
CLOSE = 1e-3  # steps end when no weight would move by more
TINY = 1e-6  # keeps the bias from running away where classes are far apart
FOLDS = 5
TEMPERATURES = np.geomspace(0.05, 20.0, 121)
BINS = 10


def fit(rows: Rows, labels: Labels, classes: int, strength: float) -> Rows:
    """
    Weights of a softmax regression, one row for each class, the bias last.

    The loss is the mean cross-entropy, in which every class weighs the same however many examples
    it has, plus ``1 / (2 * strength * n)`` times the squared weights (bias excluded). Each step
    goes to the minimum of a parabola that lies above the loss, since a half bounds the curvature of
    softmax (https://doi.org/10.1007/BF00048682), accelerated as in
    https://doi.org/10.1137/080716542; so there is no search, and one inverse serves all steps.
    """
    padded = np.hstack([rows, np.ones((len(rows), 1), np.float32)])
    counts = np.bincount(labels, minlength=classes)
    weights = (1.0 / (classes * counts[labels])).astype(np.float32)[:, None]
    wanted = np.eye(classes, dtype=np.float32)[labels]
    shrink = np.full(padded.shape[1], 1.0 / (strength * len(rows)), np.float32)
    shrink[-1] = TINY
    curvature = 0.5 * (padded * weights).T @ padded + np.diag(shrink)
    across = np.linalg.inv(curvature.astype(np.float64)).astype(np.float32)
    found = np.zeros((classes, padded.shape[1]), np.float32)
    ahead, momentum = found, 1.0
    for _ in range(STEPS):
        slope = ((softmax(padded @ ahead.T) - wanted) * weights).T @ padded + shrink * ahead
        moved = ahead - slope @ across
        faster = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = moved + np.float32((momentum - 1) / faster) * (moved - found)
        settled = float(np.abs(moved - found).max()) < CLOSE
        found, momentum = moved, faster
        if settled:
            break
    return found


def scores(rows: Rows, weights: Rows) -> Rows:
    """The logits of each row."""
    return rows @ weights[:, :-1].T + weights[:, -1]


def softmax(logits: Rows) -> Rows:
    """Probabilities that add up to 1 in each row."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: Rows = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def dealt(labels: Labels) -> Labels:
    """The fold of each row: every class is dealt out in turn."""
    fold = np.zeros(len(labels), np.intp)
    for label in np.unique(labels):
        mine = np.flatnonzero(labels == label)
        fold[mine] = np.arange(len(mine)) % FOLDS
    return fold


def held_out(rows: Rows, labels: Labels, fold: Labels, strength: float) -> tuple[Rows, Labels]:
    """
    Logits of rows by weights that never saw their fold, and these rows' labels. A fold without
    which a class would have no example is left out.
    """
    classes = int(labels.max()) + 1
    logits: list[Rows] = [np.zeros((0, classes), np.float32)]
    truth: list[Labels] = [np.zeros(0, np.intp)]
    for each in np.unique(fold):
        out = fold == each
        if len(np.unique(labels[~out])) < classes:
            continue
        weights = fit(rows[~out], labels[~out], classes, strength)
        logits.append(scores(rows[out], weights))
        truth.append(labels[out])
    return np.concatenate(logits), np.concatenate(truth)


def temperature(logits: Rows, labels: Labels) -> float:
    """
    What to divide logits by so that a confidence is the share of times that it is right; 1 if there
    is nothing to learn it from. https://arxiv.org/abs/1706.04599

    The truth counts as (n + 1) / (n + 2) for a class of n texts, as in Platt's scaling
    (https://doi.org/10.7551/mitpress/1113.003.0008): else a dozen texts that all are told apart
    would make every confidence 1.
    """
    if not len(labels):
        return 1.0
    classes = logits.shape[1]
    counts = np.bincount(labels, minlength=classes)[labels]
    rest = (1 / (counts + 2))[:, None]
    wanted = np.where(np.eye(classes, dtype=bool)[labels], 1 - rest, rest / (classes - 1))
    losses = [
        -float((wanted * np.log(np.maximum(softmax(logits / np.float32(each)), 1e-12))).sum())
        for each in TEMPERATURES
    ]
    return float(TEMPERATURES[int(np.argmin(losses))])


def calibration_error(confidences: Sequence[float], right: Sequence[bool]) -> float:
    """
    The expected calibration error: how far confidence and accuracy are apart, over ten bins of
    confidence, each by its size. 0 is honest. https://arxiv.org/abs/1706.04599
    """
    sure, hits = np.asarray(confidences), np.asarray(right, float)
    total = 0.0
    for low, high in pairwise(np.linspace(0, 1, BINS + 1)):
        inside = (sure > low) & (sure <= high)
        if inside.any():
            total += float(inside.mean()) * abs(float(sure[inside].mean() - hits[inside].mean()))
    return total
