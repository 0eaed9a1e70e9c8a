"""Tokens: none is lost, answers keep theirs in the next prompt, names follow their content."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.engines.sim import text


@given(st.text())
def test_tokens_are_the_text(said: str) -> None:
    """Joined, the tokens of any text are the text."""
    assert said == "".join(text.tokens(said))


@given(st.text(alphabet="ab c\n"), st.text(), st.integers(1, 40))
def test_an_answer_has_the_same_tokens_when_it_comes_back(before: str, seed: str, n: int) -> None:
    """Behind a template's marker and a line end, an answer is cut as it was made."""
    opened = f"{before}<|assistant|>\n"
    said = text.answer(seed, n)

    assert [*text.tokens(opened), *said] == text.tokens(opened + "".join(said))


def test_answers_are_repeatable() -> None:
    """Equal seeds give equal answers, others do not."""
    assert text.answer("a", 30) == text.answer("a", 30)
    assert text.answer("a", 30) != text.answer("b", 30)
    assert text.answer("a", 30)[:5] == text.answer("a", 5)
    assert [] == text.answer("a", 0)


def test_lengths_are_around_the_mean() -> None:
    """Over many answers the mean length is what was asked for, and none is empty."""
    lengths = [text.length(str(seed), 100) for seed in range(2000)]

    assert 90 < sum(lengths) / len(lengths) < 110
    assert min(lengths) >= 1


def test_names_are_chained() -> None:
    """A block's name depends on all before it and on the salt; only whole blocks have one."""
    first = [*text.names([*"abcdefg"], 3)]
    other = [*text.names([*"xbcdefg"], 3)]

    assert 2 == len(first)
    assert not {*first} & {*other}
    assert first == [*text.names([*"abcdef"], 3)]
    assert not {*first} & {*text.names([*"abcdefg"], 3, salt="s")}


def test_names_are_made_when_asked_for() -> None:
    """Whatever the order of asking, the names are the same."""
    pieces = [*"abcdefghi"]
    names = text.Names(pieces, 2)

    assert [names(3), names(0), names(3)] == [[*text.names(pieces, 2)][i] for i in (3, 0, 3)]
