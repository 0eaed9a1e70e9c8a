"""benchmarks/overhead/price.py: gateways that answer, each beside one with less."""

import asyncio
from pathlib import Path

import pytest

from benchmarks.overhead import price
from benchmarks.overhead.price import Part, Took


def test_each_is_compared_with_one_before_it(tmp_path: Path) -> None:
    """What a part costs is over another that is measured, too; names are told apart."""
    found = price.parts(tmp_path)
    names = [part.name for part in found]

    assert len(names) == len({*names})
    assert all(part.over in names[:place] for place, part in enumerate(found) if part.over)
    assert not found[0].over


def test_everything_on_answers(tmp_path: Path) -> None:
    """The dearest gateway answers every request, and has what it is said to have."""
    part = next(each for each in price.parts(tmp_path) if each.name.startswith("everything"))
    took = asyncio.run(price.measure([part], 1))

    assert 0 < took[part.name].us < float("inf")
    assert {"tenants", "identity", "limits", "metering"} <= {*part.sections}
    assert (tmp_path / "usage.db").exists()


def test_a_refusal_is_no_measurement(tmp_path: Path) -> None:
    """A gateway that does not answer with 200 fails the run instead of looking cheap."""
    full = next(each for each in price.parts(tmp_path) if each.name == "a key")
    nothing = {"tenant": {"requests_per_minute": 0}}
    part = Part("nothing passes", "", full.sections | {"limits": nothing})

    with pytest.raises(RuntimeError, match=r"nothing passes: .*HTTP/1.1 4"):
        asyncio.run(price.measure([part], 1))


def test_the_table() -> None:
    """A row for each part, with what it takes more than the one that it is over."""
    parts = [Part("one", "", {}), Part("two", "one", {})]

    assert [
        "| gateway | us | over | us more |",
        "|---|---|---|---|",
        "| one | 10.0 |  | 0.0 |",
        "| two | 12.5 | one | 2.5 |",
    ] == price.table(parts, {"one": Took(10.0, 0.0), "two": Took(12.5, 2.5)}).splitlines()
