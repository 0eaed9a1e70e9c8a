r"""
JSON inside a text, such as the arguments of a tool call: what it means, for detectors, and where
each letter of that stands. Redaction must leave it JSON.
"""

import re
from collections.abc import Sequence

from headrace.guard.types import Finding

_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{4}|.)", re.DOTALL)
_MEANING = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}


def plain(text: str) -> tuple[str, list[int]]:
    r"""
    The text with its escapes resolved, so that ``\u0040`` hides no address; and for each letter,
    and the end, where it began.
    """
    letters: list[str] = []
    places: list[int] = []
    position = 0
    for found in _ESCAPE.finditer(text):
        letters += text[position : found.start()]
        places += range(position, found.start())
        code = found[0][1:]
        letters.append(chr(int(code[1:], 16)) if len(code) == 5 else _MEANING.get(code, code))
        places.append(found.start())
        position = found.end()
    letters += text[position:]
    places += range(position, len(text) + 1)
    return "".join(letters), places


def placed(findings: Sequence[Finding], places: Sequence[int]) -> list[Finding]:
    """Findings in the resolved text, as places in the text as it came."""
    return [Finding(each.entity, places[each.start], places[each.end]) for each in findings]


class Quotes:
    """Whether the end of a text that was seen so far is within a string of JSON."""

    __slots__ = ("inside",)

    def __init__(self) -> None:
        self.inside = False

    def follow(self, text: str) -> None:
        """Some more of the text."""
        for mark in re.findall(r'\\.|"', text, re.DOTALL):
            if mark == '"':
                self.inside = not self.inside

    def name(self, entity: str) -> str:
        """What may stand in the place of a finding: a string of its own outside of strings."""
        return entity if self.inside else f'"{entity}"'
