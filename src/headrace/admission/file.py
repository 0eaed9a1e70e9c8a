"""
The book of keys in a file, and the pepper in another. Written by replacing it as a whole, under a
lock, so that a reader never sees half of it. What is in the book is book.py's.
"""

import asyncio
import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

import msgspec
from msgspec.structs import replace

from headrace.admission.book import Book, Edit
from headrace.config.identity import Identity
from headrace.errors import ConfigError, StartError

PEPPER = 32  # random bytes

_book = msgspec.json.Decoder(Book)
_times = msgspec.json.Decoder(dict[str, datetime])


class FileStore:
    """
    A book in a file (``book.Store``). Times of last use are in another one beside it, so that they
    do not make anybody read the book again. A file that cannot be written, such as a mounted
    Secret, is fine for a gateway.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser()
        self._used = self.path.with_name(f"{self.path.name}.used")

    async def stamp(self) -> object:
        """Times, size and identity of the file behind all links; None where there is none."""
        return await asyncio.to_thread(self._stamp)

    async def load(self) -> Book:
        """
        Read it.

        Raises:
            StartError: it cannot be read.
            ConfigError: it holds something else.

        """
        return await asyncio.to_thread(self._load)

    async def change(self, edit: Edit) -> Book:
        """
        Change it; raises like ``load``, and what the edit raises.

        Raises:
            StartError: it cannot be written.

        """
        return await asyncio.to_thread(self._change, edit)

    async def restore(self, book: Book) -> bool:  # noqa: ARG002 - a file is its owner's
        """Nothing: what is in a file was put there by somebody."""
        return False

    async def touch(self, used: Mapping[str, datetime]) -> None:
        """
        Keep the times.

        Raises:
            StartError: they cannot be written.

        """
        await asyncio.to_thread(self._touch, dict(used))

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _load(self) -> Book:
        data = _read(self.path)
        try:
            book = _book.decode(data) if data else Book()
        except msgspec.MsgspecError as error:
            raise ConfigError(f"{self.path}: is no book of keys: {error}.") from None
        return replace(book, used={**book.used, **self._times()})

    def _times(self) -> dict[str, datetime]:
        try:
            return _times.decode(_read(self._used) or b"{}")
        except msgspec.MsgspecError:
            return {}  # it only tells when keys were used, and is written anew

    def _change(self, edit: Edit) -> Book:
        with _alone(self.path):
            book = edit(self._load())
            kept = msgspec.json.encode(replace(book, used={}))
            write(self.path, msgspec.json.format(kept) + b"\n")
            return book

    def _touch(self, used: dict[str, datetime]) -> None:
        with _alone(self._used):
            write(self._used, msgspec.json.encode({**self._times(), **used}))


def read_pepper(config: Identity) -> str:
    """
    The pepper; empty where there is none yet.

    Raises:
        StartError: its file cannot be read.
        ConfigError: the file is empty.

    """
    if config.pepper is not None:
        return config.pepper.get_secret_value()
    path = config.pepper_file.expanduser()
    data = _read(path)
    if data is None:
        return ""
    text = data.decode("utf-8", "replace").strip()
    if len(text) < PEPPER // 2:
        raise ConfigError(f"{path}: is too short for a pepper; it needs {PEPPER // 2} characters.")
    return text


def make_pepper(config: Identity) -> str:
    """
    The pepper; a new one is made where there is none, for the owner's eyes only.

    Raises:
        StartError: the file cannot be read or written.

    """
    path = config.pepper_file.expanduser()
    with _alone(path) if config.pepper is None else contextlib.nullcontext():
        text = read_pepper(config)
        if not text:
            text = secrets.token_urlsafe(PEPPER)
            write(path, text.encode("ascii") + b"\n")
    return text


def write(path: Path, data: bytes) -> None:
    """
    Put a file in the place of another in one step; only its owner may read it.

    Raises:
        StartError: it cannot be written.

    """
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise StartError(f"{path}: cannot be written: {error.strerror}.") from None


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StartError(f"{path}: cannot be read: {error.strerror}.") from None


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Nobody else changes it meanwhile, in this process or another of this machine."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StartError(f"{path}: cannot be written: {error.strerror}.") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
