"""The simulated half of the routing benchmark: what is kept, compared and written."""

from functools import cache
from pathlib import Path

from benchmarks.routing import ranking
from benchmarks.routing.simulated import CELLS, ORDERS, OURS, RIVALS, SEEDS, Book, Cell, version
from headrace.simulate import contest
from headrace.simulate.contest import Run
from headrace.simulate.report import Figures
from headrace.simulate.rivals import RIVALS as KNOWN
from headrace.simulate.world import Fleet
from tests.simulate.fleets import H100

CELL = Cell("b2b", "b2b", 5.0, Fleet((H100,) * 2), 40)


@cache
def played() -> dict[Run, Figures]:
    """A cell's runs, all of them."""
    source = CELL.source(Path())
    return {run: contest.play(run, source, CELL.fleet) for run in CELL.wanted()}


def test_every_cell_has_all_policies() -> None:
    """Ours, in each order where these count, the rivals and the oracle, with every seed."""
    assert set(KNOWN) >= {*RIVALS, "oracle"}
    for cell in CELLS.values():
        names = [OURS, *(ORDERS if cell.orders else ()), *RIVALS, "oracle"]
        assert [(name, seed) for name in names for seed in range(1, SEEDS + 1)] == [
            (run.policy, run.seed) for run in cell.wanted()
        ]


def test_runs_are_kept(tmp_path: Path) -> None:
    """What was found is found again, with the code that found it, and belongs to its cell only."""
    path = tmp_path / "results" / "simulated.json"
    found = played()
    Book(path).note(CELL, "abc", found)
    book = Book(path)

    assert list(found) == list(book.found(CELL))
    assert "abc" == book.version(CELL)
    assert {} == book.found(CELLS["synthetic at 3"])
    assert "" == book.version(CELLS["synthetic at 3"])
    for run, figures in book.found(CELL).items():
        assert figures["ttft_p50_ms"] == round(found[run]["ttft_p50_ms"] or 0, 5)


def test_the_version_is_that_of_the_code() -> None:
    """It is the same until a file changes that decides about figures."""
    assert version() == version()
    assert 12 == len(version())


def test_the_page_has_one_section() -> None:
    """Written twice it is there once, other sections stay, and every policy has its rows."""
    rows = next(iter(contest.results(played()).values()))
    new = ranking.section({"chat": (True, rows), "other": (False, rows)}, SEEDS)
    before = "# Routing benchmarks\n\nText.\n"
    once = ranking.page(before, new)

    assert once == ranking.page(once, new)
    assert once.startswith(before.rstrip())
    assert 1 == once.count(ranking.BEGIN) == once.count(ranking.END)
    assert 4 == once.count("\n| sticky |")


def test_the_best_rival_is_none_of_ours() -> None:
    """Neither the oracle nor our own orders count as rivals."""
    rows = next(iter(contest.results(played()).values()))
    name, value = ranking.best(rows, "ttft_mean_ms")

    assert name in RIVALS
    assert all(
        value <= spread.mean
        for each in RIVALS
        for spread in [rows[each]["ttft_mean_ms"]]
        if spread is not None
    )
