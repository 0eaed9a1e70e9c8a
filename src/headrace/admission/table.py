"""
From a book to what a gateway looks up: who the holder of each secret is. Made anew when the book
changes; the lookup of a request is door.py's.
"""

import base64
import math
from collections.abc import Iterable, Mapping
from datetime import datetime

from msgspec import Struct

from headrace.admission.book import Book, Tenant
from headrace.admission.keys import Key, hash_of
from headrace.admission.types import RANKS, Allow, Caller
from headrace.config import identity as config
from headrace.config.identity import ANONYMOUS, DEFAULT

SALT = 24  # letters: 144 bits


class Pass(Struct):
    """
    What a good secret gives: its caller, until when (s since 1970). ``used_at`` is set by whoever
    looks it up, and read by whoever writes times of last use.
    """

    caller: Caller
    until: float
    used_at: float = 0.0


class Register:
    """
    The tenants that there are, those of the configuration before those of the book, and callers
    made of them.
    """

    def __init__(
        self, declared: Iterable[config.Tenant], kept: Mapping[str, Tenant], salts: "Salts"
    ) -> None:
        own = {each.name: _as_kept(each) for each in declared}
        self.tenants: Mapping[str, Tenant] = {DEFAULT: Tenant(DEFAULT), **kept, **own}
        self._salts = salts
        self.anonymous = self.caller(ANONYMOUS) or Caller(salt=salts.of("", ""))

    def caller(self, tenant: str, key: Key | None = None, priority: str = "") -> Caller | None:
        """Who holds a key or a token of a tenant; None where there is no such tenant."""
        found = self.tenants.get(tenant)
        if found is None:
            return None
        lists = [Allow.of(found.models), Allow.of(key.models) if key is not None else None]
        priority = priority or found.priority
        return Caller(
            tenant=tenant,
            key=key.name if key is not None else "",
            priority=priority,
            rank=RANKS.get(priority, 0),  # the usher knows those of its own
            weight=found.weight,
            group=found.group or tenant,
            models=tuple(each for each in lists if each is not None),
            endpoints=Allow.of(key.endpoints) if key is not None else None,
            admin=key is not None and key.admin,
            salt=self._salts.of(tenant, found.group),
            limits=key.limits if key is not None else {},
        )


class Salts:
    """
    What keeps cached prompts apart, by tenant or trust group: nobody can guess another's.
    https://docs.vllm.ai/en/latest/design/prefix_caching/#cache-isolation-for-security
    """

    def __init__(self, mode: str, pepper: bytes) -> None:
        self._mode = mode
        self._pepper = pepper

    def of(self, tenant: str, group: str) -> str:
        """A tenant's salt; empty where all share."""
        if self._mode == "off":
            return ""
        whose = f"group {group}" if self._mode == "group" and group else f"tenant {tenant}"
        hashed = hash_of(self._pepper, f"cache salt of {whose}".encode())
        return base64.urlsafe_b64encode(hashed).decode("ascii")[:SALT]


def passes(book: Book, register: Register) -> tuple[dict[bytes, Pass], list[str]]:
    """
    The good secrets by their hash, and the names of keys whose tenant there is not.

    Expired ones are in it, too: whoever looks one up compares the time.
    """
    found: dict[bytes, Pass] = {}
    homeless = []
    for key in book.keys.values():
        if key.revoked_at is not None:
            continue
        caller = register.caller(key.tenant, key)
        if caller is None:
            homeless.append(key.name)
            continue
        for secret in key.secrets:
            until = min(_seconds(key.expires_at), _seconds(secret.until))
            found[bytes.fromhex(secret.hash)] = Pass(caller, until)
    return found, homeless


def _seconds(moment: datetime | None) -> float:
    return math.inf if moment is None else moment.timestamp()


def _as_kept(tenant: config.Tenant) -> Tenant:
    return Tenant(
        name=tenant.name,
        priority=tenant.priority,
        group=tenant.group,
        models=tenant.models,
        metadata=dict(tenant.metadata),
        weight=tenant.weight,
    )
