"""endpoint.py: an endpoint of others is asked, and says why it gave no answer."""

from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from headrace.conformance import answers
from headrace.conformance.fake import FakeEngine, Script
from headrace.conformance.ports import RefusingPort
from headrace.upstream.endpoint import Endpoint, Unanswered


@pytest.fixture
async def engine() -> AsyncIterator[FakeEngine]:
    made = await FakeEngine(answers.hangs).start()
    yield made
    await made.stop()


async def test_what_is_sent(engine: FakeEngine) -> None:
    """The body as it is, to the URL's path, with the key; connections are used again."""
    engine.script = answers.says(200, b'{"a": 1}')
    endpoint = Endpoint(f"{engine.url}/v1/things", SecretStr("k"), 100)

    assert [b'{"a": 1}'] * 2 == [await endpoint.ask(b'{"q": 2}') for _ in range(2)]
    first, second = engine.exchanges
    assert ("POST", "/v1/things", {"q": 2}) == (first.method, first.path, first.json())
    assert "Bearer k" == first.header("authorization")
    assert first.link is second.link
    endpoint.close()


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (answers.says(503, b""), "it answered 503"),
        (answers.says(200, b"x" * 101), "larger than 100 bytes"),
        (answers.resets, "."),
    ],
)
async def test_no_answer(engine: FakeEngine, script: Script, why: str) -> None:
    """Whatever it was, it is told in one line."""
    engine.script = script
    endpoint = Endpoint(engine.url, None, 100)

    with pytest.raises(Unanswered, match=why):
        await endpoint.ask(b"{}")
    assert engine.exchanges[0].header("authorization") is None
    endpoint.close()


async def test_nobody_there() -> None:
    """A port that refuses is no answer either."""
    port = RefusingPort()
    endpoint = Endpoint(port.url, None, 100)

    with pytest.raises(Unanswered, match="no connection to"):
        await endpoint.ask(b"{}")
    endpoint.close()
    port.close()
