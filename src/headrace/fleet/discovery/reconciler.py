"""What all sources know together, applied to the fleet difference by difference. No I/O."""

from collections.abc import Collection, Iterator, Sequence
from typing import Protocol

from headrace.config.backends import Backend
from headrace.errors import ConfigError
from headrace.fleet.discovery.source import Found, Log


class Replicas(Protocol):
    """The part of the fleet that discovery may touch."""

    def add(self, backend: Backend, *, trusted: bool | None = None) -> None: ...

    def remove(self, name: str) -> None: ...


class Reconciler:
    """
    Adds what appeared, removes what went, replaces what is another engine now.

    An entry that has not changed is not touched, whatever happens around it. A name belongs to the
    source that stands first in the configuration; names in ``reserved`` (static backends) to none.
    """

    def __init__(
        self, fleet: Replicas, log: Log, models: Collection[str], reserved: Collection[str]
    ) -> None:
        self._fleet = fleet
        self._log = log
        self._models = frozenset(models)
        self._reserved = frozenset(reserved)
        self._known: dict[int, tuple[str, Sequence[Found]]] = {}
        self._applied: dict[str, Found] = {}
        self._skipped: set[tuple[str, str, str]] = set()
        self._failed: dict[str, str] = {}

    def update(self, order: int, source: str, found: Sequence[Found]) -> None:
        """The source at this place of the configuration knows these replicas, and no others."""
        self._known[order] = (source, found)
        wanted = self._wanted()
        for name in self._applied.keys() - wanted.keys():
            del self._applied[name]
            self._fleet.remove(name)
            self._log.event("replica_left", replica=name)
        for name, (source_of_it, each) in wanted.items():
            before = self._applied.get(name)
            if each == before:
                continue
            self._applied[name] = each
            try:
                # That it is listed does not say that it can answer: it is probed and warmed first.
                self._fleet.add(each.backend, trusted=False)
            except (ConfigError, OSError, ValueError) as error:  # its key or certificates
                del self._applied[name]  # it is tried again when its source tells again
                if self._failed.get(name) != str(error):
                    self._failed[name] = str(error)
                    reason = f"it cannot be added ({error})"
                    self._log.event(
                        "replica_skipped", replica=name, source=source_of_it, reason=reason
                    )
                continue
            self._failed.pop(name, None)
            event = "replica_found" if before is None else "replica_replaced"
            self._log.event(event, replica=name, url=each.backend.url, source=source_of_it)

    def _wanted(self) -> dict[str, tuple[str, Found]]:
        wanted: dict[str, tuple[str, Found]] = {}
        skipped: set[tuple[str, str, str]] = set()
        for source, each in self._all():
            name = each.backend.name
            served = {model for model in each.backend.serves if model in self._models}
            if name in self._reserved or name in wanted:
                skipped.add((source, name, "another replica has this name"))
            elif not served:
                skipped.add((source, name, "it serves no declared model"))
            else:
                wanted[name] = source, each
        for source, name, reason in sorted(skipped - self._skipped):
            self._log.event("replica_skipped", replica=name, source=source, reason=reason)
        self._skipped = skipped
        return wanted

    def _all(self) -> Iterator[tuple[str, Found]]:
        for order in sorted(self._known):
            source, found = self._known[order]
            for each in found:
                yield source, each
