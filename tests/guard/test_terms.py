"""terms.py: an operator's words are found as words, and never told in two halves."""

from pathlib import Path

import pytest

from headrace.errors import ConfigError
from headrace.guard.terms import Terms


@pytest.mark.parametrize(
    ("text", "found"),
    [("the BLUE \n Falcon flies", ["BLUE \n Falcon"]), ("falcon", []), ("x-ray, Xray", ["Xray"]),
     ("xrays", []), ("绝密文件", []), ("a 绝密 b", ["绝密"])],
)  # fmt: skip
def test_words(text: str, found: list[str]) -> None:
    """In any case, as whole words, whatever space is in a phrase."""
    terms = Terms(["blue falcon", "xray", "绝密"])

    assert found == [text[each.start : each.end] for each in terms.find(text)]


def test_phrases_need_whole_sentences() -> None:
    """A stream is cut between words; only a single plain word is safe there."""
    assert [False, True, True] == [
        Terms([each]).sentences for each in ("falcon", "blue falcon", "绝密")
    ]


def test_files(tmp_path: Path) -> None:
    """One word a line; mistakes are told."""
    file = tmp_path / "w.txt"
    with pytest.raises(ConfigError, match=r"w\.txt: No such file"):
        Terms([], file)
    file.write_text("\n\n")
    with pytest.raises(ConfigError, match="has no words"):
        Terms([], file)
    file.write_text("one\ntwo\n")
    assert 2 == len(Terms([], file).find("One and two"))
