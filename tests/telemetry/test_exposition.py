"""exposition.py: only the wanted lines are read, and they are read as the format says."""

import math
import time

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


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"a:x one", "could not convert"),
        (b'a:x{l="v"} ', "not enough values"),
        (b'a:x{l="v"} 1 # {id="1"} 2', "could not convert|Invalid|cannot read"),
        (b"a:x 1 2 3", "cannot read"),
        (b"a:x{l=1} 1", "l"),
    ],
)
def test_garbage(line: bytes, why: str) -> None:
    """A wanted line that cannot be read is an error, not a number."""
    with pytest.raises(ValueError, match=why):
        READER.read(line)


@pytest.mark.parametrize(
    "text",
    [
        b"\n".join(b'a:x{l="%d"} 1' % number for number in range(100_000)),
        b'a:x{l="' + b'\\"' * 1_000_000 + b'"} 1',
    ],
)
def test_too_much(text: bytes) -> None:
    """Megabytes are refused before the parser, which would take minutes, sees a line of them."""
    before = time.thread_time()
    with pytest.raises(ValueError, match="too long"):
        READER.read(text)

    assert time.thread_time() - before < 1


@pytest.mark.parametrize(("text", "value"), [(b"1 1700000000", 1), (b"+Inf", math.inf)])
def test_values(text: bytes, value: float) -> None:
    """A timestamp is passed over; values are what the format allows."""
    assert [Sample("a:x", {}, value)] == READER.read(b"a:x " + text)
