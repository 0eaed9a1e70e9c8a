"""The folder that models are kept in: pulling into it, listing it, removing from it."""

import contextlib
import fcntl
import importlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec

from headrace.config.store import Store
from headrace.engines.weights.origin import Item, Listing, Name, Origin
from headrace.engines.weights.transfer import Advance, Pace, Partial, Transfer
from headrace.errors import StartError

MANIFEST = ".headrace.json"  # beside a model's files: what they are
LOCK = ".headrace.lock"
GIB = 1024**3


class Kept(msgspec.Struct):
    """A file as it was when it arrived; ``verified`` when its hash was compared."""

    size: int
    tag: str = ""
    verified: bool = False


class Manifest(msgspec.Struct):
    """What a folder holds; ``complete`` when the last pull into it has ended well."""

    model: str
    revision: str
    files: dict[str, Kept]
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One revision of a model on this machine."""

    folder: Path
    manifest: Manifest

    @property
    def size(self) -> int:
        """Bytes on the disk, begun files included."""
        files = (path for path in self.folder.rglob("*") if path.is_file())
        return sum(path.stat().st_blocks * 512 for path in files)

    @property
    def source(self) -> str:
        return "S3" if self.manifest.model.startswith("s3://") else "Hugging Face"


class Plan(msgspec.Struct, frozen=True):
    """What a pull will do, before it does it."""

    revision: str
    files: int
    total_bytes: int
    missing_bytes: int


class Cache:
    """The store on this machine; ``free`` tells the bytes that are free where a path lies."""

    def __init__(self, store: Store, free: Callable[[Path], int] | None = None) -> None:
        self._store = store
        self.folder = store.dir.expanduser()
        self._free = free or _free

    def entries(self) -> list[Entry]:
        """All models, by name and revision."""
        found = (_entry(path.parent) for path in self.folder.glob(f"*/**/{MANIFEST}"))
        return sorted(
            (entry for entry in found if entry is not None),
            key=lambda entry: (entry.manifest.model, entry.manifest.revision),
        )

    def find(self, name: Name) -> list[Entry]:
        """The revisions of a model that are here; with a revision, or the beginning of one, it."""
        return [
            entry
            for entry in self.entries()
            if entry.manifest.model == name.model
            and entry.manifest.revision.startswith(name.revision)
        ]

    def remove(self, entry: Entry) -> None:
        """Delete a revision, and the folders above it that are empty then."""
        shutil.rmtree(entry.folder)
        for above in entry.folder.parents:
            if above == self.folder or not above.is_relative_to(self.folder):
                break
            with contextlib.suppress(OSError):
                above.rmdir()

    def pull(
        self,
        name: Name,
        origin: Origin,
        listing: Listing,
        begin: Callable[[Plan], Advance],
        *,
        verify: bool = True,
    ) -> Entry:
        """
        Have these files of a model here, each whole and compared with its hash.

        What is here already stays; what was begun goes on; files that another revision of the same
        model has are linked. ``begin`` is called once, before the first byte.

        Raises:
            StartError: there is not enough room, the origin fails, or somebody else pulls the same.

        """
        folder = self.folder.joinpath(*name.folders, listing.revision)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StartError(f"Cannot write to the store {folder}: {error.strerror}.") from error
        with _locked(folder):
            return self._pull(_opened(folder, name, listing), origin, listing, begin, verify)

    def _pull(
        self,
        entry: Entry,
        origin: Origin,
        listing: Listing,
        begin: Callable[[Plan], Advance],
        verify: bool,
    ) -> Entry:
        manifest = entry.manifest
        absent = [item for item in listing.items if not _is_here(entry, item)]
        absent = [item for item in absent if not self._link(entry, item)]
        partials = [
            Partial(item, entry.folder / item.path, self._store.part_bytes) for item in absent
        ]
        for partial in partials:
            partial.take_up()
        missing = sum(partial.missing_bytes for partial in partials)
        total = sum(item.size for item in listing.items)
        self._check_room(entry.folder, missing)
        manifest.complete = False
        _write(entry)
        for partial in partials:
            partial.open()

        writing = threading.Lock()

        def arrived(item: Item, verified: bool) -> None:
            with writing:
                manifest.files[item.path] = Kept(item.size, item.tag, verified)
                _write(entry)

        advance = begin(Plan(listing.revision, len(listing.items), total, missing))
        pace = Pace(self._store.workers, self._store.part_bytes, verify)
        Transfer(origin, pace, advance, arrived).run(partials)
        manifest.complete = True
        _write(entry)
        return entry

    def _link(self, entry: Entry, item: Item) -> bool:
        """Take a file of the same content from another revision of the same model."""
        for other in self.find(Name(entry.manifest.model)) if item.tag else ():
            for path, kept in other.manifest.files.items():
                file = other.folder / path
                if (
                    kept.verified
                    and (kept.tag, kept.size) == (item.tag, item.size)
                    and file.exists()
                ):
                    target = entry.folder / item.path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.unlink(missing_ok=True)
                    os.link(file, target)
                    entry.manifest.files[item.path] = kept
                    return True
        return False

    def _check_room(self, folder: Path, missing: int) -> None:
        free, reserve = self._free(folder), self._store.reserve_bytes
        if missing and missing + reserve > free:
            raise StartError(
                f"Not enough room in {self.folder}: {missing / GIB:.1f} GiB are to come and"
                f" {free / GIB:.1f} GiB are free, of which `store.reserve_bytes` keeps"
                f" {reserve / GIB:.1f} GiB; remove a model, or set `store.dir` to a larger disk."
            )


def origin_of(name: Name, store: Store) -> Origin:
    """
    Where a model comes from.

    Raises:
        StartError: the library for it is not installed.

    """
    module, kind = ("bucket", "Bucket") if name.is_bucket else ("hub", "Hub")
    try:
        found = importlib.import_module(f"headrace.engines.weights.{module}")
    except ModuleNotFoundError as error:
        raise StartError(
            f"Models in S3 need the package {error.name}; install it with"
            " `pip install 'headrace[s3]'`."
        ) from error
    make: Callable[[Name, Store], Origin] = getattr(found, kind)
    return make(name, store)


def _free(path: Path) -> int:
    return shutil.disk_usage(path).free


def _entry(folder: Path) -> Entry | None:
    """None for a manifest that cannot be read: its folder is not ours to judge."""
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError):
        return None
    return Entry(folder, manifest)


def _opened(folder: Path, name: Name, listing: Listing) -> Entry:
    return _entry(folder) or Entry(folder, Manifest(name.model, listing.revision, {}))


def _is_here(entry: Entry, item: Item) -> bool:
    kept, file = entry.manifest.files.get(item.path), entry.folder / item.path
    return (
        kept is not None
        and (kept.tag, kept.size) == (item.tag, item.size)
        and file.is_file()
        and file.stat().st_size == item.size
    )


def _write(entry: Entry) -> None:
    new = entry.folder / (MANIFEST + ".new")
    new.write_bytes(msgspec.json.format(msgspec.json.encode(entry.manifest)))
    new.replace(entry.folder / MANIFEST)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[IO[str]]:
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartError(
                f"Another program is pulling into {folder}; wait for it, or stop it."
            ) from None
        yield lock
