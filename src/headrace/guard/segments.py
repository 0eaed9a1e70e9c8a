"""
Cuts a text that comes in pieces into segments that can be judged one by one, always at the same
places, however it came. What is in them is the detectors' work.

A cut by words stands behind a plain word, where nothing that patterns find can be under way; what
has a digit or a sign in it is kept until two plain words have followed. A cut by sentences stands
behind the end of a sentence. Both stand behind each line but within a private key, which has many.
So a client waits for hardly more than the word that is being written.
"""

import re
from typing import NamedTuple

# What is kept when nothing allows a cut, such as one word of base64: longer secrets are cut.
MAX_HELD = 4096
MAX_KEY = 16_384  # a private key
# What a detector sees before a segment: `password: ` may be in the segment before.
CONTEXT = 64

# Scripts without spaces: no pattern has a letter of theirs, so that each of them ends a word.
_WIDE = r"\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff01-\uff0f\uff1a-\uff20"
_WORD = re.compile(rf"([^\s{_WIDE}]*)([\s{_WIDE}])")
# Letters with punctuation around them. Longer ones may be keys, which have no digits by chance.
_OPEN, _CLOSE = r"\u2018\u201c\u00ab\u00bf\u00a1", r"\u2019\u201d\u00bb\u2026"
_STOPS = r"\u2013\u2014-"  # dashes
_LETTERS = r"[^\W\d_]{1,24}+(?:['\u2019-][^\W\d_]{1,24}+){0,4}+"
_PLAIN = re.compile(
    rf"[\"'(\[{{*_#>`{_OPEN}]{{0,6}}+(?:{_LETTERS})?[.,;:!?)\"'\]}}*_`{_CLOSE}{_STOPS}]{{0,4}}"
)
_SENTENCE = re.compile(rf"[.!?\u2026\u3002\uff01\uff1f][\"')\]{_CLOSE}]{{0,3}}$")
_LINE_ENDS = "\n\r"
_BEGIN = "-----BEGIN"
_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY")
_KEY_END = re.compile(r"-----END [A-Z0-9 ]{0,60}-----")


class Segment(NamedTuple):
    """A part of a text. ``plain`` says that patterns find nothing in it, whatever is around it."""

    text: str
    plain: bool


class Segments:
    """One text. ``feed`` gives the segments that are complete, ``flush`` the rest."""

    __slots__ = ("_by_sentence", "_calm", "_held", "_hot", "_scanned")

    def __init__(self, *, by_sentence: bool = False) -> None:
        self._by_sentence = by_sentence
        self._held = ""
        self._start_anew()

    def feed(self, piece: str) -> list[Segment]:
        """The segments that this piece completes, in their order; plain ones in one."""
        self._held += piece
        found: list[Segment] = []
        start = 0
        while cut := self._next(start):
            text, plain = self._held[start:cut], not self._hot and not self._by_sentence
            if plain and found and found[-1].plain:
                found[-1] = Segment(found[-1].text + text, plain=True)
            else:
                found.append(Segment(text, plain))
            start = cut
            self._start_anew()
        self._held = self._held[start:]
        return found

    def flush(self) -> list[Segment]:
        """What is left when the text is over."""
        rest, self._held = self._held, ""
        self._start_anew()
        return [Segment(rest, plain=False)] if rest else []

    def _start_anew(self) -> None:
        self._scanned = 0  # up to here, from the segment's start, words were looked at
        self._hot = False  # one of them may be part of something
        self._calm = 0  # plain words since

    def _next(self, start: int) -> int:
        """Where the segment that starts there ends; 0 while that cannot be told."""
        held, limit = self._held, MAX_HELD
        if len(held) - start >= MAX_HELD and _within_key(held[start : start + MAX_HELD]):
            limit = MAX_KEY
        end = start + limit  # no further: a text may be one word of megabytes
        while (found := _WORD.match(held, start + self._scanned, end)) is not None:
            self._scanned = found.end() - start
            if self._ends(found[1], found[2], held, start):
                return found.end()
        if len(held) - start < limit:
            return 0
        self._hot = True
        return start + limit

    def _ends(self, word: str, space: str, held: str, start: int) -> bool:
        """Whether the segment ends behind this word and the sign that follows it."""
        if not _PLAIN.fullmatch(word):
            self._hot, self._calm = True, 0
        elif word:
            self._calm += 1
        if space in _LINE_ENDS:
            return not self._hot or not _within_key(held[start : start + self._scanned])
        if self._by_sentence:
            return _SENTENCE.search(word if space.isspace() else space) is not None
        if not space.isspace() or not self._hot:
            return True
        return self._calm > 1 and _BEGIN not in held[start : start + self._scanned]


def _within_key(held: str) -> bool:
    """Whether a private key has begun there and not ended."""
    begun = [found.end() for found in _KEY.finditer(held)]
    return bool(begun) and _KEY_END.search(held, begun[-1]) is None
