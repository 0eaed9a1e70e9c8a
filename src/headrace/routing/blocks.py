"""
Prompts as chains of 60-bit block hashes: equal beginnings of prompts give equal first blocks. Pure.

The bytes of a prompt are put in the order in which chat templates put them (tools, system,
messages), so that it does not matter in which order a client wrote its keys. Each block's hash is
seeded with that of the block before it, as vLLM chains its own. The hash is xxh3
(https://github.com/Cyan4973/xxHash).
"""

import re
from collections.abc import Iterable

from xxhash import xxh3_64_intdigest

# Bytes of a block: some 128 tokens of English. Smaller ones tell more and cost more.
BLOCK = 512
# English has about four bytes per token; what a model's tokenizer makes of them is learned.
USUAL_BYTES = 4.0
FEWEST_BYTES, MOST_BYTES = 0.5, 32.0

# What closes the last value of a prompt: a longer conversation goes on where it stands.
_CLOSING = b' \t\r\n"]}'
# Base64 of images and sounds counts by its digest: it is many bytes and few tokens.
_MEDIUM = re.compile(rb'"((?:data:[^",]{0,100},)?[A-Za-z0-9+/_=-]{512,})"')


def hash_of(text: str, seed: int = 0) -> int:
    """A 64-bit number for a name or a key; the same on every machine."""
    return xxh3_64_intdigest(text.encode(), seed)


def join(parts: Iterable[bytes | memoryview], *, media: bool = False) -> bytes:
    """
    The bytes of a prompt from its parts, which are raw JSON values in a fixed order; with
    ``media`` each long base64 string is replaced by its digest.

    The end is left open: ``[{...}]`` is a beginning of ``[{...},{...}]``.
    """
    text = b"\n".join(parts)
    if media:
        text = _MEDIUM.sub(_digest, text)
    return text.rstrip(_CLOSING)


def chain(text: bytes, seed: int, size: int = BLOCK) -> list[int]:
    """The hashes of the full blocks of ``size`` bytes; the seed says whose cache it is."""
    digest = xxh3_64_intdigest
    found = []
    for start in range(0, len(text) - size + 1, size):
        seed = digest(text[start : start + size], seed) >> 4  # 60 bits: an int of 32 B, not 48
        found.append(seed)
    return found


class Density:
    """Bytes per token of one model's prompts, learned from the tokens that engines report."""

    __slots__ = ("_samples", "bytes_per_token")

    def __init__(self) -> None:
        self.bytes_per_token = USUAL_BYTES
        self._samples = 0

    def learn(self, size: int, tokens: int) -> None:
        """A prompt of ``size`` bytes had so many tokens."""
        if size < BLOCK or tokens <= 0:  # the template is most of a short one
            return
        self._samples += 1
        gain = max(0.05, 1 / self._samples)
        seen = min(max(size / tokens, FEWEST_BYTES), MOST_BYTES)
        self.bytes_per_token += gain * (seen - self.bytes_per_token)


def _digest(medium: re.Match[bytes]) -> bytes:
    return b'"%016x"' % xxh3_64_intdigest(medium[1])
