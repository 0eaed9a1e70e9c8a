"""window.py: ranges and windows of time, and what is said of texts that are neither."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.config.window import Window, span, window

ALL = frozenset(range(7))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (">= 4000", (4000, math.inf)),
        (">4000", (4001, math.inf)),
        ("<= 7", (0, 7)),
        ("< 7", (0, 6)),
        ("100-400", (100, 400)),
        (" 100 - 400 ", (100, 400)),
        ("3", (3, 3)),
    ],
)
def test_span(text: str, expected: tuple[float, float]) -> None:
    """Both ends are included, whatever the sign."""
    assert expected == span(text)


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_spans_meet(number: int, bound: int) -> None:
    """Of `< n` and `>= n`, and of `<= n` and `> n`, each number is in exactly one."""
    for below, above in (("<", ">="), ("<=", ">")):
        inside = [
            low <= number <= high
            for low, high in map(span, (below + str(bound), above + str(bound)))
        ]
        assert 1 == sum(inside)


@pytest.mark.parametrize("text", ["", "many", "-3", "4000 <", "1-2-3", ">= 1.5"])
def test_no_span(text: str) -> None:
    """Anything else is refused with examples."""
    with pytest.raises(ValueError, match="must be a range such as"):
        span(text)


def test_span_backwards() -> None:
    """A range with its larger number first is a mistake, not an empty range."""
    with pytest.raises(ValueError, match="smaller number: 100-400"):
        span("400-100")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "mon-fri 09:00-17:00 Europe/Berlin",
            Window(frozenset(range(5)), 540, 1020, "Europe/Berlin"),
        ),
        ("sat,sun", Window(frozenset({5, 6}), 0, 1440, "UTC")),
        ("fri-mon", Window(frozenset({4, 5, 6, 0}), 0, 1440, "UTC")),
        ("22:00-06:00", Window(ALL, 1320, 360, "UTC")),
        ("America/New_York", Window(ALL, 0, 1440, "America/New_York")),
        ("Mon,Wed-Thu 0:00-24:00", Window(frozenset({0, 2, 3}), 0, 1440, "UTC")),
    ],
)
def test_window(text: str, expected: Window) -> None:
    """Days, hours and zone, each of them optional."""
    assert expected == window(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be days, hours"),
        ("mon 9-17", "'9-17' is no time zone"),
        ("mon 09:00-17:00 UTC now", "must be days, hours"),
        ("xyz", "'xyz' names no days"),
        ("mon-xyz", "'mon-xyz' names no days"),
        ("25:00-26:00", "an hour that no day has"),
        ("09:75-10:00", "an hour that no day has"),
        ("Europe/Atlantis", "'Europe/Atlantis' is no time zone"),
        ("../../etc/passwd", "is no time zone"),
    ],
)
def test_no_window(text: str, message: str) -> None:
    """Each mistake is named."""
    with pytest.raises(ValueError, match=message):
        window(text)
