"""
Tokens and words of the look-alike: text becomes countable, answers become repeatable.

Pure. A token is a word's piece of up to six letters with the blank before it, three digits, a sign,
or a marker of the chat template: some 4.5 bytes of English, as with real tokenizers. Words of an
answer are one token each, so that an answer that comes back in the next prompt has the same tokens,
and hits the same cache.
"""

import random
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b

_TOKEN = re.compile(r"<\|\w+\|>| ?[^\W\d_]{1,6}| ?\d{1,3}|\s+|.", re.DOTALL)
_WORDS = (
    "the water runs down a long stone canal and turns one wheel after the other until night when "
    "all of it rests in a deep still lake below our mill where fish and reeds grow old with time "
    "so we open a gate each dawn then watch light move over hills as rain feeds every stream"
)


def tokens(text: str) -> list[str]:
    """The text in pieces; joined they are the text again."""
    return [*_split(text)]


@lru_cache(maxsize=64)  # a router has a prompt rendered by every replica before it sends it to one
def _split(text: str) -> tuple[str, ...]:
    return tuple(_TOKEN.findall(text))


def answer(seed: str, count: int) -> list[str]:
    """``count`` tokens of an answer; equal seeds give equal answers."""
    words = _WORDS.split()
    choice = random.Random(seed).choice  # noqa: S311 - repeatable is the point
    said = [f" {choice(words)}" for _ in range(count)]
    if said:
        said[0] = said[0].lstrip().capitalize()
    return said


def length(seed: str, mean: int) -> int:
    """How long an answer wants to be: exponential around ``mean``, at least 1."""
    return max(1, round(random.Random(f"length {seed}").expovariate(1 / mean)))  # noqa: S311


def names(pieces: Sequence[str], block_size: int, salt: str = "") -> Iterator[int]:
    """The chained hash of each full block of tokens; ``salt`` keeps callers apart. Never 0."""
    parent = salt.encode()
    for start in range(0, len(pieces) - block_size + 1, block_size):
        block = "\0".join(pieces[start : start + block_size])
        parent = blake2b(parent + block.encode(), digest_size=8).digest()
        yield int.from_bytes(parent, "big") or 1


class Names:
    """The names of a sequence's blocks, each made when it is asked for the first time."""

    def __init__(self, pieces: Sequence[str], block_size: int, salt: str = "") -> None:
        self._coming = names(pieces, block_size, salt)
        self._made: list[int] = []

    def __call__(self, index: int) -> int:
        while len(self._made) <= index:
            self._made.append(next(self._coming))
        return self._made[index]
