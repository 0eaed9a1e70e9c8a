"""file.py: a book in a file survives other writers, read-only folders and what is no book."""

import asyncio
import stat
import subprocess
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec
import pytest

from headrace.admission.book import Book, Tenant
from headrace.admission.file import FileStore, make_pepper, read_pepper, write
from headrace.config.identity import Identity
from headrace.errors import ConfigError, StartError

NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "deep" / "keys.json")


def adding(name: str, book: Book) -> Book:
    return msgspec.structs.replace(book, tenants={**book.tenants, name: Tenant(name)})


async def test_none_yet(store: FileStore) -> None:
    """Where there is no file there is an empty book."""
    assert (Book(), None) == (await store.load(), await store.stamp())


async def test_changes_are_kept_and_seen(store: FileStore) -> None:
    """What was written is read back, by another store too; the stamp differs each time."""
    stamps = [await store.stamp()]
    for name in ("a", "b"):
        await store.change(partial(adding, name))
        stamps.append(await store.stamp())

    assert ["a", "b"] == [*(await FileStore(store.path).load()).tenants]
    assert 3 == len(set(stamps))


async def test_nobody_else_may_read(store: FileStore) -> None:
    """The files are for their owner's eyes only."""
    await store.change(partial(adding, "a"))
    await store.touch({"k": NOW})

    files = [path for path in store.path.parent.iterdir() if path.is_file()]
    assert {"keys.json", "keys.json.used"} <= {path.name for path in files}
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in files}
    assert 0o700 == stat.S_IMODE(store.path.parent.stat().st_mode)


async def test_times_of_use_are_no_change(store: FileStore) -> None:
    """They are merged, and the book's stamp stays."""
    await store.change(partial(adding, "a"))
    stamp = await store.stamp()
    await store.touch({"one": NOW})
    await store.touch({"two": NOW})

    assert stamp == await store.stamp()
    assert {"one": NOW, "two": NOW} == (await store.load()).used


WRITER = """
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path
from headrace.admission.book import Clerk, Tenant
from headrace.admission.file import FileStore

async def work(start):
    store, clerk = FileStore(Path(sys.argv[1])), Clerk("me", datetime.now(UTC))
    for number in range(start, start + 15):
        await store.change(lambda book: clerk.keep(book, Tenant(f"t{number}")))

asyncio.run(work(int(sys.argv[2])))
"""


def test_two_processes_lose_nothing(tmp_path: Path) -> None:
    """Changes of two programs at the same time are all there afterwards."""
    path = tmp_path / "keys.json"
    workers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), start]) for start in ("0", "100")
    ]

    try:
        assert [0, 0] == [worker.wait(120) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert 30 == len(asyncio.run(FileStore(path).load()).tenants)


@pytest.mark.parametrize("text", ["{", "[]", '{"keys": {"a": {"name": 1}}}', "\x00"])
async def test_no_book(store: FileStore, text: str) -> None:
    """What is no book of keys is named, and not overwritten."""
    store.path.parent.mkdir()
    store.path.write_text(text)
    with pytest.raises(ConfigError, match="is no book of keys"):
        await store.load()
    with pytest.raises(ConfigError, match="is no book of keys"):
        await store.change(partial(adding, "a"))

    assert text == store.path.read_text()


async def test_an_edit_that_fails_changes_nothing(store: FileStore) -> None:
    """The old file stays, and the next change finds it free."""
    await store.change(partial(adding, "a"))

    def fail(_: Book) -> Book:
        raise ConfigError("no")

    with pytest.raises(ConfigError, match="no"):
        await store.change(fail)
    await store.change(partial(adding, "b"))

    assert ["a", "b"] == [*(await store.load()).tenants]


async def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """The error names the file and the reason."""
    (tmp_path / "file").write_text("")
    store = FileStore(tmp_path / "file" / "keys.json")
    with pytest.raises(StartError, match=r"keys.json: cannot be written: "):
        await store.change(lambda book: book)


async def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A folder in its place is named."""
    with pytest.raises(StartError, match="cannot be read: Is a directory"):
        await FileStore(tmp_path).load()


class TestPepper:
    def test_made_once(self, tmp_path: Path) -> None:
        """It is made where there is none, and found from then on."""
        config = Identity(pepper_file=tmp_path / "pepper")
        made = make_pepper(config)

        assert (made, made) == (make_pepper(config), read_pepper(config))
        assert 0o600 == stat.S_IMODE(config.pepper_file.stat().st_mode)
        assert len(made) >= 43

    def test_given(self, tmp_path: Path) -> None:
        """One of the configuration needs no file."""
        tree = {"pepper": "given", "pepper_file": tmp_path / "pepper"}
        config = Identity.model_validate(tree)

        assert ("given", "given") == (make_pepper(config), read_pepper(config))
        assert [] == [*tmp_path.iterdir()]

    def test_too_short(self, tmp_path: Path) -> None:
        """An empty file is no pepper."""
        write(tmp_path / "pepper", b"\n")
        with pytest.raises(ConfigError, match="too short for a pepper"):
            read_pepper(Identity(pepper_file=tmp_path / "pepper"))

    def test_none(self, tmp_path: Path) -> None:
        """Reading makes none."""
        assert "" == read_pepper(Identity(pepper_file=tmp_path / "pepper"))
