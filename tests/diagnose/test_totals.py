"""totals.py: means over spans, summed over labels, with what is not known left out."""

import math
from random import Random

import pytest

from headrace.diagnose.series import Key
from headrace.diagnose.snapshot import Grid
from headrace.diagnose.totals import Totals

NAN = math.nan
SERIES: dict[Key, list[float]] = {
    ("active", ("m", "waiting")): [1.0, 2.0, 3.0, 6.0],
    ("active", ("m", "whole")): [10.0, NAN, NAN, 30.0],
    ("active", ("n", "whole")): [500.0, 500.0, 500.0, 500.0],
    ("slow", ()): [NAN, NAN, 4.0, 5.0],
}
TOTALS = Totals(Grid(5.0, [0.0, 5.0, 10.0, 15.0], SERIES))


def test_a_mean() -> None:
    """Of one series over one span; steps without a value do not count."""
    assert 3.0 == TOTALS.mean((0, 4), "active", ("m", "waiting"))
    assert 20.0 == TOTALS.mean((0, 4), "active", ("m", "whole"))
    assert 4.0 == TOTALS.mean((0, 3), "slow", ())


def test_labels_that_are_none() -> None:
    """They stand for all values; those that come after the last are left open, too."""
    assert 23.0 == TOTALS.mean((0, 4), "active", ("m", None))
    assert 520.0 == TOTALS.mean((0, 4), "active", (None, "whole"))
    assert 523.0 == TOTALS.mean((0, 4), "active", ())


def test_what_nobody_knows() -> None:
    """Spans without a value or without a step, and series that are not there."""
    assert 2.5 == TOTALS.mean((1, 3), "active", ("m", None))  # of one series nothing is known
    assert all(
        math.isnan(value)
        for value in (
            TOTALS.mean((0, 2), "slow", ()),
            TOTALS.mean((2, 2), "active", ("m", "waiting")),
            TOTALS.mean((3, 1), "active", ("m", "whole")),
            TOTALS.mean((0, 4), "active", ("x", None)),
            TOTALS.mean((0, 4), "waiting", ()),
        )
    )


def test_several_spans_are_as_one_by_one() -> None:
    """A list of spans gives what each of them gives."""
    spans = [(0, 1), (1, 3), (2, 2), (0, 4)]
    for labels in (("m", "waiting"), ("m", "whole"), ("m", None), ("x", None)):
        each = [TOTALS.mean(span, "active", labels) for span in spans]

        assert str(each) == str(TOTALS.means(spans, "active", labels))


def test_it_is_the_mean_of_the_values() -> None:
    """Added up from the beginning, a span's mean is that of its known values, to eight digits."""
    random = Random(3)
    values = [NAN if random.random() < 0.1 else random.expovariate(1e-3) for _ in range(300)]
    totals = Totals(Grid(5.0, [5.0 * n for n in range(300)], {("slow", ()): values}))
    for _ in range(200):
        begin = random.randrange(290)
        end = begin + random.randint(1, 300 - begin)
        known = [value for value in values[begin:end] if not math.isnan(value)]

        assert pytest.approx(sum(known) / len(known), rel=1e-8) == totals.mean(
            (begin, end), "slow", ()
        )


def test_names() -> None:
    """The labels of a series are those of its keys."""
    assert {("m", "waiting"), ("m", "whole"), ("n", "whole")} == TOTALS.labels("active")
