"""The configuration before validation: values from all sources, and where each came from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from headrace.config.fields import Keys, dotted


@dataclass(frozen=True, slots=True)
class Origin:
    """
    Where a value came from: ``headrace.yaml:12``, an environment variable, the command line.

    ``names`` is the place that the source's own name already says, so that errors need not repeat
    it; ``rank`` puts problems in the order of reading: file by line, variables, command line.
    """

    source: str
    names: Keys | None = None
    rank: tuple[int, int] = (0, 0)

    def place(self, keys: Keys) -> str:
        return self.source if keys in {self.names, ()} else f"{self.source}:{dotted(keys)}"


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One sentence about one place."""

    rank: tuple[int, int]
    text: str


@dataclass(frozen=True, slots=True)
class Draft:
    """Later sources win, value by value. ``written`` is what errors show instead of a value."""

    values: dict[str, object] = field(default_factory=dict)
    origins: dict[Keys, Origin] = field(default_factory=dict)
    written: dict[Keys, str] = field(default_factory=dict)
    wrong: set[Keys] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)

    def put(self, keys: Keys, value: object, origin: Origin) -> bool:
        """
        Set one value, with everything that it contains; sections on the way are made.

        False if it cannot stand there: above it is neither a mapping nor a list with this entry.
        """
        target: object = self.values
        for key, following in pairwise(keys):
            target = _step(target, key, [] if isinstance(following, int) else {})
        if not _assign(target, keys[-1], value):
            return False
        self._forget(keys)
        for place in walk(value, keys):
            self.origins[place] = origin
        for length in range(1, len(keys)):
            self.origins.setdefault(keys[:length], origin)
        return True

    def origin(self, keys: Keys) -> Origin | None:
        """The origin of a place, or else of the nearest place above it that has one."""
        for length in range(len(keys), -1, -1):
            if keys[:length] in self.origins:
                return self.origins[keys[:length]]
        return None

    def get(self, keys: Keys) -> object:
        """The value at a place; None where there is none."""
        value: object = self.values
        for key in keys:
            value = _child(value, key)
        return value

    def _forget(self, keys: Keys) -> None:
        for table in (self.origins, self.written):
            for place in [place for place in table if place[: len(keys)] == keys]:
                del table[place]
        self.wrong.discard(keys)


def walk(value: object, keys: Keys = ()) -> Iterator[Keys]:
    """The place of a value and of every value inside of it."""
    yield keys
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from walk(inner, (*keys, key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from walk(inner, (*keys, index))


def _step(target: object, key: str | int, empty: object) -> object:
    inner = _child(target, key)
    if inner is None and _assign(target, key, empty):
        return empty
    return inner


def _assign(target: object, key: str | int, value: object) -> bool:
    if isinstance(target, dict) and isinstance(key, str):
        target[key] = value
        return True
    if isinstance(target, list) and isinstance(key, int) and key <= len(target):
        target[key : key + 1] = [value]
        return True
    return False


def _child(value: object, key: str | int) -> object:
    if isinstance(value, Mapping):
        return value.get(key)
    if isinstance(value, list) and isinstance(key, int) and key < len(value):
        return value[key]
    return None
