"""
The seam to a database: what the ledger asks of one, its migrations, and which one a URL names.

The statements are the same for both kinds: parameters are ``$1``, ``$2`` …, each used once and in
order. How they run is sqlite.py's and postgres.py's.
"""

import importlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from headrace.config.database import POSTGRES, SQLITE
from headrace.config.metering import Metering
from headrace.errors import ConfigError, StartError

Values = Sequence[Any]


class StoreLost(Exception):
    """The database could not be reached, broke, or was too slow; the text is for people."""


class StoreRefused(StoreLost):
    """The database is well, but does not take these values."""


class Statement(NamedTuple):
    """A statement, and the values of each of its runs."""

    sql: str
    runs: Sequence[Values] = ((),)


class Migration(NamedTuple):
    """A step of the schema."""

    version: int
    statements: tuple[str, ...]


class Store(Protocol):
    """A database that is open. Every call may raise ``StoreLost``; then close it and open anew."""

    def write(self, statements: Iterable[Statement]) -> None:
        """Run all of them, or none, for good."""

    def read(self, sql: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """The rows that a query finds."""

    def close(self) -> None: ...


def open_store(config: Metering) -> Store:
    """
    The configured ledger with its latest schema.

    Raises:
        StoreLost: it cannot be reached now.
        StartError: the package for it is missing, or it is of a newer Headrace.

    """
    kind, name = ("sqlite", "SqliteStore")
    if config.address.startswith(POSTGRES):
        kind, name = ("postgres", "PostgresStore")
    try:
        module = importlib.import_module(f"headrace.metering.{kind}")
    except ModuleNotFoundError as error:
        raise StartError(
            f"The ledger {config.shown} needs the package {error.name}; install"
            " `headrace[postgres]`."
        ) from error
    store: Store = getattr(module, name)(config)
    return store


@contextmanager
def reading(config: Metering) -> Iterator[Store]:
    """
    The configured ledger for a report, closed at the end.

    Raises:
        ConfigError: none is configured.
        StartError: it is not there, cannot be reached, or breaks while it is read.

    """
    if not config.address:
        raise ConfigError(
            "No ledger is configured; set `metering.url`, for example sqlite:usage.db."
        )
    if config.address.startswith(SQLITE) and not Path(sqlite_path(config)).expanduser().exists():
        raise StartError(
            f"There is no ledger at {sqlite_path(config)} yet; a gateway with this `metering.url`"
            " makes it."
        )
    try:
        with closing(open_store(config)) as store:
            yield store
    except StoreLost as error:
        raise StartError(f"Cannot read the ledger {config.shown}: {error}.") from error


def sqlite_path(config: Metering) -> str:
    """The file of an SQLite ledger."""
    return config.address.removeprefix(SQLITE).removeprefix("//")


def migrations() -> tuple[Migration, ...]:
    """The steps of the schema, in their order."""
    folder = resources.files("headrace.metering").joinpath("migrations")
    files = sorted((each for each in folder.iterdir() if each.name.endswith(".sql")), key=str)
    return tuple(
        Migration(int(file.name[:4]), _statements(file.read_text(encoding="utf-8")))
        for file in files
    )


def missing(applied: Iterable[int]) -> list[Migration]:
    """
    The steps that a database with these steps still needs.

    Raises:
        StartError: it has some that we do not know.

    """
    known, done = migrations(), set(applied)
    unknown = sorted(done - {step.version for step in known})
    if unknown:
        raise StartError(
            f"The ledger has the schema of a newer Headrace (step {unknown[-1]}, this one knows"
            f" {known[-1].version}); use that version."
        )
    return [step for step in known if step.version not in done]


def _statements(text: str) -> tuple[str, ...]:
    lines = (line.partition("--")[0].rstrip() for line in text.splitlines())
    bare = "\n".join(line for line in lines if line)
    return tuple(part.strip() for part in bare.split(";") if part.strip())
