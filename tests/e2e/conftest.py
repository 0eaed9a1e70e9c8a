"""
Fixtures of the end-to-end tests: one ``headrace up`` for all of them, and the clients.

Under xdist the tests that share it go to one worker (``--dist loadgroup``); with another
distribution each worker starts its own.
"""

from collections.abc import AsyncIterator, Iterator

import anthropic
import httpx2
import openai
import pytest

from tests.e2e import rig
from tests.e2e.rig import SECRET, Up

CLIENT_S = 30.0  # an answer takes a tenth of a second alone


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """The program as a user starts it; at the end Ctrl-C, and no key may stand in what it wrote."""
    with (
        pytest.MonkeyPatch.context() as patch,
        rig.started(tmp_path_factory.mktemp("up"), "--port", "0") as up,
    ):
        patch.setenv("NO_PROXY", "127.0.0.1")
        yield up
    written = up.log.read_text() + up.out.read_text()
    assert "gateway_stopped" in written
    assert SECRET not in written
    assert "Traceback" not in written


@pytest.fixture
def oai(gateway: Up) -> Iterator[openai.OpenAI]:
    """The official OpenAI client."""
    base_url = f"{gateway.url}/v1"
    with openai.OpenAI(
        base_url=base_url, api_key=SECRET, max_retries=0, timeout=CLIENT_S
    ) as client:
        yield client


@pytest.fixture
async def aoai(gateway: Up) -> AsyncIterator[openai.AsyncOpenAI]:
    """The official OpenAI client for asyncio."""
    base_url = f"{gateway.url}/v1"
    async with openai.AsyncOpenAI(
        base_url=base_url, api_key=SECRET, max_retries=0, timeout=CLIENT_S
    ) as client:
        yield client


@pytest.fixture
def claude(gateway: Up) -> Iterator[anthropic.Anthropic]:
    """The official Anthropic client."""
    with anthropic.Anthropic(
        base_url=gateway.url, api_key=SECRET, max_retries=0, timeout=CLIENT_S
    ) as client:
        yield client


@pytest.fixture
def plain(gateway: Up) -> Iterator[httpx2.Client]:
    """A client without opinions."""
    with httpx2.Client(base_url=gateway.url, timeout=CLIENT_S) as client:
        yield client
