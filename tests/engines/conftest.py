"""Runs the engines' tests on both event loops: production's, and the standard library's."""

import asyncio
from collections.abc import Callable

import pytest
import uvloop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run on uvloop, as the command line does, and on asyncio's own."""
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
