"""Fixtures of the metering tests: one PostgreSQL for all of them, and ledgers of both kinds."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.config.metering import Metering
from tests.metering.cluster import Cluster

DATABASES = itertools.count()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A running server."""
    cluster = Cluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture(params=["sqlite", "postgres"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Metering:
    """A ledger of each kind, empty."""
    if request.param == "sqlite":
        return settings(tmp_path)
    server: Cluster = request.getfixturevalue("cluster")
    return settings(tmp_path, url=server.database(f"usage{next(DATABASES)}"))


def settings(folder: Path, **more: Any) -> Metering:
    """The section for a ledger in a folder."""
    given = {"url": f"sqlite:{folder}/usage.db", "spill_dir": folder / "spill", "interval_s": 0.02}
    return Metering.model_validate(given | more)
