"""
The door: from the head of a request to its caller, by key, by token, or as nobody in particular.

It keeps what it needs in memory and follows the book of keys, so that a request waits for nobody.
"""

import asyncio
import hashlib
import importlib
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from headrace.admission import keys
from headrace.admission.book import Book, Store
from headrace.admission.file import make_pepper, read_pepper
from headrace.admission.table import Pass, Register, Salts, passes
from headrace.admission.types import NOBODY, Caller
from headrace.config.fleet import LOOPBACK
from headrace.config.identity import Identity, Tenant
from headrace.errors import ConfigError, StartError, StateLost, Unauthorized
from headrace.state.ending import end

if TYPE_CHECKING:
    from headrace.admission.tokens import Tokens

# How often the book is looked at: a revoked key is refused within 1 s, reading included.
POLL_S = 0.25
# How often times of last use are written.
TOUCH_S = 10.0

_TROUBLE = (StartError, ConfigError, StateLost)


class Log(Protocol):
    """Where events go."""

    def event(self, event: str, **fields: object) -> None: ...


class Door:
    """
    ``enter`` tells who calls. ``watched`` is False while everybody is nobody, which is all that a
    request then looks at.
    """

    def __init__(
        self,
        config: Identity,
        tenants: Sequence[Tenant],
        store: Store,
        log: Log,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``clock`` gives seconds since 1970."""
        self._config = config
        self._declared = tenants
        self._store = store
        self._log = log
        self._clock = clock
        self._header = config.header.encode("ascii")
        self._anthropic = config.anthropic_header.encode("ascii")
        self._pepper = os.urandom(32)  # until there is one that is kept
        self._local = False
        self._seen: object = None
        self._trouble = ""
        self._tokens: Tokens | None = None
        self._task: asyncio.Task[None] | None = None
        self._passes: dict[bytes, Pass] = {}
        self._touched: dict[str, float] = {}
        self._known = False  # whether there is or was a key
        self.watched = False
        self.book = Book()
        self.salts = Salts("off", b"")
        self.register = Register(tenants, {}, self.salts)
        self.read_at: float | None = None  # monotonic, when the book was last looked at
        self.adopted: Callable[[], None] = lambda: None  # called when there is another book

    # --- requests ---------------------------------------------------------------------------

    def enter(
        self, headers: Mapping[bytes, bytes], *, anthropic: bool = False, last: bool = False
    ) -> "Caller | asyncio.Task[None]":
        """
        Who sends a request with these headers; or what to wait for before asking again, then with
        ``last``: a token is signed with a key that is being read.

        Raises:
            Unauthorized: whoever it is may not enter.

        """
        token = headers.get(self._anthropic, b"") if anthropic else b""
        if not token:
            given = headers.get(self._header, b"")
            token = given[7:] if given[:7] in {b"Bearer ", b"bearer "} else given.strip()
        if not token:
            return self._nobody("The request has no key; send it as a bearer token.")
        digest = hashlib.blake2b(token, key=self._pepper, digest_size=32).digest()
        found = self._passes.get(digest)
        if found is None:
            stranger = self._stranger(token, digest, last=last)
            if not isinstance(stranger, Pass):
                return stranger
            found = stranger
        now = self._clock()
        if now >= found.until:
            raise Unauthorized(f"The {'key' if found.caller.key else 'token'} has expired.")
        found.used_at = now
        return found.caller

    def admin(self, secret: bytes) -> Caller | None:
        """Who has this key, if it has the scope for the admin API."""
        if not self.watched:
            return None
        try:
            caller = self.enter({self._header: b"Bearer " + secret})
        except Unauthorized:
            return None
        return caller if isinstance(caller, Caller) and caller.admin else None

    def _stranger(
        self, token: bytes, digest: bytes, *, last: bool
    ) -> "Pass | Caller | asyncio.Task[None]":
        """A token that is no good key: one of an issuer, or of nobody we know."""
        tokens = self._tokens
        if tokens is not None and token.count(b".") == 2:
            return tokens.known.get(digest) or tokens.check(token, digest, last=last)
        if keys.ours(token):
            raise Unauthorized(keys.wrong(token))
        return self._nobody(keys.wrong(token))

    def _nobody(self, refusal: str) -> Caller:
        if not self._lenient:
            raise Unauthorized(refusal)
        return self.register.anonymous

    @property
    def _lenient(self) -> bool:
        """Whether callers may be nobody in particular."""
        if self._config.anonymous == "auto":
            return self._local and not self._known and not self._config.jwt
        return self._config.anonymous == "true"

    # --- life -------------------------------------------------------------------------------

    async def open(self, host: str) -> None:
        """
        Read the book; ``host`` is the address where callers reach the gateway.

        Raises:
            StartError: others could call without a key and nobody has said that they may; the book
                cannot be read, or PyJWT is not installed.
            ConfigError: the book is none, or its hashes were made with another pepper.

        """
        self._local = host in LOOPBACK
        try:
            self._seen = await self._store.stamp()
            book = await self._store.load()
        except StateLost as error:
            message = f"{error} Without it, keys are not known (`identity.shared`)."
            raise StartError(message) from None
        if self._config.cache_salt != "off":
            await asyncio.to_thread(make_pepper, self._config)
        await self._adopt(book)
        guarded = self._local or self._known or self._config.jwt
        if self._config.anonymous == "auto" and not guarded:
            raise StartError(
                f"The gateway would listen on {host}, where others can reach it, and there are no"
                " keys: create one (`headrace keys create NAME`), name an issuer (`identity.jwt`),"
                " or let everybody in (`identity.anonymous: true`)."
            )
        if self._config.jwt:
            made = _tokens()
            self._tokens = made(self._config.jwt, lambda: self.register, self._log, self._clock)

    def start(self) -> None:
        """Follow the book, and read the issuers' public keys."""
        if self._tokens is not None:
            self._tokens.start()
        self._task = asyncio.get_running_loop().create_task(self._follow())

    async def stop(self) -> None:
        """Follow the book no more; times of last use are written."""
        task, self._task = self._task, None
        if task is not None:
            await end([task])
            await self._touch()
        if self._tokens is not None:
            await self._tokens.stop()

    @property
    def issuers(self) -> Mapping[str, float | None]:
        """Since when (monotonic, s) each issuer's public keys are known."""
        keys_of = self._tokens.keys if self._tokens is not None else {}
        return {
            each.issuer: keys_of[each.issuer].read_at if keys_of else None
            for each in self._config.jwt
        }

    @property
    def active(self) -> int:
        """Secrets that are good now."""
        now = self._clock()
        return sum(now < each.until for each in self._passes.values())

    @property
    def next_expiry(self) -> float:
        """When the next good key expires, in seconds since 1970; NaN where none does."""
        now = self._clock()
        ends = [
            key.expires_at.timestamp()
            for key in self.book.keys.values()
            if key.expires_at is not None and key.revoked_at is None
        ]
        return min((end for end in ends if end > now), default=math.nan)

    async def look(self) -> None:
        """Read the book if it has changed; a bad one leaves everything as it is."""
        try:
            stamp = await self._store.stamp()
            if stamp != self._seen:
                await self._adopt(await self._whole())
                self._seen = stamp
        except _TROUBLE as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                self._log.event("keys_refused", error=self._trouble)
            return
        self._trouble = ""
        self.read_at = time.monotonic()

    # --- below ------------------------------------------------------------------------------

    async def _follow(self) -> None:
        touch_at = time.monotonic() + TOUCH_S
        while True:
            await asyncio.sleep(POLL_S)
            await self.look()
            if time.monotonic() >= touch_at:
                await self._touch()
                touch_at = time.monotonic() + TOUCH_S

    async def _whole(self) -> Book:
        """
        The book; keys are revoked, never removed, so that a shared one without some that are known
        has lost its data and is told them again.
        """
        book = await self._store.load()
        missing = self.book.keys.keys() - book.keys.keys()
        if missing and await self._store.restore(self.book):
            self._log.event("keys_restored", keys=len(missing))
            book = await self._store.load()
        return book

    async def _adopt(self, book: Book) -> None:
        """Put a book in force, as a whole or not at all."""
        if self._known and not book.keys:
            raise ConfigError("The book of keys is gone or empty; the keys that were in it stay.")
        pepper = await asyncio.to_thread(read_pepper, self._config)
        if book.keys:
            _check(book, pepper)
        if pepper:
            self._pepper = keys.pepper_of(pepper)
        self.salts = Salts(self._config.cache_salt, self._pepper)
        self.register = Register(self._declared, book.tenants, self.salts)
        self._collect()
        self._passes, homeless = passes(book, self.register)
        if self._tokens is not None:
            self._tokens.forget()
        self._tell(book, homeless)
        self.book = book
        self._known = self._known or bool(book.keys)
        plain = self.register.anonymous == NOBODY and not self._config.jwt and not self._passes
        self.watched = not (self._lenient and plain)
        self.adopted()

    def _tell(self, book: Book, homeless: Sequence[str]) -> None:
        if self.read_at is not None:
            for note in [each for each in book.audit if each not in set(self.book.audit)]:
                self._log.event(
                    "audit", action=note.action, subject=note.subject, actor=note.actor, at=note.at
                )
        self.read_at = time.monotonic()
        if book.keys or homeless:
            tenants = sorted(self.register.tenants)
            self._log.event(
                "keys_loaded", keys=len(self._passes), tenants=tenants, homeless=[*homeless]
            )

    def _collect(self) -> None:
        for each in self._passes.values():
            if each.used_at:
                name = each.caller.key
                self._touched[name] = max(each.used_at, self._touched.get(name, 0.0))
                each.used_at = 0.0

    async def _touch(self) -> None:
        """Write times of last use; where that is not possible they are tried again."""
        self._collect()
        used = {name: datetime.fromtimestamp(at, UTC) for name, at in self._touched.items()}
        if not used:
            return
        try:
            await self._store.touch(used)
        except (StartError, StateLost):
            return  # a read-only file; `keys show` then says that it is not known
        self._touched = {}


def _check(book: Book, pepper: str) -> None:
    if not pepper:
        raise ConfigError(
            "There are keys, but not the pepper that they were made with; give it"
            " (`identity.pepper` or `identity.pepper_file`)."
        )
    if book.pepper != keys.fingerprint(keys.pepper_of(pepper)):
        raise ConfigError(
            "The keys were made with another pepper than `identity.pepper` or"
            " `identity.pepper_file` has; give that one."
        )


def _tokens() -> "type[Tokens]":
    """Imported only where they are wanted: PyJWT is an extra."""
    try:
        found = importlib.import_module("headrace.admission.tokens")
    except ImportError as error:
        raise StartError(
            f"Tokens (`identity.jwt`) need PyJWT: pip install 'headrace[jwt]' ({error})."
        ) from None
    tokens: type[Tokens] = found.Tokens
    return tokens
