"""Servers for the tests of the shared state."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.state.server import REDIS, VALKEY, RedisServer


@pytest.fixture(params=[REDIS, VALKEY])
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """
    A server of each kind that runs; its folder has a short name, since socket paths have 107 bytes.
    """
    with (
        tempfile.TemporaryDirectory(prefix="hr-", dir="/tmp") as folder,
        RedisServer(Path(folder), program=request.param) as found,
    ):
        yield found
