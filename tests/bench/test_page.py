"""The page: whole by itself, with every figure that was asked for."""

import re

from headrace.bench.client import Record
from headrace.bench.drive import Played
from headrace.bench.figures import Slo, figures
from headrace.bench.page import page
from headrace.bench.plan import Step


def played(concurrency: int, error: str = "") -> Played:
    errors = {3: error}
    records = tuple(
        Record(n, n / 10, 0.0, 1.0, 0.1, (0.1,) * 9, 100, 10, 200, errors.get(n, ""))
        for n in range(10)
    )
    return Played(Step(None, concurrency, []), records, 2.0)


def written(*steps: Played, slo: Slo | None = None) -> str:
    limits = slo or Slo()
    found = [(each, figures(each, limits)) for each in steps]
    return page({"url": "http://gateway:8000", "seed": "0"}, found, limits, "today")


def test_the_page_needs_nothing_else() -> None:
    """It asks no server for anything: it can be mailed and archived."""
    text = written(played(1))

    assert not re.search(r"(src|href)=|url\(|@import|<script", text)
    assert text.startswith("<!doctype html>")


def test_a_sweep_has_charts_over_levels() -> None:
    """Several levels are compared; a single one has charts of itself alone."""
    assert 4 == written(played(1)).count("<figure>")
    assert 8 == written(played(1), played(4)).count("<figure>")


def test_goodput_is_there_with_its_limits() -> None:
    """The limits stand beside the number that depends on them."""
    text = written(played(1), slo=Slo(ttft=0.2))

    assert "goodput/s (ttft ≤ 200 ms)" in text
    assert "5.00 (100 %)" in text


def test_failures_are_told_and_escaped() -> None:
    """What a server says is text, never markup."""
    text = written(played(1, "500: <b>oops</b>"))

    assert "&lt;b&gt;oops" in text
    assert "<b>oops" not in text
