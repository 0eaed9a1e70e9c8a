"""screen.py: findings become text without them, counts, or a refusal."""

import pytest

from headrace.guard.quoting import Quotes
from headrace.guard.screen import Refused, Tally, redacted
from headrace.guard.types import Finding


def test_each_mode() -> None:
    """One logs, one redacts, one refuses; all of them count."""
    tally, found = Tally(), [Finding("A", 2, 4)]

    assert "xxoox" == redacted("xxoox", [("g", "log", found)], tally)
    assert "xx<A>x" == redacted("xxoox", [("h", "redact", found)], tally)
    with pytest.raises(Refused) as refused:
        redacted("xxoox", [("h", "redact", found), ("i", "block", found)], tally)
    assert ("i", {"A": 1}) == (refused.value.guard, refused.value.entities)
    assert {"g": {"A": 1}, "h": {"A": 2}, "i": {"A": 1}} == tally.counts


@pytest.mark.parametrize(
    ("spans", "left"),
    [
        ([(0, 3), (2, 5)], "<A>fg"), ([(2, 5), (0, 7)], "<A>"), ([(1, 2), (2, 3)], "a<A><A>defg"),
        ([(0, 6), (1, 2)], "<A>g"), ([], "abcdefg"),
    ],
)  # fmt: skip
def test_findings_that_overlap(spans: list[tuple[int, int]], left: str) -> None:
    """No letter of any of them stays, nothing else is lost."""
    found = [Finding("A", *span) for span in spans]

    assert left == redacted("abcdefg", [("g", "redact", found)], Tally())


def test_context_was_judged_before() -> None:
    """What lies in it does not count; what begins in it and goes on is taken out."""
    tally = Tally()

    assert "efg" == redacted("abcdefg", [("g", "redact", [Finding("A", 0, 4)])], tally, 4)
    assert {} == tally.counts
    assert "<A>fg" == redacted("abcdefg", [("g", "redact", [Finding("A", 2, 5)])], tally, 4)


def test_findings_are_kept_only_where_that_is_allowed() -> None:
    """By default a tally has no words of a text in it."""
    found = [("g", "log", [Finding("A", 0, 1), Finding("A", 2, 3)])]
    open_, shut = Tally(keeps=True), Tally()
    for tally in (open_, shut):
        tally.keep("xyz", found, 1)  # type: ignore[arg-type]

    assert ([("g", "A", "z")], None) == (open_.kept, shut.kept)


def test_json_stays_json() -> None:
    """In the place of a number stands a string."""
    quotes = Quotes()
    text = '{"a": 4111, "b": "4111"}'
    found = [Finding("C", 6, 10), Finding("C", 18, 22)]

    assert '{"a": "<C>", "b": "<C>"}' == redacted(
        text, [("g", "redact", found)], Tally(), 0, quotes
    )
    assert not quotes.inside
