"""Fixtures of the edge cases: a rig of engines and a gateway, on production's event loop."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from tests.edge.rig import Rig


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run on uvloop, as the gateway does."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """Engines and a gateway; afterwards nothing may be left of them: leases, bytes, tasks."""
    rig = Rig()
    yield rig
    await rig.close()
