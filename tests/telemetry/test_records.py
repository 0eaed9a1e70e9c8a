"""records.py: what a record says, and percentiles."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.telemetry.records import percentile

numbers = st.lists(st.floats(0, 1e6).map(lambda number: round(number, 3)), min_size=1).map(sorted)


@given(numbers, st.floats(0, 1))
def test_a_percentile_is_one_of_the_values(ordered: list[float], share: float) -> None:
    """It was measured, and at least that share of the values is not above it."""
    value = percentile(ordered, share)

    assert value in ordered
    assert sum(each <= value for each in ordered) >= share * len(ordered)


@given(numbers)
def test_percentiles_are_ordered(ordered: list[float]) -> None:
    """A larger share has no smaller value; the ends are the ends."""
    values = [percentile(ordered, share) for share in (0, 0.5, 0.99, 1)]

    assert values == sorted(value for value in values if value is not None)
    assert (ordered[0], ordered[-1]) == (values[0], values[-1])


@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_nothing_has_no_percentile(share: float) -> None:
    """No values, no number."""
    assert percentile([], share) is None
