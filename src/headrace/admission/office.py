"""
What can be done with keys and tenants: create, change, rotate, revoke. The command line and the
admin API do it through here; the changes themselves are book.py's.
"""

import asyncio
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import Struct, field

from headrace.admission import keys
from headrace.admission.book import Book, Clerk, Store, Tenant, Unknown
from headrace.admission.bounds import limited
from headrace.admission.file import make_pepper
from headrace.admission.keys import Key, Secret
from headrace.config import identity as config
from headrace.config.identity import DEFAULT, Identity
from headrace.config.queue import USUAL, unknown
from headrace.errors import ConfigError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


class Order(Struct, frozen=True):
    """A key to be made."""

    name: str
    tenant: str = DEFAULT
    models: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    admin: bool = False
    expires_at: datetime | None = None
    limits: dict[str, float] = field(default_factory=dict)


class Issued(Struct, frozen=True):
    """A key, and its secret, which nobody sees a second time."""

    key: Key
    secret: str


class Office:
    """Works on the book of one store, in the name of the ``actor`` that each call is given."""

    def __init__(
        self,
        store: Store,
        identity: Identity,
        tenants: Iterable[config.Tenant],
        classes: Iterable[str] = USUAL,
    ) -> None:
        """``tenants`` and the queue's ``classes`` are those of the configuration."""
        self._classes = tuple(classes)
        self._store = store
        self._identity = identity
        self.declared = {DEFAULT, *(tenant.name for tenant in tenants)}

    async def read(self) -> Book:
        """The book now; raises what the store raises, as all of these do."""
        return await self._store.load()

    async def create(self, actor: str, order: Order) -> Issued:
        """
        Make a key.

        Raises:
            ConfigError: its name is no name or is taken, there is no such tenant or limit, or the
                keys that there are have another pepper.

        """
        now = datetime.now(UTC)
        pepper, minted = await self._pepper(), keys.mint()
        key = Key(
            name=order.name,
            tenant=order.tenant,
            created_at=now,
            secrets=(_kept(pepper, minted),),
            expires_at=order.expires_at,
            models=order.models,
            endpoints=order.endpoints,
            admin=order.admin,
            limits=order.limits,
        )
        _name(order.name)
        limited(order.limits)
        mark = keys.fingerprint(pepper)

        def edit(book: Book) -> Book:
            self._known(book, order.tenant)
            return Clerk(actor, now).create(book, key, mark)

        await self._store.change(edit)
        return Issued(key, minted.secret)

    async def rotate(self, actor: str, name: str, overlap: timedelta) -> Issued:
        """
        Give a key a new secret; the present one stays good for the overlap.

        Raises:
            ConfigError: there is no such key, it was revoked, or the pepper is another one.

        """
        now = datetime.now(UTC)
        pepper, minted = await self._pepper(), keys.mint()

        def edit(book: Book) -> Book:
            rotated = Clerk(actor, now).rotate(book, name, _kept(pepper, minted), overlap)
            if book.pepper != keys.fingerprint(pepper):
                raise ConfigError("The keys that there are were made with another pepper.")
            return rotated

        book = await self._store.change(edit)
        return Issued(book.keys[name], minted.secret)

    async def revoke(self, actor: str, name: str) -> Key:
        """
        End a key, now and for good.

        Raises:
            ConfigError: there is no such key, or it was revoked before.

        """
        clerk = Clerk(actor, datetime.now(UTC))
        book = await self._store.change(lambda book: clerk.revoke(book, name))
        return book.keys[name]

    async def alter(self, actor: str, name: str, values: dict[str, Any]) -> Key:
        """Change what a key may do, and whose it is; raises like ``revoke``."""
        clerk = Clerk(actor, datetime.now(UTC))
        limited(values.get("limits", {}))

        def edit(book: Book) -> Book:
            if "tenant" in values:
                self._known(book, values["tenant"])
            return clerk.alter(book, name, values)

        return (await self._store.change(edit)).keys[name]

    async def keep(self, actor: str, tenant: Tenant) -> Tenant:
        """
        Add a tenant, or put another in the place of one that the book has.

        Raises:
            ConfigError: its name is no name, the configuration has it, or it is of no class that
                there is.

        """
        _name(tenant.name)
        if tenant.priority not in self._classes:
            raise ConfigError(unknown(tenant.priority, self._classes))
        self._ours(tenant.name)
        limited(tenant.limits)
        clerk = Clerk(actor, datetime.now(UTC))
        await self._store.change(lambda book: clerk.keep(book, tenant))
        return tenant

    async def drop(self, actor: str, name: str) -> None:
        """
        Remove a tenant.

        Raises:
            ConfigError: there is none, the configuration has it, or it has keys.

        """
        self._ours(name)
        clerk = Clerk(actor, datetime.now(UTC))
        await self._store.change(lambda book: clerk.drop(book, name))

    async def _pepper(self) -> bytes:
        return keys.pepper_of(await asyncio.to_thread(make_pepper, self._identity))

    def _known(self, book: Book, tenant: str) -> None:
        if tenant not in self.declared and tenant not in book.tenants:
            known = ", ".join(sorted({*self.declared, *book.tenants}))
            raise Unknown(
                f"There is no tenant {tenant!r}; there are: {known}. Declare it under `tenants`."
            )

    def _ours(self, tenant: str) -> None:
        if tenant in self.declared:
            raise ConfigError(f"The tenant {tenant!r} is the configuration's; change it there.")


def _kept(pepper: bytes, minted: keys.Minted) -> Secret:
    return Secret(minted.prefix, keys.hash_of(pepper, minted.secret.encode("ascii")).hex())


def _name(name: str) -> None:
    if NAME.fullmatch(name) is None:
        raise ConfigError(
            f"{name!r} is no name; use up to 64 letters, digits and . _ @ - (no space)."
        )
