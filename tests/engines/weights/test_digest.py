"""Hashes as hubs and buckets publish them."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from headrace.engines.weights.digest import MIB, Digest, etag, matches

DATA = b"some content\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    return path


def test_plain(file: Path) -> None:
    """SHA-256 and MD5 of the content."""
    assert matches(file, Digest("sha256", hashlib.sha256(DATA).hexdigest())) is True
    assert matches(file, Digest("sha256", "0" * 64)) is False
    assert matches(file, Digest("md5", hashlib.md5(DATA).hexdigest())) is True
    assert matches(file, Digest("md5", "0" * 32)) is False


def test_git(file: Path) -> None:
    """The name that git itself gives to the content."""
    name = subprocess.run(
        ["git", "hash-object", str(file)], check=True, capture_output=True, text=True
    ).stdout.strip()

    assert matches(file, Digest("git", name)) is True
    assert matches(file, Digest("git", "0" * 40)) is False


@pytest.mark.parametrize("part_mib", [5, 8, 13])
def test_parts(tmp_path: Path, part_mib: int) -> None:
    """An ETag of many parts, of a usual part size or of the smallest that gives its count."""
    data = bytes(26 * MIB)
    path = tmp_path / "file"
    path.write_bytes(data)
    step = part_mib * MIB
    parts = [hashlib.md5(data[at : at + step]).digest() for at in range(0, len(data), step)]
    value = f"{hashlib.md5(b''.join(parts)).hexdigest()}-{len(parts)}"

    assert matches(path, Digest("parts", value)) is True
    assert matches(path, Digest("parts", f"{'0' * 32}-{len(parts)}")) is None


def test_etags() -> None:
    """What looks like a hash is one; what does not, cannot be compared."""
    md5 = "d41d8cd98f00b204e9800998ecf8427e"

    assert Digest("md5", md5) == etag(f'"{md5}"')
    assert Digest("parts", f"{md5}-3") == etag(f'"{md5}-3"')
    assert [None] * 4 == [etag(text) for text in ("", "W/abc", f"{md5}-x", f"{md5}-0")]
