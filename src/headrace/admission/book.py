"""
The book: all keys and tenants that are kept, who changed them, and the changes there are. Pure; the
moment is an argument. Reading and writing it is the stores' (file.py, shared.py).
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from headrace.admission.keys import Key, Secret, changed, renewed
from headrace.errors import ConfigError

# Changes that are remembered in the book; the log has all.
MAX_AUDIT = 500


class Tenant(Struct, frozen=True, omit_defaults=True):
    """A tenant, declared in the configuration or kept in the book. ``limits`` are free fields."""

    name: str
    priority: str = "interactive"
    group: str = ""
    models: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)
    weight: float = 1.0


class Change(Struct, frozen=True, omit_defaults=True):
    """Who did what to which key or tenant, and when."""

    at: datetime
    actor: str
    action: str
    subject: str


class Book(Struct, frozen=True, omit_defaults=True):
    """
    All that is kept. ``pepper`` is the fingerprint of the one that the hashes were made with;
    ``used`` are times of last use by key; ``audit`` are the latest changes, oldest first.
    """

    pepper: str = ""
    keys: dict[str, Key] = field(default_factory=dict)
    tenants: dict[str, Tenant] = field(default_factory=dict)
    used: dict[str, datetime] = field(default_factory=dict)
    audit: tuple[Change, ...] = ()


Edit = Callable[[Book], Book]
"""A change of the book; may raise a ConfigError, and then nothing has changed."""


class Store(Protocol):
    """Where the book is kept. All methods may raise StartError or StateLost."""

    async def stamp(self) -> object:
        """Something that differs after each change of keys and tenants; cheap."""

    async def load(self) -> Book:
        """The whole book; an empty one where there is none yet."""

    async def change(self, edit: Edit) -> Book:
        """Apply a change to what is there now, as one step; gives the new book."""

    async def restore(self, book: Book) -> bool:
        """
        Put back what is missing of a book that was lost. False where that is not done: whoever
        writes the store by hand may leave out keys.
        """

    async def touch(self, used: Mapping[str, datetime]) -> None:
        """Keep times of last use. This is no change."""


class Conflict(ConfigError):
    """There is such a name already."""


class Unknown(ConfigError):
    """There is no such name."""


class Clerk:
    """Makes changes, each with its line in the audit log, in the name of ``actor``."""

    def __init__(self, actor: str, now: datetime) -> None:
        self._actor = actor
        self._now = now

    def create(self, book: Book, key: Key, pepper: str) -> Book:
        """
        Add a key.

        Raises:
            ConfigError: its name is taken, or the book has hashes of another pepper.

        """
        if key.name in book.keys:
            raise Conflict(f"There is a key {key.name!r} already; choose another name.")
        keys = {**book.keys, key.name: key}
        return self._noted(replace(book, keys=keys, pepper=_same(book, pepper)), "key_created", key)

    def rotate(self, book: Book, name: str, secret: Secret, overlap: timedelta) -> Book:
        """
        Give a key a new secret; the present one stays good for the overlap.

        Raises:
            ConfigError: there is no such key, or it was revoked.

        """
        key = self._active(book, name)
        return self._put(book, renewed(key, secret, self._now + overlap), "key_rotated")

    def revoke(self, book: Book, name: str) -> Book:
        """End a key; raises like ``rotate``."""
        key = self._active(book, name)
        return self._put(book, changed(key, {"revoked_at": self._now}), "key_revoked")

    def alter(self, book: Book, name: str, values: Mapping[str, Any]) -> Book:
        """Change scopes, limits, tenant or expiry of a key; raises like ``rotate``."""
        key = self._active(book, name)
        return self._put(book, changed(key, values), "key_changed")

    def keep(self, book: Book, tenant: Tenant) -> Book:
        """Add a tenant, or put another in its place."""
        action = "tenant_changed" if tenant.name in book.tenants else "tenant_created"
        tenants = {**book.tenants, tenant.name: tenant}
        return self._noted(replace(book, tenants=tenants), action, tenant)

    def drop(self, book: Book, name: str) -> Book:
        """
        Remove a tenant.

        Raises:
            ConfigError: there is no such tenant, or it has keys that are not revoked.

        """
        tenant = book.tenants.get(name)
        if tenant is None:
            raise Unknown(f"There is no tenant {name!r} in the book of keys.")
        left = sorted(
            key.name for key in book.keys.values() if key.tenant == name and not key.revoked_at
        )
        if left:
            raise Conflict(f"The tenant {name!r} has keys; revoke them first: {', '.join(left)}.")
        tenants = {each: kept for each, kept in book.tenants.items() if each != name}
        return self._noted(replace(book, tenants=tenants), "tenant_removed", tenant)

    def _active(self, book: Book, name: str) -> Key:
        key = book.keys.get(name)
        if key is None:
            known = ", ".join(sorted(book.keys)[:20]) or "none"
            raise Unknown(f"There is no key {name!r}; there are: {known}.")
        if key.revoked_at is not None:
            raise Conflict(f"The key {name!r} was revoked; create another one.")
        return key

    def _put(self, book: Book, key: Key, action: str) -> Book:
        return self._noted(replace(book, keys={**book.keys, key.name: key}), action, key)

    def _noted(self, book: Book, action: str, subject: Key | Tenant) -> Book:
        note = Change(self._now, self._actor, action, subject.name)
        return replace(book, audit=(*book.audit, note)[-MAX_AUDIT:])


def _same(book: Book, pepper: str) -> str:
    if book.pepper not in {"", pepper}:
        raise ConfigError(
            "The keys that there are were made with another pepper; give that one"
            " (`identity.pepper` or `identity.pepper_file`)."
        )
    return pepper
