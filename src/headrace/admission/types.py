"""
Who calls: the value that a request carries from its head to its bill, and how scopes are checked.
How one finds out who calls is door.py's.
"""

import re
from collections.abc import Iterable, Mapping
from fnmatch import translate
from types import MappingProxyType

from msgspec import Struct

_WILD = re.compile(r"[*?\[]")
# How classes stand in the line of requests that wait; a rule's own number may lie between them.
RANKS: Mapping[str, int] = MappingProxyType({"interactive": 0, "batch": -50, "background": -100})
NO_LIMITS: Mapping[str, float] = MappingProxyType({})


class Allow(Struct, frozen=True):
    """A list of names, some of them patterns; ``name in allow`` costs as much as in a set."""

    names: frozenset[str]
    pattern: "re.Pattern[str] | None" = None

    @classmethod
    def of(cls, given: Iterable[str]) -> "Allow | None":
        """None for an empty list, which allows everything."""
        listed = frozenset(given)
        if not listed:
            return None
        wild = [translate(name) for name in sorted(listed) if _WILD.search(name)]
        return cls(listed, re.compile("|".join(wild)) if wild else None)

    def __contains__(self, name: object) -> bool:
        if name in self.names:
            return True
        return (
            self.pattern is not None
            and isinstance(name, str)
            and self.pattern.fullmatch(name) is not None
        )


class Caller(Struct, frozen=True):
    """
    Who calls. ``key`` is the name of the key, empty for tokens and for anonymous callers; without
    keys and tenants everything is empty.

    ``models`` and ``endpoints`` are lists each of which must allow; none allows everything.
    ``salt`` keeps the cached prompts of its trust group apart; empty: they are shared.
    Of requests that wait those of a higher ``rank``, its priority as a number, go first; the
    ``weight`` is the tenant's share among equals. ``limits`` are the key's own, as they were
    stored.
    """

    tenant: str = ""
    key: str = ""
    priority: str = "interactive"
    group: str = ""
    models: tuple[Allow, ...] = ()
    endpoints: Allow | None = None
    admin: bool = False
    salt: str = ""
    rank: int = 0
    weight: float = 1.0
    limits: Mapping[str, float] = NO_LIMITS

    def may_use(self, *names: str) -> bool:
        """Whether it may ask for the model that goes by one of these names."""
        return all(any(name in allow for name in names) for allow in self.models)

    def may_call(self, endpoint: str) -> bool:
        """Whether it may use this endpoint, a path as in the list of endpoints."""
        return self.endpoints is None or endpoint in self.endpoints


NOBODY = Caller()
"""Nobody asked who calls."""
