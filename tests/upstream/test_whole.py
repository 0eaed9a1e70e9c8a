"""whole.py: a whole answer in memory, however it comes, and never more than is wanted."""

import pytest

from headrace.upstream.connection import Broken
from headrace.upstream.whole import _Rest


async def test_pieces() -> None:
    """What came with the head and what came later are one body."""
    rest = _Rest(b"12", 10)
    rest.data(b"34")
    rest.end(b"5")

    assert b"12345" == await rest.done


async def test_too_large_an_answer() -> None:
    """Nobody can fill the memory: past the limit an answer is given up."""
    rest = _Rest(b"12345", 10)
    rest.data(b"678901")

    with pytest.raises(Broken, match="larger than 10 bytes"):
        await rest.done


async def test_an_answer_that_breaks() -> None:
    """Its reason is told, and what comes after the end changes nothing."""
    rest = _Rest(b"", 10)
    rest.broken("reset")
    rest.end(b"late")

    with pytest.raises(Broken, match="reset"):
        await rest.done
