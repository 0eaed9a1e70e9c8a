"""
Files from an origin in parts, side by side; broken off, it goes on where it was. What is fetched
and where it is kept is cache.py's.
"""

import errno
import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

from headrace.engines.weights.digest import matches
from headrace.engines.weights.origin import Flaky, Item, Origin
from headrace.errors import StartError

ATTEMPTS = 6  # for one part; with the pauses between them half a minute
PAUSE_S = 0.5  # after the first failure of a part; doubles
LOOK_S = 0.2  # how soon Ctrl-C is noticed

Advance = Callable[[int], None]
"""Told how many bytes have arrived; negative when they must be fetched again."""
Arrived = Callable[[Item, bool], None]
"""Told when a file is whole, and whether its hash was compared."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How a transfer goes: workers side by side, size of a part, whether hashes are compared."""

    workers: int
    part_bytes: int
    verify: bool = True


class Partial:
    """
    A file that is not whole yet: ``NAME.part`` with its final size, and beside it a journal of the
    parts that are there. The journal's first line says of which content and of which part size.
    """

    def __init__(self, item: Item, target: Path, part_bytes: int) -> None:
        self.item = item
        self.target = target
        self.file = target.with_name(target.name + ".part")
        self._journal = target.with_name(target.name + ".parts")
        self._part_bytes = part_bytes
        self._count = math.ceil(item.size / part_bytes)
        self._header = f"{item.tag} {item.size} {part_bytes}"
        self._lock = threading.Lock()
        self.missing = set(range(self._count))

    def take_up(self) -> None:
        """See what an earlier try has left of the same content."""
        lines = self._journal.read_text().splitlines() if self._journal.exists() else []
        whole = self.file.exists() and self.file.stat().st_size == self.item.size
        if whole and lines and lines[0] == self._header:
            self.missing -= {int(line) for line in lines[1:] if line.isdecimal()}

    def open(self) -> None:
        """Make place for it; what an earlier try has left of other content goes."""
        if len(self.missing) == self._count:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            self.discard()
            self._journal.write_text(self._header + "\n")
            with self.file.open("wb") as file:
                file.truncate(self.item.size)

    @property
    def missing_bytes(self) -> int:
        return sum(end - begin for begin, end in map(self.span, self.missing))

    def span(self, part: int) -> tuple[int, int]:
        begin = part * self._part_bytes
        return begin, min(begin + self._part_bytes, self.item.size)

    def done(self, part: int) -> bool:
        """Note that a part is there; whether it was the last one."""
        with self._lock:
            self.missing.discard(part)
            with self._journal.open("a") as journal:
                journal.write(f"{part}\n")
            return not self.missing

    def finish(self) -> None:
        """The file gets its name."""
        self.file.replace(self.target)
        self._journal.unlink(missing_ok=True)

    def discard(self) -> None:
        """Nothing of it is of use."""
        self.file.unlink(missing_ok=True)
        self._journal.unlink(missing_ok=True)


@dataclass(slots=True)
class Transfer:
    """One run over files that are missing; ``run`` returns when all are whole."""

    origin: Origin
    pace: Pace
    advance: Advance
    arrived: Arrived
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self, partials: Sequence[Partial]) -> None:
        """
        Fetch all that is missing.

        Raises:
            StartError: a file cannot be had, is not what it should be, or does not fit on the disk.
            KeyboardInterrupt: a person stopped it; what has arrived stays.

        """
        with ThreadPoolExecutor(self.pace.workers, "headrace-pull") as pool:
            jobs = [pool.submit(do, partial, part) for do, partial, part in self._jobs(partials)]
            try:
                self._wait(jobs)
            finally:
                self._stop.set()
                pool.shutdown(cancel_futures=True)

    def _jobs(
        self, partials: Sequence[Partial]
    ) -> Iterator[tuple[Callable[..., None], Partial, int]]:
        for partial in partials:
            if not partial.missing:
                yield self._whole, partial, 0
            for part in sorted(partial.missing):
                yield self._part, partial, part

    def _wait(self, jobs: Sequence[Future[None]]) -> None:
        pending = set(jobs)
        while pending:
            done, pending = wait(pending, timeout=LOOK_S, return_when=FIRST_EXCEPTION)
            for job in done:
                job.result()

    def _part(self, partial: Partial, part: int) -> None:
        for attempt in range(ATTEMPTS):
            try:
                if not self._write(partial, *partial.span(part)):
                    return
                break
            except Flaky as error:
                if attempt == ATTEMPTS - 1:
                    raise StartError(
                        f"{partial.item.path} breaks off again and again ({error}); what has"
                        " arrived is kept, so pull again later."
                    ) from error
                self._stop.wait(PAUSE_S * 2**attempt)
        if partial.done(part):
            self._whole(partial, part)

    def _write(self, partial: Partial, begin: int, end: int) -> bool:
        """Fetch a part; False when the transfer was stopped meanwhile."""
        at = begin
        pieces = takewhile(
            lambda _: not self._stop.is_set(), self.origin.read(partial.item, begin, end)
        )
        try:
            with partial.file.open("r+b", buffering=0) as file:
                for piece in pieces:
                    arrived = os.pwrite(file.fileno(), piece[: end - at], at)
                    at += arrived
                    self.advance(arrived)
        except OSError as error:
            raise StartError(_why(error, partial.file)) from error
        finally:
            if at != end:
                self.advance(begin - at)
        if at != end and not self._stop.is_set():
            raise Flaky(f"{end - at} bytes are missing")
        return at == end

    def _whole(self, partial: Partial, _part: int) -> None:
        digest = partial.item.digest
        compared = self.pace.verify and digest is not None
        found = matches(partial.file, digest) if compared and digest is not None else None
        if found is False:
            partial.discard()
            raise StartError(
                f"{partial.item.path} is not what its origin says: its hash differs."
                " It was thrown away; pull again, and if it stays so, the origin is broken."
            )
        partial.finish()
        self.arrived(partial.item, found is True)


def _why(error: OSError, file: Path) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return (
            f"The disk is full: {file} does not fit; what has arrived is kept, so make room and"
            " pull again."
        )
    return f"Cannot write {file}: {error.strerror}."
