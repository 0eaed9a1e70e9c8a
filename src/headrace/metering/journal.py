"""
Rows on their way to the ledger, in files on this machine: appended, flushed to the disk, read back
in order, also those of a process that was killed. When they are written is the clerk's business.

A process has segments ``ID-00000001.rows`` and holds a lock on ``ID.lock`` for as long as it lives,
by which others know whose segments have no owner any more. A line is one JSON list behind ``+`` for
a row, or behind ``?`` for a request that has begun; a line that a crash has cut is no line.
"""

import fcntl
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from io import BufferedWriter, FileIO
from pathlib import Path
from typing import NamedTuple

import msgspec

from headrace.metering.rows import Begun, Row

ROW, BEGUN = b"+", b"?"
SUFFIX = ".rows"

_encode = msgspec.json.encode
_row = msgspec.json.Decoder(Row).decode
_begun = msgspec.json.Decoder(Begun).decode


class Entries(NamedTuple):
    """What stands in a segment; ``torn`` counts lines that cannot be read."""

    rows: list[Row]
    begun: list[Begun]
    torn: int


class Orphan(NamedTuple):
    """Segments whose process is gone; ``lock`` is held until it is closed."""

    lock: FileIO
    segments: tuple[Path, ...]


class Journal:
    """The segments of this process. Its methods may be called by any thread."""

    def __init__(self, folder: Path, identity: str, max_bytes: int) -> None:
        self._folder = folder.expanduser()
        self._identity = identity
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._held: FileIO | None = None
        self._file: BufferedWriter | None = None
        self._number = 0
        self._size = 0  # of the open segment
        self._closed: dict[Path, int] = {}  # the others, oldest first, with their sizes

    @property
    def size_bytes(self) -> int:
        """What all segments take."""
        return self._size + sum([*self._closed.values()])

    def open(self) -> None:
        """Take the folder; ``OSError`` when it cannot be written to."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = self._folder / f"{self._identity}.new"  # nobody may find it before it is locked
        held = new.open("wb", buffering=0)
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        new.rename(self._lock_file)
        self._held = held

    def append(self, lines: Sequence[bytes]) -> bool:
        """
        Put lines onto the disk; they survive whatever comes after the return. False when there is
        no room for them, or the disk refuses.
        """
        data = b"".join(lines)
        with self._lock:
            if self.size_bytes + len(data) > self._max_bytes:
                return False
            try:
                if self._file is None:
                    self._file = self._next()
                self._file.write(data)
                self._file.flush()
                os.fdatasync(self._file.fileno())
            except OSError:
                self._close()  # it may end in the middle of a line
                return False
            self._size += len(data)
            return True

    def rotate(self) -> tuple[Path, ...]:
        """End the open segment; all that are closed, oldest first."""
        with self._lock:
            self._close()
            return tuple(self._closed)

    def remove(self, segments: Iterable[Path]) -> None:
        """Forget segments: what stands in them is in the ledger."""
        with self._lock:
            for segment in segments:
                segment.unlink(missing_ok=True)
                self._closed.pop(segment, None)

    def close(self) -> None:
        """Let go of the folder; segments that are left have no owner from now on."""
        with self._lock:
            self._close()
            if self._held is not None:
                if not self._closed:
                    self._lock_file.unlink(missing_ok=True)
                self._held.close()
                self._held = None

    def orphans(self) -> Iterator[Orphan]:
        """Segments of processes that live no more, each process' in their order."""
        for path in sorted(self._folder.glob("*.lock")):
            if path.stem == self._identity:
                continue
            lock = _locked(path)
            if lock is None:
                continue
            yield Orphan(lock, tuple(sorted(self._folder.glob(f"{path.stem}-*{SUFFIX}"))))

    def bury(self, orphan: Orphan) -> None:
        """Remove what an orphan has left: it is in the ledger."""
        for segment in orphan.segments:
            segment.unlink(missing_ok=True)
        Path(orphan.lock.name).unlink(missing_ok=True)
        orphan.lock.close()

    @property
    def _lock_file(self) -> Path:
        return self._folder / f"{self._identity}.lock"

    def _next(self) -> BufferedWriter:
        self._number += 1
        path = self._folder / f"{self._identity}-{self._number:08}{SUFFIX}"
        file = path.open("xb")
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)  # the name must survive, too
        finally:
            os.close(folder)
        return file

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        path, size, self._size = Path(file.name), self._size, 0
        self._closed[path] = size
        try:
            file.close()
        except OSError:  # a full disk: what could not be written was refused when it came
            return


def _locked(path: Path) -> FileIO | None:
    """The file with its lock; None where its owner lives, or somebody else takes care of it."""
    try:
        lock = path.open("r+b", buffering=0)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def row_line(row: Row) -> bytes:
    """A row as a line."""
    return ROW + _encode(row) + b"\n"


def begun_line(begun: Begun) -> bytes:
    """A request that has begun as a line."""
    return BEGUN + _encode(begun) + b"\n"


def entries(segment: Path) -> Entries:
    """What stands in a segment; ``OSError`` when it cannot be read."""
    found = Entries([], [], 0)
    torn = 0
    for line in segment.read_bytes().splitlines():
        try:
            if line.startswith(ROW):
                found.rows.append(_row(line[1:]))
            else:
                found.begun.append(_begun(line[1:]))
        except msgspec.DecodeError:
            torn += 1
    return found._replace(torn=torn)
