"""Fixtures of the fleet's tests: the rig of the edge cases, on production's event loop."""

from tests.edge.conftest import pytest_asyncio_loop_factories, rig

__all__ = ["pytest_asyncio_loop_factories", "rig"]
