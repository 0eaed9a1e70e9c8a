"""regexes.py: how large an expression is, and whether it is one. It is read, never run."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.guard.regexes import MANY, Malformed, rules, states
from tests.guard.growth import linear

DEPTH = 32


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("", 0),
        ("abc", 3),
        ("[a-z]+", 1),
        (r"\d{4}-\d{2}", 7),
        ("(a{100}b){50}", 5100),
        ("((a{1000}){1000}){1000}", MANY),
        ("a{99999999999}", MANY),
        ("a{3,}", 3),
        ("a{,7}", 7),
        ("a{0}", 1),
        ("{x}", 3),
        (r"^\p{L}[\p{L}]*?$", 2),
        (r"^(?!-)[A-Za-z0-9-]{1,63}(?<!-)$", 67),
        ("[]a]", 1),
        (r"[^\]]", 1),
        ("(?P<n>a)(?i:x)", 4),
        ("^(|.*)$", 2),
    ],
)
def test_size(pattern: str, expected: int) -> None:
    """One for each character, set and group, with every counted repeat written out."""
    assert expected == states(pattern, DEPTH)


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("foo**", "repeats nothing"),
        ("*", "repeats nothing"),
        ("a|+", "repeats nothing"),
        ("(?<=x)*", "repeats nothing"),
        ("(a", "not closed"),
        ("a)", "not open"),
        ("[a", "without an end"),
        ("a\\", "without an end"),
        ("a{3,2}", "counts down"),
        ("(" * 33 + ")" * 33, "nested more than 32 deep"),
    ],
)
def test_what_is_no_expression(pattern: str, why: str) -> None:
    """Those that have ended engines are told from good ones, with the reason."""
    with pytest.raises(Malformed, match=why):
        states(pattern, DEPTH)


@given(st.text(r"ab()[]{}*+?|\^$,.-:<=!0123", max_size=30))
def test_what_python_compiles_is_none_of_those(pattern: str) -> None:
    """An expression that no engine of ours knows never fails in another way."""
    try:
        size = states(pattern, DEPTH)
    except Malformed:
        return
    assert 0 <= size <= MANY * 31


@given(
    st.from_regex(
        re.compile(r"([ab.]|\[a-z\]|\\d|\(a\|b\)|\(\?:x\))([*+?]|\{2,5\})?"), fullmatch=True
    )
)
def test_usual_ones_pass(pattern: str) -> None:
    """What Python compiles from usual parts is found good."""
    re.compile(pattern)
    assert states(pattern, DEPTH) >= 1


def test_grammars() -> None:
    """Counted repeats of GBNF and Lark count; quotes, sets and comments have no brackets."""
    assert 14 == rules(
        "ab b{3,9}# don't (\n", DEPTH
    )  # a line's end, a space, and the x of a comment
    assert 500 <= rules('start: "("~2..500', DEPTH)
    assert MANY == rules("root ::= ((x{1000}){1000}){1000}", DEPTH)
    with pytest.raises(Malformed, match="nested"):
        rules("(" * 40, DEPTH)


@pytest.mark.parametrize("part", ["(a", "a{1,2}", "[a]", "(?:", '"a', "'", "#", "~1..2 "])
def test_work_grows_with_size(part: str) -> None:
    """A hostile text takes no longer than a usual one of its length."""
    assert linear(lambda size: rules(part * (size // len(part)), 10**9), 20_000)
