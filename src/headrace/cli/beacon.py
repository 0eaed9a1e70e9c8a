"""
Where the gateways of this user run on this machine: a small file each, for the commands that ask
them. It holds no secret, and lives as long as its gateway.
"""

import fcntl
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from headrace.config.load import state_folder
from headrace.errors import StartError

FOLDER = "running"
# A gateway that listens on every address is reached by the loopback.
ANYWHERE = {"://0.0.0.0:": "://127.0.0.1:", "://[::]:": "://[::1]:"}


class Place(msgspec.Struct, frozen=True):
    """Where a gateway is found; ``admin_url`` is empty where it has no admin API."""

    pid: int
    url: str
    admin_url: str
    folder: str  # where it was started


class Beacon:
    """
    The file of one gateway. It is locked while the gateway lives: a lock ends with its process,
    however that ends, and a process id may come again.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or home()
        self._file: int | None = None
        self._path: Path | None = None

    def light(self, url: str, admin_url: str) -> None:
        """Say where this process listens; without a place to write to, nothing is said."""
        if self._folder is None:
            return
        places(self._folder)  # what killed ones left must not pile up
        place = Place(os.getpid(), _near(url), _near(admin_url), _folder())
        path = self._folder / f"{_machine()}-{place.pid}.json"
        draft = path.with_suffix(".new")  # nobody looks at it before it is locked and whole
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft.unlink(missing_ok=True)  # of a process that died with this id
            file = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except OSError:  # a read-only home is no reason not to serve
            return
        self._file, self._path = file, path
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(file, msgspec.json.encode(place))
            draft.replace(path)
        except OSError:  # nor is a full disk, or one without locks
            draft.unlink(missing_ok=True)

    def quench(self) -> None:
        """The gateway stops; safe to call twice."""
        file, path = self._file, self._path
        self._file = self._path = None
        if file is not None and path is not None:
            with suppress(OSError):
                path.unlink(missing_ok=True)
            os.close(file)


def home() -> Path | None:
    """The folder of these files; None for a user without a home."""
    state = state_folder()
    return None if state is None else state / FOLDER


def places(folder: Path | None = None) -> list[Place]:
    """The gateways that run now, oldest first; files that dead ones left are removed."""
    folder = folder or home()
    if folder is None:
        return []
    try:
        paths = sorted(folder.glob(f"{_machine()}-*.json"), key=lambda path: path.stat().st_mtime)
    except OSError:  # one that has just gone, or a folder that is not ours
        return []
    return [place for path in paths if (place := _alive(path)) is not None]


def found(kind: Literal["url", "admin_url"], option: str) -> str | None:
    """
    Where the gateway of this user listens; of several the one that was started from this folder.
    None where none runs that has such an address.

    Raises:
        StartError: it could be one or another, and ``option`` must say which is meant.

    """
    known = {
        address: place
        for place in places()
        if (address := place.url if kind == "url" else place.admin_url)
    }
    here = [address for address, place in known.items() if place.folder == _folder()]
    if len(known) > 1 and len(here) != 1:
        which = ", ".join(f"{address} (from {each.folder})" for address, each in known.items())
        raise StartError(f"{len(known)} gateways run here: {which}; say which with {option}.")
    return next(iter(here if len(known) > 1 else known), None)


def _alive(path: Path) -> Place | None:
    """What a file says, if whoever wrote it lives."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        with suppress(OSError, msgspec.MsgspecError):
            return msgspec.json.decode(path.read_bytes(), type=Place)
        return None
    except OSError:
        return None
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        return None
    finally:
        os.close(file)


def _near(url: str) -> str:
    for anywhere, here in ANYWHERE.items():
        url = url.replace(anywhere, here)
    return url


def _folder() -> str:
    try:
        return str(Path.cwd())
    except OSError:  # it was removed
        return ""


def _machine() -> str:
    """A home may be shared by machines."""
    return socket.gethostname().replace("/", "_")
