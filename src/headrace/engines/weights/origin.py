"""What a place that models come from offers. The places themselves are hub.py and bucket.py."""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Protocol

from headrace.engines.weights.digest import Digest
from headrace.errors import StartError

S3 = "s3://"


class Flaky(Exception):
    """The connection failed; the same may work a moment later."""


@dataclass(frozen=True, slots=True)
class Name:
    """
    What people call a model: ``org/name``, ``org/name@revision`` or ``s3://bucket/prefix``.

    ``model`` is the part before the @.
    """

    model: str
    revision: str = ""

    @property
    def is_bucket(self) -> bool:
        return self.model.startswith(S3)

    @property
    def folders(self) -> tuple[str, ...]:
        """Where it is kept, below the store."""
        kind = "s3" if self.is_bucket else "hf"
        return kind, *self.model.removeprefix(S3).split("/")


@dataclass(frozen=True, slots=True)
class Item:
    """A file of a model. ``digest`` is None where the origin knows none."""

    path: str
    size: int
    digest: Digest | None = None
    tag: str = ""  # the origin's own mark of this content


@dataclass(frozen=True, slots=True)
class Listing:
    """All files of one revision of a model."""

    revision: str
    items: tuple[Item, ...]

    def chosen(self, include: tuple[str, ...], exclude: tuple[str, ...]) -> "Listing":
        """Those files whose path matches a pattern of ``include`` (none: all), and no excluded."""

        def wanted(item: Item) -> bool:
            matches = [fnmatchcase(item.path, pattern) for pattern in include]
            return (any(matches) or not include) and not any(
                fnmatchcase(item.path, pattern) for pattern in exclude
            )

        return Listing(self.revision, tuple(filter(wanted, self.items)))


class Origin(Protocol):
    """A model at the place it comes from."""

    def listing(self) -> Listing:
        """
        What there is.

        Raises:
            StartError: it is not there, may not be read, or nobody answers.

        """

    def read(self, item: Item, begin: int, end: int) -> Iterator[bytes]:
        """
        The bytes of a file from ``begin`` up to ``end``; may be called from many threads.

        Raises:
            Flaky: it broke off, and may work when it is tried again.
            StartError: it will not work.

        """

    def close(self) -> None:
        """Give up the connections."""


def parse(text: str) -> Name:
    """
    What a person called a model.

    Raises:
        StartError: it has another form.

    """
    if text.startswith(S3):
        model, revision = S3 + text.removeprefix(S3).strip("/"), ""
    else:
        model, _, revision = text.partition("@")
    parts = model.removeprefix(S3).split("/")
    well_formed = all(parts) and not {".", ".."} & {*parts} and "\\" not in model
    if not well_formed or (not model.startswith(S3) and len(parts) != 2):
        raise StartError(
            f"{text!r} is no model; write org/name, org/name@revision or s3://bucket/prefix."
        )
    return Name(model, revision)


def safe(path: str) -> str:
    """
    A path that an origin wants to have written, if it stays inside of the model's folder.

    Raises:
        StartError: it does not.

    """
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or "\0" in path:
        raise StartError(f"The model has a file {path!r}, which would lie outside of its folder.")
    return path
