"""Charts: what is drawn, and what the axes say."""

import math
import xml.etree.ElementTree as ET

import pytest

from headrace.bench.chart import Chart, Series, cumulative, draw, steps, thinned


def test_a_chart_is_whole_svg_with_its_words() -> None:
    """The figure parses, has a line per series, and says title, axes and names."""
    text = draw(
        Chart(
            "TTFT <all>", "load", "ms", [Series("p50", [(1, 2), (2, 3)]), Series("p99", [(1, 5)])]
        )
    )
    tree = ET.fromstring(text)

    assert 2 == len(tree.findall(".//polyline"))
    words = " ".join(tree.itertext())
    assert all(word in words for word in ("TTFT <all>", "load", "ms", "p50", "p99"))


def test_nothing_to_draw_is_nothing() -> None:
    """No points, or none that are numbers: no chart."""
    assert "" == draw(Chart("t", "x", "y", [Series("a", []), Series("b", [(1.0, math.nan)])]))


@pytest.mark.parametrize(
    ("high", "last"), [(9.3, 10.0), (0.0, 1.0), (0.07, 0.08), (1234.0, 1250.0)]
)
def test_axes_end_on_round_numbers(high: float, last: float) -> None:
    """An axis holds the largest value and is not much longer."""
    found = steps(0.0, high)

    assert last == pytest.approx(found[-1])
    assert len(found) <= 7


def test_cumulative_shares_end_at_all() -> None:
    """Every value is at most the largest."""
    assert [(1.0, 50.0), (2.0, 100.0)] == cumulative([2.0, 1.0])


def test_many_points_are_thinned_and_the_last_stays() -> None:
    """A page with a million gaps stays small."""
    points = [(float(n), float(n)) for n in range(10_001)]

    assert len(thinned(points)) <= 402
    assert points[-1] == thinned(points)[-1]
