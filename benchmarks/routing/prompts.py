"""
Text of a wanted length in tokens of the simulated engine: equal names give equal text, others do
not. Every word is one token, and seven bytes with the blank before it.
"""

from functools import lru_cache
from hashlib import shake_128

_LETTERS = str.maketrans("0123456789abcdef", "bcdfghjklmnpqrst")
_SIZE = 6  # letters of a word; as many as a token of the simulator may have


@lru_cache(maxsize=50_000)
def block(name: int | str, words: int) -> str:
    """``words`` words that only this name has."""
    if words <= 0:
        return ""
    digits = shake_128(str(name).encode()).hexdigest(-(-words * _SIZE // 2))
    letters = digits.translate(_LETTERS)
    return " " + " ".join(letters[n : n + _SIZE] for n in range(0, words * _SIZE, _SIZE))


def text(blocks: tuple[int, ...], block_words: int, own: str, tail: int) -> str:
    """Named blocks, and then ``tail`` words of one's own."""
    return "".join(block(name, block_words) for name in blocks) + block(own, tail)
