"""Least squares: exact where it can be, without negative values, and sure only of what it knows."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engines.calibrate.squares import solve

VALUES = st.lists(st.floats(0, 1000), min_size=1, max_size=5)


@given(VALUES, st.integers(0, 1000))
def test_what_made_the_targets_is_found(values: list[float], seed: int) -> None:
    """Targets without noise give the coefficients that made them, whatever their scales."""
    dice = random.Random(seed)
    scales = [10 ** dice.uniform(-4, 4) for _ in values]
    rows = [[scale * dice.uniform(0.1, 1) for scale in scales] for _ in range(20)]
    targets = [sum(x * y for x, y in zip(row, values, strict=True)) for row in rows]
    found = solve(rows, targets)
    again = [sum(x * y for x, y in zip(row, found.values, strict=True)) for row in rows]

    assert targets == pytest.approx(again, rel=1e-4, abs=1e-3 * (max(targets) + 1e-9))


def test_nothing_is_negative() -> None:
    """Where the best line would fall, the slope is 0 and the height the mean."""
    found = solve([[1, 0], [1, 1], [1, 2]], [3, 2, 1])

    assert (2, 0) == pytest.approx(found.values)
    assert math.isinf(found.errors[1])


def test_columns_that_say_the_same_are_one() -> None:
    """A column of zeros and a copy of another get nothing, and nobody is sure of them."""
    found = solve([[1, 0, 2], [2, 0, 4], [3, 0, 6]], [2, 4, 6])

    assert (2, 0, 0) == pytest.approx(found.values)
    assert [math.isinf(error) for error in found.errors] == [False, True, True]


def test_errors_are_those_of_the_textbook() -> None:
    """The mean of 1, 2, 3 and 6: 3, give or take the deviation (2.16) over the root of four."""
    found = solve([[1], [1], [1], [1]], [1, 2, 3, 6])

    assert 3 == pytest.approx(found.values[0])
    assert 2.1602 / 2 == pytest.approx(found.errors[0], rel=1e-4)
