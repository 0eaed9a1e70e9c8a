"""The fairness benchmark's table: what a row says of several seeds, and which bars are missed."""

import pytest

from benchmarks.fairness.plan import SCENES
from benchmarks.fairness.table import BEGIN, END, bars, page, rows
from headrace.simulate.sharing import First, Got, Shared

SCENE = SCENES[0]


def run(ratio: float, jain: float = 0.99, goodput: float = 0.98) -> Shared:
    """A run whose watched tenant has so many times its p99 of 100 ms alone."""
    got = Got(300, First(20.0, 100 * ratio), First(10.0, 100.0), 50.0, 50.0)
    return Shared({SCENE.watched: got}, jain, goodput)


def test_a_row_is_of_the_median_seed() -> None:
    """One bad seed of three does not make a row, but is in its range."""
    row = rows({SCENE: [run(1.25), run(1.9, 0.95), run(1.1, 1.0, 0.96)]})[-1]

    assert f"| {SCENE.name} | 150 % | 10 → 20 | 100 → 125 |" in row
    assert "| 1.25 (1.10 to 1.90) | 0.990 (0.950 to 1.000) | 0.980 (0.960 to 0.980) |" in row


def test_what_is_missed_is_said() -> None:
    """Each bar that the median misses is marked in the table, and is a sentence."""
    runs = [run(1.31, 0.97, 0.96), run(1.4, 0.97, 0.96), run(1.29, 1.0, 1.0)]
    row = rows({SCENE: runs})[-1]

    assert 3 == row.count("**missed:** ")
    assert [
        f"{SCENE.name}: p99 is 1.31 times its value alone.",
        f"{SCENE.name}: Jain's index is 0.970.",
        f"{SCENE.name}: 0.960 of the tokens.",
    ] == bars({SCENE: runs})


def test_what_just_meets_a_bar_is_not_missed() -> None:
    """The bars themselves are good enough."""
    runs = [run(1.3, 0.98, 0.97)]

    assert [] == bars({SCENE: runs})
    assert "missed" not in rows({SCENE: runs})[-1]


def test_the_page_keeps_its_text() -> None:
    """Only what is between the markers is written anew, with the number of seeds."""
    found = page(f"before\n{BEGIN}\nold\n{END}\nafter\n", ["new"], 5)

    assert found.startswith(f"before\n{BEGIN}\n")
    assert found.endswith(f"new\n\n{END}\nafter\n")
    assert "medians over 5 seeds" in found
    assert "old" not in found


def test_a_page_without_its_markers() -> None:
    """It is left alone, and the error says so."""
    with pytest.raises(ValueError, match="markers"):
        page("nothing here", ["new"], 5)
