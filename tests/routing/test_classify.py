"""Judging: the right class, honest doubt, reasons, and the same answer every time."""

import numpy as np
import pytest

from headrace.config.examples import Example
from headrace.routing.classify import Judge
from headrace.routing.features import features
from headrace.routing.head import Rows

WORDS = ("sum", "prove", "song", "card")


def vector(text: str) -> Rows:
    """Counts of four words, of length 1."""
    counts = np.array([text.split().count(word) for word in WORDS], np.float32)
    return counts / np.float32(max(1e-9, float(np.linalg.norm(counts))))


HARD = ("sum of two", "prove this", "prove the sum", "a sum prove", "the sum", "prove")
EASY = ("a song please", "one card", "song card", "card and song", "the song", "card")
EXAMPLES = [
    *(Example(text, "reasoning", "hard") for text in HARD),
    *(Example(text, "fast", "easy") for text in EASY),
]


def judge(threshold: float = 0.6, default: str = "reasoning") -> Judge:
    texts = [example.text for example in EXAMPLES]
    vectors = np.array([vector(text) for text in texts])
    return Judge(EXAMPLES, vectors, [features(text) for text in texts], default, threshold)


@pytest.mark.parametrize(("text", "name"), [("prove a sum", "reasoning"), ("a card", "fast")])
def test_class_of_a_text(text: str, name: str) -> None:
    """A text like the examples of a class is of that class, and surely so."""
    found = judge().classify(vector(text), features(text))

    assert (name, "meaning") == (found.name, found.why)
    assert 0.6 <= found.confidence <= 1


@pytest.mark.parametrize("default", ["fast", "reasoning"])
def test_unsure_is_the_default(default: str) -> None:
    """Below the threshold the default is given, with the confidence that was too low."""
    text = "card sum"
    found = judge(threshold=0.99, default=default).classify(vector(text), features(text))

    assert (default, "unsure") == (found.name, found.why)
    assert 0.5 <= found.confidence < 0.99


def test_other_scripts_and_empty_texts_are_the_default() -> None:
    """What the examples say nothing about is not guessed at."""
    odd = judge(default="fast")

    assert "script" == odd.classify(vector(""), features("東京の天気は")).why
    assert "empty" == odd.classify(vector(""), features("?!")).why


def test_other_scripts_are_judged_where_examples_have_them() -> None:
    """Examples in another script make it a script that is known."""
    examples = [Example(text, name) for name in ("a", "b") for text in ("東京", "京都", "大阪")]
    vectors = np.array([vector("sum" if each.name == "a" else "card") for each in examples])
    known = Judge(examples, vectors, [features(each.text) for each in examples], "a", 0.0)

    assert "meaning" == known.classify(vector("card"), features("名古屋")).why


def test_shares_add_up_and_pulls_explain() -> None:
    """The shares of all classes are 1 together, and the pull on one class is against the other."""
    text = "prove the sum?"
    asked = judge()
    hard = asked.pulls(features(text), "reasoning")
    easy = asked.pulls(features(text), "fast")

    assert 1.0 == pytest.approx(float(asked.shares(vector(text), features(text)).sum()), abs=1e-5)
    assert [*hard.values()] == pytest.approx([-pull for pull in easy.values()], abs=1e-5)


def test_nearest_examples() -> None:
    """The examples that are most like a text come first, each with its source."""
    near = judge().nearest(vector("song card"), 2)

    assert {"song card", "card and song"} == {example.text for example, _ in near}
    assert [1.0, 1.0] == pytest.approx([likeness for _, likeness in near])
    assert {"easy"} == {example.source for example, _ in near}


def test_judging_is_deterministic() -> None:
    """Learned twice, a text has the same class with the same confidence to the last bit."""
    text = "prove a song"

    assert judge().classify(vector(text), features(text)) == judge().classify(
        vector(text), features(text)
    )
