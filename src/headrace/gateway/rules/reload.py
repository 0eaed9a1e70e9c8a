"""
Rules read from their file, at the start and again whenever it changes. Either all of it is put in
force, or nothing: a bad file keeps the old rules. What is in force is steer.py's.
"""

import asyncio
from pathlib import Path

from headrace.config import load
from headrace.config.schema import Config
from headrace.errors import ConfigError
from headrace.fleet.catalogue import Catalogue
from headrace.fleet.discovery.file import Stamp, stamp_of
from headrace.gateway.rules.steer import Steer
from headrace.telemetry.writer import Writer

POLL_S = 1.0


class Reload:
    """Watches the file that ``rules_file`` names; without one it only takes the rules there are."""

    def __init__(
        self,
        config: Config,
        catalogue: Catalogue,
        steer: Steer,
        log: Writer,
        poll_s: float = POLL_S,
    ) -> None:
        """
        Put the first rules in force.

        Raises:
            ConfigError: they cannot be read, are wrong, or do not fit the models.

        """
        self._path = config.rules_file
        self._names = catalogue.names
        self._steer = steer
        self._log = log
        self._poll_s = poll_s
        self._task: asyncio.Task[None] | None = None
        self._seen: Stamp | None = None
        self.counts = {"good": 0, "bad": 0}
        if self._path is None:
            steer.adopt(config.rules)
        else:
            self._seen = stamp_of(self._path)
            steer.adopt(load.rules(self._path, self._names).rules)

    def start(self) -> None:
        """Say what is in force, and begin to watch, if there is a file."""
        book = self._steer.book
        if book is not None:
            self._loaded(book.version, len(book.rules))
        if self._path is not None:
            self._task = asyncio.get_running_loop().create_task(self._watch(self._path))

    async def stop(self) -> None:
        """End the watch; the rules stay."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    async def _watch(self, path: Path) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            stamp = await asyncio.to_thread(stamp_of, path)
            if stamp == self._seen:
                continue
            self._seen = stamp
            if stamp is None:
                self._refuse(f"{path}: there is no such file, or it cannot be read")
            else:
                await self._read(path)

    async def _read(self, path: Path) -> None:
        try:
            ruled = await asyncio.to_thread(load.rules, path, self._names)
            version = self._steer.adopt(ruled.rules)
        except ConfigError as error:
            self._refuse(str(error).replace("\n", "; "))
            return
        self.counts["good"] += 1
        self._loaded(version, len(ruled.rules))

    def _loaded(self, version: str, rules: int) -> None:
        file = str(self._path) if self._path is not None else ""
        self._log.event("rules_loaded", file=file, version=version, rules=rules)

    def _refuse(self, error: str) -> None:
        self.counts["bad"] += 1
        self._log.event("rules_refused", file=str(self._path), error=error)
