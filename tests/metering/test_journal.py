"""Rows in files on this machine."""

import os
from pathlib import Path

import pytest

from headrace.metering.journal import Journal, begun_line, entries, row_line
from headrace.metering.rows import Begun
from tests.metering.rows import a_row

BIG = 1 << 20
BEGUN = Begun("b", 7, "req", "acme", "k1", "/v1/completions", "default", "m", 100, 50)


def opened(folder: Path, identity: str = "me", most: int = BIG) -> Journal:
    journal = Journal(folder, identity, most)
    journal.open()
    return journal


def test_what_is_appended_can_be_read_in_its_order(tmp_path: Path) -> None:
    """Rows, and requests that have begun, come back as they were."""
    journal = opened(tmp_path)
    assert journal.append([row_line(a_row("1")), begun_line(BEGUN)])
    assert journal.append([row_line(a_row("2", ttft_ms=None))])
    (segment,) = journal.rotate()

    assert ([a_row("1"), a_row("2", ttft_ms=None)], [BEGUN], 0) == entries(segment)
    journal.close()


def test_a_line_that_a_crash_has_cut_is_no_line(tmp_path: Path) -> None:
    """All before it counts."""
    journal = opened(tmp_path)
    journal.append([row_line(a_row("1")), row_line(a_row("2"))])
    (segment,) = journal.rotate()
    os.truncate(segment, segment.stat().st_size - 10)

    assert ([a_row("1")], [], 1) == entries(segment)
    journal.close()


def test_it_has_a_bound(tmp_path: Path) -> None:
    """Beyond it nothing is taken, until segments are removed."""
    line = row_line(a_row("1"))
    journal = opened(tmp_path, most=3 * len(line))
    assert all(journal.append([line]) for _ in range(3))
    assert not journal.append([line])

    closed = journal.rotate()
    assert not journal.append([line])
    journal.remove(closed)
    assert journal.append([line])
    assert len(line) == journal.size_bytes
    journal.close()


def test_a_disk_that_refuses_is_no_error(tmp_path: Path) -> None:
    """It says no, as when there is no room."""
    journal = opened(tmp_path / "spill")
    (tmp_path / "spill").rename(tmp_path / "elsewhere")

    assert not journal.append([row_line(a_row("1"))])
    (tmp_path / "elsewhere").rename(tmp_path / "spill")
    assert journal.append([row_line(a_row("1"))])
    journal.close()


def test_a_clean_end_leaves_nothing(tmp_path: Path) -> None:
    """No file stays of a process that has left nothing behind."""
    journal = opened(tmp_path)
    journal.append([row_line(a_row("1"))])
    journal.remove(journal.rotate())
    journal.close()

    assert [] == [*tmp_path.iterdir()]


def test_the_living_are_no_orphans(tmp_path: Path) -> None:
    """Segments are somebody's for as long as he lives, and go to one of those after him."""
    first, second, third = (opened(tmp_path, name) for name in ("a", "b", "c"))
    first.append([row_line(a_row("1"))])
    first.rotate()
    first.append([row_line(a_row("2"))])
    assert [] == [*second.orphans()]

    first.close()
    (orphan,) = second.orphans()
    assert [] == [*third.orphans()]
    assert ["1", "2"] == [row.id for path in orphan.segments for row in entries(path).rows]

    second.bury(orphan)
    second.close()
    third.close()
    assert [] == [*tmp_path.iterdir()]


def test_folder_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    """Known at the start, not at the first outage."""
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        opened(tmp_path / "file" / "spill")
