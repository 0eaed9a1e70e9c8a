"""Replicas listed in a file that is read again when it changes. What it may say is config/'s."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

from headrace.config import load
from headrace.config.backends import Backend
from headrace.config.discovery import Discovery
from headrace.errors import ConfigError
from headrace.fleet.discovery.source import Changed, Found, Log, Trouble

RESTLESS = 5  # looks in a row after which a file that never stands still is read all the same

Stamp = tuple[int, int, int, int]


class FileSource:
    """
    Looks at the file's stamp every ``poll_s``: that works on every file system, and through the
    links that Kubernetes swaps when a mounted ConfigMap changes. A bad file leaves the old list.

    A changed file is read when it has stood still for one look: half of one that is being written
    may be a good list of half of the replicas.
    """

    def __init__(self, config: Discovery, models: Iterable[str], log: Log) -> None:
        self._path = config.path or Path()
        self._poll_s = config.poll_s
        self._models = tuple(models)
        self._defaults = {
            key: value
            for key, value in {
                "serves": config.serves,
                "api_key": config.api_key,
                "tls_verify": config.tls_verify,
                "tls_ca": config.tls_ca,
            }.items()
            if value not in ({}, None)
        }
        self._trouble = Trouble(config.label, log)

    async def watch(self, changed: Changed) -> None:
        """See ``Source``."""
        read = seen = stamp = await asyncio.to_thread(stamp_of, self._path)
        if stamp is not None:
            await self._read(changed)
        restless = 0
        while True:
            if stamp is None:
                self._trouble.begins(f"{self._path}: there is no such file, or it cannot be read")
            elif stamp != read and (stamp == seen or restless >= RESTLESS):
                await self._read(changed)
                read, restless = stamp, 0
            elif stamp != read:
                restless += 1
            seen = stamp
            await asyncio.sleep(self._poll_s)
            stamp = await asyncio.to_thread(stamp_of, self._path)

    async def _read(self, changed: Changed) -> None:
        try:
            backends = await asyncio.to_thread(self._backends)
        except ConfigError as error:
            self._trouble.begins(str(error).replace("\n", "; "))
            return
        self._trouble.ends()
        changed([Found(backend) for backend in backends])

    def _backends(self) -> tuple[Backend, ...]:
        return load.backends(self._path, self._models, self._defaults)


def stamp_of(path: Path) -> Stamp | None:
    """What differs after any change: times, size and identity of the file behind all links."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
