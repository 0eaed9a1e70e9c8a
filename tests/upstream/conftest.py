"""These tests run on production's event loop."""

from tests.edge.conftest import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]
