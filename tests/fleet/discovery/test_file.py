"""A watched file: real files, changed in the ways that people and programs change them."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.fleet.discovery.file import FileSource
from tests.fleet.discovery.recorder import Log, section, until, watching

ONE = "- url: http://gpu-1:8000\n  serves: [m]\n"
TWO = ONE + "- url: http://gpu-2:8000\n  serves: [m]\n"


def source(path: Path, log: Log, **settings: object) -> FileSource:
    return FileSource(section(type="file", path=path, poll_s=0.01, **settings), ["m"], log)


async def test_follows_changes(tmp_path: Path) -> None:
    """A new entry is found, a removed one is gone, and an empty list is a list."""
    path, log = tmp_path / "backends.yaml", Log()
    path.write_text(ONE)
    async with watching(source(path, log)) as told:
        await until(lambda: told.urls() == ["http://gpu-1:8000"])
        path.write_text(TWO)
        await until(lambda: told.urls() == ["http://gpu-1:8000", "http://gpu-2:8000"])
        path.write_text("[]")
        await until(lambda: told.urls() == [])

    assert [] == log.events


async def test_json_and_backends(tmp_path: Path) -> None:
    """JSON is read like YAML, and the list may stand under `backends`."""
    path = tmp_path / "backends.json"
    path.write_text('{"backends": [{"url": "http://gpu-1:8000", "serves": {"m": "theirs"}}]}')
    async with watching(source(path, Log())) as told:
        await until(lambda: told.urls() == ["http://gpu-1:8000"])

    assert {"m": "theirs"} == told.told[-1][0].backend.serves


async def test_defaults(tmp_path: Path) -> None:
    """What an entry leaves out, the section says for all of them."""
    path = tmp_path / "backends.yaml"
    path.write_text("- url: https://gpu-1\n- url: https://gpu-2\n  api_key: own\n")
    settings = {"serves": ["m"], "api_key": "shared", "tls_verify": False}
    async with watching(source(path, Log(), **settings)) as told:
        await until(lambda: told.urls() is not None)
    backends = [each.backend for each in told.told[-1]]

    assert ["shared", "own"] == [b.api_key and b.api_key.get_secret_value() for b in backends]
    assert [(False, {"m": "m"})] * 2 == [(b.tls_verify, b.serves) for b in backends]


@pytest.mark.parametrize(
    ("text", "told_of"),
    [
        ("- url: gpu-2\n  serves: [m]\n", ":1:backends[0].url: 'gpu-2' must be http://host:port"),
        (TWO + "  typo: 1\n", ":5:backends[1].typo: there is no such setting"),
        ("- url: [\n", ":2:1: "),
        ("- url: http://gpu-2:1\n  serves: [x]\n", ":2:backends[0].serves: 'x' is not declared"),
        (ONE + ONE, ":3:backends[1]: another backend is named 'gpu-1:8000'"),
        ("just text\n", ":1:backends: 'just text' must be a list"),
        ("", ": lists nothing; write [] if there is no backend"),
    ],
)
async def test_bad_file(tmp_path: Path, text: str, told_of: str) -> None:
    """The old list stays in use; the log says once where the mistake is, and when it is mended."""
    path, log = tmp_path / "backends.yaml", Log()
    path.write_text(ONE)
    async with watching(source(path, log)) as told:
        await until(lambda: told.urls() == ["http://gpu-1:8000"])
        path.write_text(text)
        await until(lambda: log.events)
        path.touch()
        before = len(told.told)
        path.write_text(TWO)
        await until(lambda: len(told.told) > before)

    assert 1 == before
    assert ["discovery_failed", "discovery_recovered"] == log.names()
    assert f"{path}{told_of}" in log.errors()


async def test_missing_file(tmp_path: Path) -> None:
    """A file may come later, and one that was deleted leaves its list in use."""
    path, log = tmp_path / "backends.yaml", Log()
    async with watching(source(path, log)) as told:
        await until(lambda: log.events)
        path.write_text(ONE)
        await until(lambda: told.urls() == ["http://gpu-1:8000"])
        path.unlink()
        await until(lambda: len(log.events) == 3)

    assert 1 == len(told.told)
    assert ["discovery_failed", "discovery_recovered", "discovery_failed"] == log.names()


async def test_half_of_a_list(tmp_path: Path) -> None:
    """A file that is being written is not read before it stands still: no replica is lost."""
    path, log = tmp_path / "backends.yaml", Log()
    path.write_text(TWO)
    config = section(type="file", path=path, poll_s=0.4)
    async with watching(FileSource(config, ["m"], log)) as told:
        await until(lambda: told.urls() is not None)
        for half in (ONE, TWO, ONE + "- url: http://gpu-2:80\n  serves: [m]\n"):
            path.write_text(half)
            await asyncio.sleep(0.1)
        path.write_text(TWO + "- url: http://gpu-3:8000\n  serves: [m]\n")
        await until(lambda: len(told.told) == 2)

    assert [2, 3] == [len(each) for each in told.told]


async def test_a_file_that_never_rests(tmp_path: Path) -> None:
    """One that is written all the time is read all the same."""
    path = tmp_path / "backends.yaml"
    path.write_text(ONE)
    async with watching(source(path, Log())) as told:
        await until(lambda: told.urls() is not None)
        for turn in range(200):
            path.write_text(TWO + "# " * turn)
            if len(told.told) > 1:
                break
            await asyncio.sleep(0.01)

    assert ["http://gpu-1:8000", "http://gpu-2:8000"] == told.urls()


def replaced(path: Path) -> None:
    new = path.with_suffix(".new")
    new.write_text(TWO)
    new.replace(path)


def relinked(path: Path) -> None:
    """What the kubelet does with a mounted ConfigMap: the link of a directory is swapped."""
    data = path.parent / "..v2"
    data.mkdir()
    (data / path.name).write_text(TWO)
    link = path.parent / "..new"
    link.symlink_to(data)
    link.rename(path.parent / "..data")


@pytest.mark.parametrize("change", [replaced, relinked])
async def test_ways_of_writing(tmp_path: Path, change: Callable[[Path], None]) -> None:
    """An editor's rename and Kubernetes' swap of a link are seen like a plain write."""
    first, path = tmp_path / "..v1", tmp_path / "backends.yaml"
    first.mkdir()
    (first / "backends.yaml").write_text(ONE)
    (tmp_path / "..data").symlink_to(first)
    path.symlink_to(tmp_path / "..data" / "backends.yaml")
    async with watching(source(path, Log())) as told:
        await until(lambda: told.urls() == ["http://gpu-1:8000"])
        change(path)
        await until(lambda: told.urls() == ["http://gpu-1:8000", "http://gpu-2:8000"])


async def test_key_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys need not stand in the file."""
    monkeypatch.setenv("GPU_KEY", "secret-1")
    path = tmp_path / "backends.yaml"
    path.write_text(ONE + "  api_key: ${GPU_KEY}\n")
    async with watching(source(path, Log())) as told:
        await until(lambda: told.urls() is not None)
    key = told.told[-1][0].backend.api_key

    assert key is not None
    assert "secret-1" == key.get_secret_value()
