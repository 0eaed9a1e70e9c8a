"""exposition.py: only the wanted lines are read, and they are read as the format says."""

import pytest

from headrace.telemetry.exposition import Reader, Sample

READER = Reader(["a:x", "a:y_total", "b:z"])


def test_wanted_lines_only() -> None:
    """Names are whole names; comments, suffixes and other names are passed over."""
    text = b'# TYPE a:x gauge\na:x 1\na:xx 2\nc:a:x 3\na:y_total{l="v"} 4\na:y_created 5\nb:z 6'

    assert [
        Sample("a:x", {}, 1),
        Sample("a:y_total", {"l": "v"}, 4),
        Sample("b:z", {}, 6),
    ] == READER.read(text)


def test_labels_may_hold_anything() -> None:
    """Escapes, braces and commas in labels are the parser's to understand."""
    (sample,) = READER.read(b'a:x{l="q\\"},{\\\\"} 1.5e3\n')

    assert ({"l": 'q"},{\\'}, 1500) == (sample.labels, sample.value)


def test_no_lines() -> None:
    """Another text has none of them."""
    assert [] == READER.read(b"<html>a:x</html>")


def test_garbage() -> None:
    """A wanted line that is not of the format is an error, not a number."""
    with pytest.raises(ValueError, match="float"):
        READER.read(b"a:x one\n")
