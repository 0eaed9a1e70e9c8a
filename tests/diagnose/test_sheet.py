"""sheet.py: rows are read by columns, and packed small."""

import math
from array import array
from random import Random

import pytest

from headrace.diagnose.series import Key
from headrace.diagnose.sheet import Place, Sheet, pack

A: Key = ("waiting", ("a",))
B: Key = ("waiting", ("b",))


def test_columns() -> None:
    """A column has a value for each row; a row that is too short for it has none."""
    rows = [array("f", [1.0]), array("f", [2.0, 20.0]), array("f", [3.0, 30.0])]
    sheet = Sheet({A: Place(0, 0.0), B: Place(1, 0.0)}, [0.0, 1.0, 2.0], rows)

    assert [1.0, 2.0, 3.0] == list(sheet[A])
    assert math.isnan(sheet[B][0])
    assert [20.0, 30.0] == list(sheet[B][1:])
    assert [A, B] == list(sheet)


def test_what_was_before_belongs_to_another() -> None:
    """A slot that was another series' shows nothing of it, even if no row has it yet."""
    rows = [array("f", [1.0]), array("f", [2.0])]
    sheet = Sheet({A: Place(0, 1.0), B: Place(1, 0.0)}, [0.0, 1.0], rows)

    assert [True, False] == [math.isnan(value) for value in sheet[A]]
    assert [True, True] == [math.isnan(value) for value in sheet[B]]


def test_what_is_packed_comes_back() -> None:
    """Numbers of every size keep 15 bits; zeros, small integers and gaps are exact."""
    random = Random(7)
    wild = [random.uniform(-1, 1) * 10 ** random.randint(-20, 20) for _ in range(500)]
    rows = [array("f", [0.0, 17.0, math.nan, value]) for value in wild] + [array("f", [1.0])]
    found = pack([float(n) for n in range(len(rows))], rows).rows()

    assert [[0.0, 17.0]] * 500 == [list(row[:2]) for row in found[:500]]
    assert all(math.isnan(row[2]) for row in found[:500])
    assert all(
        pytest.approx(value, rel=4e-5) == row[3]
        for value, row in zip(wild, found[:500], strict=True)
    )
    assert (1.0, True) == (found[500][0], math.isnan(found[500][3]))


def test_what_hardly_changes_takes_little() -> None:
    """A thousand series of which ten move take a fiftieth of their room."""
    random = Random(1)
    rows = [array("f", [0.0] * 990 + [random.random() for _ in range(10)]) for _ in range(60)]

    assert sum(map(len, pack([*map(float, range(60))], rows).planes)) < 60 * 1000 * 4 / 50
