"""benchmarks/records: what decision records and traces cost is measured with real requests."""

from benchmarks.records.__main__ import measure


def test_measures_every_part() -> None:
    """Each part has a figure above nothing; what it is depends on the machine."""
    found = measure(100, 2)

    assert 9 == len(found)
    assert all(value > 0 for value in found.values())
