"""
A small table in the shared state, with a version that differs after each change. For what is read
whole and seldom changes, such as keys; what changes with each request does not belong here.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from headrace.state.redis import Link, Word


class Contents(NamedTuple):
    """All of a table at one moment, and its version then."""

    version: str
    rows: dict[str, bytes]


class Table:
    """
    Rows by name, in one hash. All methods raise ``StateLost`` when the state does not answer.

    Readers ask ``version`` as often as they like (one GET), and read all when it differs from that
    of what they have. It is a random word: a server that came back empty or with an older copy
    never has the same by chance.
    """

    def __init__(self, link: Link, name: str) -> None:
        self._link = link
        self._name = name
        self._rows = link.key(name, "rows")
        self._version = link.key(name, "version")

    async def version(self) -> str:
        """The version; empty for a table that nobody has written to."""
        return _text(await self._link.ask(self._name, "GET", self._version))

    async def all(self) -> Contents:
        """All rows, and the version that they are."""
        version, rows = await self._change(("GET", self._version), ("HGETALL", self._rows))
        return Contents(_text(version), {name.decode(): row for name, row in rows.items()})

    async def get(self, name: str) -> bytes | None:
        """One row."""
        found: bytes | None = await self._link.ask(self._name, "HGET", self._rows, name)
        return found

    async def put(self, rows: Mapping[str, bytes], *, silent: bool = False) -> None:
        """Write rows. ``silent``: readers need not read all again, as for times of last use."""
        if not rows:
            return
        written = ("HSET", self._rows, *(word for row in rows.items() for word in row))
        await self._change(written, *(() if silent else (self._renewed(),)))

    async def add(self, name: str, row: bytes) -> bool:
        """Write a row that is not there yet; False, and nothing is written, where it is."""
        added, _ = await self._change(("HSETNX", self._rows, name, row), self._renewed())
        return bool(added)

    async def fill(self, rows: Mapping[str, bytes]) -> None:
        """Write those of these rows that are not there yet."""
        added = [("HSETNX", self._rows, name, row) for name, row in rows.items()]
        await self._change(*added, self._renewed())

    async def drop(self, names: Iterable[str]) -> None:
        """Remove rows; unknown names are fine."""
        gone = [*names]
        if gone:
            await self._change(("HDEL", self._rows, *gone), self._renewed())

    async def _change(self, *commands: Sequence[Word]) -> list[Any]:
        return await self._link.batch(self._name, commands, whole=True)

    def _renewed(self) -> tuple[str, ...]:
        return "SET", self._version, os.urandom(12).hex()


def _text(found: bytes | None) -> str:
    return found.decode() if found else ""
