"""
Which replica answered a session last, in the shared state: written in batches, read when a gateway
starts. How gateways tell each other meanwhile is gateway/peers.py's.

Time is cut into pieces, with a hash of pins for each piece and model, which expires as a whole: so
that a pin costs one field, and no server needs fields with a time to live (Redis 7.4).
"""

import re
from collections.abc import Iterator, Mapping

from headrace.state.redis import Link, Word

# Into so many pieces the time to live is cut: a pin lives up to one of them longer.
PIECES = 4
# Pins that are read in one go.
PAGE = 1000
_NUMBER = re.compile(rb"[0-9a-f]{16}")


class Pins:
    """
    Sessions by the hashes of their keys; the keys themselves, which may be secrets, stay with their
    gateway.
    """

    def __init__(self, link: Link, ttl_s: float) -> None:
        self._link = link
        self._ttl_s = ttl_s
        self._piece_s = ttl_s / PIECES

    def words(self, model: str, pins: Mapping[int, str], at: float) -> Iterator[tuple[Word, ...]]:
        """The commands that keep these, for ``Link.batch``; ``at`` is seconds since 1970."""
        if not pins:
            return
        key = self._key(model, int(at // self._piece_s))
        fields = (word for number, name in pins.items() for word in (f"{number:016x}", name))
        yield "HSET", key, *fields
        yield "PEXPIRE", key, int((self._ttl_s + self._piece_s) * 1000)

    async def load(self, model: str, at: float) -> dict[int, str]:
        """
        All that are kept, the newest replica of each session. Other requests may run meanwhile.

        Raises:
            StateLost: the state does not answer.

        """
        found: dict[int, str] = {}
        newest = int(at // self._piece_s)
        for piece in range(newest - PIECES, newest + 1):
            cursor = 0
            while True:
                cursor, fields = await self._link.ask(
                    "pins", "HSCAN", self._key(model, piece), cursor, "COUNT", PAGE
                )
                found |= {
                    int(number, 16): name.decode("utf-8", "replace")
                    for number, name in fields.items()
                    if _NUMBER.fullmatch(number)
                }
                if not cursor:
                    break
        return found

    def _key(self, model: str, piece: int) -> str:
        return self._link.key(f"pins:{model}", str(piece))
