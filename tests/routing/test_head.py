"""The arithmetic behind classes: that it learns, is calibrated, and is the same every time."""

import numpy as np
import pytest

from headrace.routing.head import (
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


def clouds(count: int, apart: float, classes: int = 2) -> tuple[Rows, Labels]:
    """Rows around one centre for each class, the same in every run."""
    chance = np.random.default_rng(7)
    labels = np.arange(count) % classes
    centres = np.eye(classes, 5) * apart
    rows = centres[labels] + chance.normal(size=(count, 5))
    return rows.astype(np.float32), labels


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_fit_separates(classes: int) -> None:
    """Clouds that are far apart are told apart, however many there are."""
    rows, labels = clouds(300, 8, classes)
    weights = fit(rows, labels, classes, 1.0)

    assert (scores(rows, weights).argmax(axis=1) == labels).mean() > 0.98


def test_fit_is_at_the_minimum() -> None:
    """Where steps end the slope of the loss is next to nothing: it has converged, not given up."""
    rows, labels = clouds(200, 2)
    weights = fit(rows, labels, 2, 1.0)
    padded = np.hstack([rows, np.ones((200, 1), np.float32)])
    shares = softmax(padded @ weights.T)
    slope = (shares - np.eye(2)[labels]).T @ padded / 200
    slope[:, :-1] += weights[:, :-1] / 200

    assert float(np.abs(slope).max()) < 2e-3


def test_fit_is_deterministic() -> None:
    """The same rows give the same weights, bit for bit."""
    rows, labels = clouds(100, 2)

    assert fit(rows, labels, 2, 1.0).tobytes() == fit(rows, labels, 2, 1.0).tobytes()


def test_rare_classes_weigh_the_same() -> None:
    """With ten examples against ninety, a text between the two is not given to the many."""
    rows = np.array([[1.0]] * 90 + [[-1.0]] * 10, np.float32)
    labels = np.array([0] * 90 + [1] * 10)
    weights = fit(rows, labels, 2, 1.0)
    shares = softmax(scores(np.zeros((1, 1), np.float32), weights))

    assert 0.5 == pytest.approx(float(shares[0, 0]), abs=0.02)


def test_dealt_spreads_each_class() -> None:
    """Every fold has its part of every class, so that a fold never takes a class away."""
    labels = np.array([0] * 50 + [1] * 10)
    fold = dealt(labels)

    assert [12] * 5 == [int((fold == each).sum()) for each in range(5)]
    assert [2] * 5 == [int(((fold == each) & (labels == 1)).sum()) for each in range(5)]


def test_held_out_leaves_out_what_it_cannot_learn() -> None:
    """A fold with all of a class's examples is skipped; with nothing left the temperature is 1."""
    rows, labels = clouds(4, 3)
    logits, truth = held_out(rows, labels, labels.copy(), 1.0)

    assert (0, 2) == logits.shape
    assert 1.0 == temperature(logits, truth)


@pytest.mark.parametrize("factor", [0.25, 1.0, 5.0])
def test_temperature_mends_confidence(factor: float) -> None:
    """Logits that are too proud or too shy by a known factor get a temperature that undoes it."""
    chance = np.random.default_rng(3)
    logits = chance.normal(scale=2, size=(4000, 2)).astype(np.float32)
    labels = (chance.random(4000) < softmax(logits)[:, 1]).astype(np.intp)
    found = temperature(logits * np.float32(factor), labels)
    shares = softmax(logits * np.float32(factor / found))
    right = shares.argmax(axis=1) == labels

    assert factor == pytest.approx(found, rel=0.15)
    assert calibration_error(shares.max(axis=1).tolist(), right.tolist()) < 0.03


@pytest.mark.parametrize("count", [8, 40, 400])
def test_few_texts_do_not_make_sure(count: int) -> None:
    """Where all held-out texts are right, few of them allow less confidence than many."""
    labels = np.arange(count) % 2
    logits = np.where(np.eye(2)[labels] > 0, 5.0, -5.0).astype(np.float32)
    shares = softmax(logits / np.float32(temperature(logits, labels)))
    each = count / 2

    assert (each + 1) / (each + 2) == pytest.approx(float(shares.max(axis=1).mean()), abs=0.02)


def test_calibration_error_by_hand() -> None:
    """Four answers at 0.9, three of them right: 0.15 apart."""
    assert 0.15 == pytest.approx(calibration_error([0.9] * 4, [True, True, True, False]))
    assert 0.0 == calibration_error([1.0, 1.0], [True, True])
