"""What looking at a text gives, and what looks. Acting on it is screen.py's."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Finding(NamedTuple):
    """Something that was found: what, and from where to where it stands in the text."""

    entity: str
    start: int
    end: int


class Detector(Protocol):
    """
    Looks at texts. ``sentences`` says that a word at a time is not enough to judge by; ``heavy``
    that a look takes long (over 100 microseconds for a short text).
    """

    sentences: bool
    heavy: bool

    def find(self, text: str) -> Sequence[Finding]: ...


class Unavailable(Exception):
    """A detector could not look; the text says why, and holds nothing of what it looked at."""
