"""words.py: what validation says, in our words."""

import pytest

from headrace.config.words import soften


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("Input should be greater than or equal to 1", "must be at least 1"),
        ("Invalid value for '-p': Input should be a valid integer, got x",
         "Invalid value for '-p': must be a whole number"),
        ("Value error, must be a URL", "must be a URL"),
        ("List should have at least 1 item after validation, not 0",
         "must have at least 1 item, not 0"),
        ("String should have at most 1 character", "must have at most one character"),
        ("there is no endpoint /x", "there is no endpoint /x"),
    ],
)  # fmt: skip
def test_plain_words(theirs: str, ours: str) -> None:
    """Pydantic's sentences become ours; others stay."""
    assert ours == soften(theirs)
