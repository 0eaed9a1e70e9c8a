"""Numbers for tokens: the same number for the same token in every replica, and back again."""

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b

from headrace.engines.sim.ask import Refused, invalid

MAX_KNOWN = 1_000_000  # tokens that a replica can turn back into text


class Vocabulary:
    """Remembers the tokens that it has numbered, so that their numbers can become text again."""

    def __init__(self) -> None:
        self._pieces: dict[int, str] = {}

    def numbers(self, pieces: Iterable[str]) -> list[int]:
        """A number of 31 bits for each token."""
        found = []
        for piece in pieces:
            number = _number(piece)
            if len(self._pieces) < MAX_KNOWN:
                self._pieces[number] = piece
            found.append(number)
        return found

    def text(self, numbers: object) -> str:
        """
        The text of numbers that were given out here.

        Raises:
            Refused: it is no list of such numbers.

        """
        if not isinstance(numbers, list):
            raise invalid("missing", "tokens", "Field required")
        unknown = [number for number in numbers if number not in self._pieces]
        if unknown:
            raise Refused(
                f"Token {unknown[0]} is not known; the simulator turns back what it tokenized.",
                "tokens",
            )
        return "".join(self._pieces[number] for number in numbers)


@lru_cache(maxsize=65_536)
def _number(piece: str) -> int:
    digest = blake2b(piece.encode("utf-8", "surrogatepass"), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1
