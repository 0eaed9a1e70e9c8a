"""
API keys: how a secret is made and recognised, and what is kept of it. Where it is kept is the
stores' (file.py, shared.py); who a key's holder is, table.py's.
"""

import hashlib
import re
import secrets
import zlib
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from msgspec import Struct, field

LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PREFIX = 8
SECRET = 43  # letters of 62: 256 bits
CHECK = 6  # letters: 32 bits
FORM = re.compile(rb"(hr-[0-9A-Za-z]{8})-[0-9A-Za-z]{49}")
"""What a scanner may look for."""

_CLAIMED = b"hr-"


class Minted(NamedTuple):
    """A new secret and its visible beginning. Nobody sees the secret a second time."""

    prefix: str
    secret: str


class Secret(Struct, frozen=True, omit_defaults=True):
    """What is kept of a secret; ``until`` is the end of its overlap after a rotation."""

    prefix: str
    hash: str
    until: datetime | None = None


class Key(Struct, frozen=True, omit_defaults=True):
    """
    A key as it is kept, newest secret first. It is never deleted: ``revoked_at`` ends it, and its
    name stays taken, since bills and logs speak of it. ``limits`` are free fields.
    """

    name: str
    tenant: str
    created_at: datetime
    secrets: tuple[Secret, ...]
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    models: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    admin: bool = False
    limits: dict[str, float] = field(default_factory=dict)

    def state(self, now: datetime) -> str:
        """``active``, ``expired`` or ``revoked``."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"


def mint() -> Minted:
    """
    A new secret: ``hr-PREFIX-SECRET``, the last six letters a CRC-32 of what stands before them,
    so that typos and other strings of this look are recognised without asking anybody.
    """
    prefix = "hr-" + _letters(PREFIX)
    begun = f"{prefix}-{_letters(SECRET)}"
    return Minted(prefix, begun + _check(begun.encode("ascii")))


def hash_of(pepper: bytes, secret: bytes) -> bytes:
    """
    The keyed hash (BLAKE2b, 256 bits) that stands for a secret. Without the pepper nobody can make
    one, so how long a comparison of two takes says nothing of the secret.
    """
    return hashlib.blake2b(secret, key=pepper, digest_size=32).digest()


def pepper_of(text: str) -> bytes:
    """The key of the hash, whatever the length of the text."""
    return hashlib.blake2b(text.encode("utf-8"), person=b"headrace pepper").digest()


def fingerprint(pepper: bytes) -> str:
    """What tells two peppers apart without saying anything of them."""
    return hash_of(pepper, b"which pepper is this?").hex()[:16]


def wrong(secret: bytes) -> str:
    """What is wrong with a secret that is not known, in words."""
    if not secret.startswith(_CLAIMED):
        return "The key is not one of this gateway."
    if not is_whole(secret):
        return "The key is mistyped or cut off."
    return "The key is not known, has expired or was revoked."


def is_whole(secret: bytes) -> bool:
    """Whether it has the form of a key and its checksum is right."""
    return (
        FORM.fullmatch(secret) is not None
        and _check(secret[:-CHECK]).encode("ascii") == secret[-CHECK:]
    )


def ours(token: bytes) -> bool:
    """Whether a token means to be one of our keys."""
    return token.startswith(_CLAIMED)


def renewed(key: Key, secret: Secret, until: datetime) -> Key:
    """The key with a new secret; the present one is good until then, older ones are gone."""
    old = key.secrets[0]
    kept = Secret(old.prefix, old.hash, until)
    return changed(key, {"secrets": (secret, kept)})


def changed(key: Key, values: Mapping[str, object]) -> Key:
    """The key with other values."""
    given = {name: getattr(key, name) for name in key.__struct_fields__}
    return Key(**given | dict(values))


def _letters(number: int) -> str:
    return "".join(secrets.choice(LETTERS) for _ in range(number))


def _check(text: bytes) -> str:
    number, found = zlib.crc32(text), ""
    for _ in range(CHECK):
        number, rest = divmod(number, len(LETTERS))
        found = LETTERS[rest] + found
    return found
