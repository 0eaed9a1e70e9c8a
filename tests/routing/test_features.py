"""What features see in a text, and how much of a text is looked at."""

import time

import pytest

from headrace.routing.features import HEAD, TAIL, Features, excerpt, features


@pytest.mark.parametrize(
    ("field", "yes", "no"),
    [
        ("code", "def f(x): return x  # python", "what a lovely day"),
        ("maths", "solve 3x + 5 = 20, how many roots?", "what a lovely day"),
        ("reasons", "why? explain your reasoning step by step", "what a lovely day"),
        ("numbers", "12 and 7.5", "twelve"),
        ("digits", "12 and 7.5", "twelve"),
        ("asks", "is it? yes", "it is"),
        ("ends_asking", "is it? ", "is it? yes"),
        ("lines", "a\nb", "a b"),
        ("options", "Which?\nA) one\nB) two", "one or two"),
        ("symbols", "{};()", "words"),
        ("script", "東京の天気は", "the weather in Tokyo"),
        ("sentences", "One. Two.", "one"),
        ("length", "longer", ""),
        ("words", "one", "1"),
        ("word_length", "one", "1"),
    ],
)
def test_each_feature_sees_what_it_is_for(field: str, yes: str, no: str) -> None:
    """Each feature is larger where there is what it is named after."""
    assert getattr(features(yes), field) > getattr(features(no), field)


def test_every_feature_is_tried() -> None:
    """The table above leaves no feature out."""
    table = test_each_feature_sees_what_it_is_for.pytestmark[0].args[1]  # type: ignore[attr-defined]

    assert {row[0] for row in table} == set(Features._fields)


def test_nothing_is_nothing() -> None:
    """A text without anything has zeros only."""
    assert Features(*[0.0] * len(Features._fields)) == features("")


def test_long_texts_are_cut_in_the_middle() -> None:
    """Of a long text its beginning and its end are seen; a short one is itself."""
    long = "a" * 5_000 + "b" * 5_000

    assert "short" == excerpt("short")
    assert "a" * HEAD + "\n" + "b" * TAIL == excerpt(long)


def test_the_worst_text_is_cheap() -> None:
    """No text makes a pattern slow: half a megabyte of what they look for takes under 50 ms."""
    worst = [sign * 500_000 for sign in ("if ", "1 + ", "A) ", "select ", "{;}\n", "? ")]
    took = []
    for _ in range(3):
        began = time.thread_time()
        for text in worst:
            features(excerpt(text))
        took.append(time.thread_time() - began)

    assert min(took) < 0.05
