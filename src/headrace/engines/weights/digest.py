"""Whether a file is what its origin says: hashes as hubs and buckets publish them."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

READ_BYTES = 4 * 1024 * 1024
MIB = 1024 * 1024
# Part sizes of well-known upload tools; an ETag of many parts says how many, not how large.
PARTS_MIB = (5, 6, 7, 8, 10, 15, 16, 20, 25, 32, 50, 64, 100, 128, 256, 512, 1024)


@dataclass(frozen=True, slots=True)
class Digest:
    """
    ``git`` is the SHA-1 of a git blob; ``parts`` an ETag of S3 such as ``abc...-12``, the MD5 of
    the MD5s of so many parts (https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html).
    """

    kind: Literal["sha256", "git", "md5", "parts"]
    value: str


def matches(path: Path, digest: Digest) -> bool | None:
    """Whether the file has this digest; None where that cannot be known."""
    size = path.stat().st_size
    if digest.kind == "parts":
        sizes = _part_sizes(size, int(digest.value.rpartition("-")[2]))
        return True if any(_of_parts(path, each) == digest.value for each in sizes) else None
    if digest.kind == "git":
        found = hashlib.sha1(b"blob %d\0" % size)  # noqa: S324 - git's choice, not ours
    elif digest.kind == "md5":
        found = hashlib.md5(usedforsecurity=False)
    else:
        found = hashlib.sha256()
    for block in _blocks(path):
        found.update(block)
    return found.hexdigest() == digest.value


def etag(text: str) -> Digest | None:
    """The digest in an ETag of S3; None where it is none."""
    text = text.strip('"')
    value, _, parts = text.partition("-")
    if len(value) != 32 or set(value) - set("0123456789abcdef"):
        return None
    if parts:
        return Digest("parts", text) if parts.isdigit() and int(parts) else None
    return Digest("md5", value)


def _part_sizes(size: int, count: int) -> Iterator[int]:
    least = math.ceil(size / count)
    for part in dict.fromkeys((*(mib * MIB for mib in PARTS_MIB), math.ceil(least / MIB) * MIB)):
        if part and math.ceil(size / part) == count:
            yield part


def _of_parts(path: Path, part_bytes: int) -> str:
    whole, count = hashlib.md5(usedforsecurity=False), 0
    with path.open("rb") as file:
        while block := file.read(part_bytes):
            whole.update(hashlib.md5(block, usedforsecurity=False).digest())
            count += 1
    return f"{whole.hexdigest()}-{count}"


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            yield block
