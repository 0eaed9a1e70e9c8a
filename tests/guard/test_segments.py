"""segments.py: cuts do not depend on the pieces, and never stand in what patterns find."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.guard.patterns import Patterns
from headrace.guard.secrets import Secrets
from headrace.guard.segments import MAX_HELD, Segment, Segments
from tests.guard.growth import linear

KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAKC 12\n-----END RSA PRIVATE KEY-----"
THINGS = [
    "anna.lee@example.org", "4111 1111 1111 1111", "+49 30 901820", "(212) 555-0188",
    "DE89 3704 0044 0532 0130 00", "NL91 ABNA 0417 1643 00", "078-05-1120", "10.1.2.3",
    "2001:db8::1", "AKIA" + "IOSFODNN7EXAMPLE", "https://bob:s3cret9@host/x", KEY,
]  # fmt: skip
WORDS = [
    "the",
    "Quick",
    "don't",
    "it is,",
    "(well)",
    "\n",
    "7",
    "a1",
    "3.5",
    "联系",
    "。",
    "-",
    "**b**",
]
TEXTS = st.lists(st.sampled_from([*THINGS, *WORDS]), max_size=30).map(" ".join)


def cut(text: str, places: list[int], *, by_sentence: bool = False) -> list[Segment]:
    """The segments of a text that comes in pieces."""
    segments = Segments(by_sentence=by_sentence)
    ends = sorted({min(place, len(text)) for place in places} | {len(text)})
    found: list[Segment] = []
    for start, end in zip([0, *ends], ends, strict=False):
        found += segments.feed(text[start:end])
    return found + segments.flush()


def hot(found: list[Segment]) -> list[str]:
    """Those that are looked at."""
    return [each.text for each in found if not each.plain]


@given(TEXTS | st.text(), st.lists(st.integers(0, 400)), st.booleans())
def test_cuts_do_not_depend_on_the_pieces(text: str, places: list[int], by_sentence: bool) -> None:
    """Nothing is lost, and what is looked at is the same as if all had come at once."""
    pieces, whole = (
        cut(text, places, by_sentence=by_sentence),
        cut(text, [], by_sentence=by_sentence),
    )

    assert text == "".join(each.text for each in pieces)
    assert hot(whole) == hot(pieces)


@given(TEXTS)
def test_nothing_that_patterns_find_is_cut(text: str) -> None:
    """What is found in the whole text lies within one segment, which is looked at."""
    spans = [*Patterns().find(text), *Secrets().find(text)]
    position, ends = 0, []
    for segment in cut(text, []):
        ends.append((position, position + len(segment.text), segment.plain))
        position += len(segment.text)

    for span in spans:
        holding = [plain for start, end, plain in ends if start <= span.start and span.end <= end]
        assert [False] == holding, text[span.start : span.end]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Hello there ", ""), ("Hello the", "the"), ("call +49 30 ", "+49 30 "),
        ("call +49 30 901820 then ", "+49 30 901820 then "), ("call +49 30 901820 then we ", ""),
        ("联系我们", ""), ("12,5\n", ""), ("(see ", ""), ("a.b@", "a.b@"),
    ],
)  # fmt: skip
def test_what_is_kept(text: str, kept: str) -> None:
    """Plain words leave at once; what may be part of something waits for two plain words."""
    segments = Segments()
    segments.feed(text)

    assert kept == "".join(each.text for each in segments.flush())


def test_by_sentence() -> None:
    """Where words are not enough to judge by, sentences and lines leave as wholes."""
    found = cut('He said "no." Then 3.5 more\nand. ', [], by_sentence=True)

    assert ['He said "no." ', "Then 3.5 more\n", "and. "] == [each.text for each in found]


def test_nothing_is_kept_for_ever() -> None:
    """A word without an end is cut; a private key, which is longer, is not."""
    assert [MAX_HELD, MAX_HELD, 100] == [len(e.text) for e in cut("x" * (2 * MAX_HELD + 100), [])]
    key = KEY.replace("MIIEow", "\n".join(["M" * 64] * 80))
    assert [key] == [each.text for each in cut(key, [9, 2000])]


def test_little_is_kept_of_a_long_text() -> None:
    """So that the time for each piece does not grow with the text before it."""
    segments, most = Segments(), 0
    text = "It was 12 or 13 of them, and so on; " * 400
    left = 0
    for at in range(0, len(text), 4):
        left += len(text[at : at + 4]) - sum(
            len(each.text) for each in segments.feed(text[at : at + 4])
        )
        most = max(most, left)

    assert most < 40


def test_one_word_of_megabytes_takes_linear_time() -> None:
    """It is cut again and again, and each cut looks at what it cuts."""
    assert linear(lambda size: Segments().feed("a" * size), 250_000)
