"""Servers for the tests of the shared state."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.state.server import RedisServer


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A server that runs; its folder has a short name, since socket paths have 107 bytes."""
    with (
        tempfile.TemporaryDirectory(prefix="hr-", dir="/tmp") as folder,
        RedisServer(Path(folder)) as found,
    ):
        yield found
