"""
The book of keys in the state that gateways share: a row for each key, tenant, time and change. What
is in the book is book.py's; the table's shape, state/table.py's.
"""

import hashlib
import secrets
from collections.abc import Mapping
from datetime import datetime

import msgspec

from headrace.admission.book import MAX_AUDIT, Book, Change, Edit, Tenant
from headrace.admission.keys import Key
from headrace.errors import ConfigError
from headrace.state.table import Table

NAME = "identity"

_KEY, _TENANT, _USED, _AUDIT, _PEPPER = "key/", "tenant/", "used/", "audit/", "pepper"

_key = msgspec.json.Decoder(Key)
_tenant = msgspec.json.Decoder(Tenant)
_change = msgspec.json.Decoder(Change)
_time = msgspec.json.Decoder(datetime)
_encode = msgspec.json.encode


class SharedStore:
    """
    A book in Redis (``book.Store``). Two changes of one key at the same moment: the later one
    counts; two new keys of one name: the second is refused.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    async def stamp(self) -> object:
        """
        The table's version.

        Raises:
            StateLost: it does not answer.

        """
        return await self._table.version()

    async def load(self) -> Book:
        """
        Read all rows; raises like ``stamp``.

        Raises:
            ConfigError: a row is none of ours.

        """
        return _decoded((await self._table.all()).rows)

    async def change(self, edit: Edit) -> Book:
        """Write the rows that an edit changes; raises like ``load``, and what the edit raises."""
        before = (await self._table.all()).rows
        book = _decoded(before)
        after = edit(book)
        wanted = _encoded(after, book)
        for name in [each for each in wanted if each.startswith(_KEY) and each not in before]:
            if not await self._table.add(name, wanted.pop(name)):
                raise ConfigError(f"There is a key {name.removeprefix(_KEY)!r} already.")
        await self._table.put({k: v for k, v in wanted.items() if before.get(k) != v})
        gone = [each for each in before if each.startswith(_TENANT) and each not in wanted]
        notes = sorted(each for each in before if each.startswith(_AUDIT))
        await self._table.drop([*gone, *notes[: len(notes) + 1 - MAX_AUDIT]])
        return after

    async def restore(self, book: Book) -> bool:
        """
        Put back the keys, tenants and changes that are missing, in one step: a server that lost its
        data has no other copy. Rows that are there stay. Raises like ``stamp``.
        """
        rows = _encoded(book, book)
        for note in book.audit:
            row = _encode(note)
            mark = hashlib.blake2b(row, digest_size=4).hexdigest()  # the same for all gateways
            rows[f"{_AUDIT}{note.at.isoformat()} {mark}"] = row
        await self._table.fill(rows)
        return True

    async def touch(self, used: Mapping[str, datetime]) -> None:
        """Keep the times, which nobody needs to read again at once; raises like ``stamp``."""
        rows = {_USED + name: _encode(at) for name, at in used.items()}
        await self._table.put(rows, silent=True)


def _decoded(rows: Mapping[str, bytes]) -> Book:
    def of(kind: str) -> dict[str, bytes]:
        return {n.removeprefix(kind): rows[n] for n in sorted(rows) if n.startswith(kind)}

    try:
        return Book(
            pepper=rows.get(_PEPPER, b"").decode("ascii", "replace"),
            keys={name: _key.decode(row) for name, row in of(_KEY).items()},
            tenants={name: _tenant.decode(row) for name, row in of(_TENANT).items()},
            used={name: _time.decode(row) for name, row in of(_USED).items()},
            audit=tuple(_change.decode(row) for row in of(_AUDIT).values()),
        )
    except msgspec.MsgspecError as error:
        raise ConfigError(f"The shared state holds no book of keys: {error}.") from None


def _encoded(book: Book, old: Book) -> dict[str, bytes]:
    """All rows of a book but its times; changes that were noted before keep their rows."""
    rows = {_PEPPER: book.pepper.encode("ascii")} if book.pepper else {}
    rows |= {_KEY + name: _encode(key) for name, key in book.keys.items()}
    rows |= {_TENANT + name: _encode(tenant) for name, tenant in book.tenants.items()}
    if book.audit and book.audit != old.audit:
        note = book.audit[-1]
        rows[f"{_AUDIT}{note.at.isoformat()} {secrets.token_hex(4)}"] = _encode(note)
    return rows
