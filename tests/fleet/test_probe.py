"""probe.py: what the gateway itself asks, and what it makes of the answers."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import formatdate

import pytest

from headrace.config.backends import Backend
from headrace.conformance import answers
from headrace.conformance.fake import Exchange, FakeEngine
from headrace.conformance.ports import RefusingPort
from headrace.fleet.probe import Failed, Probe
from headrace.fleet.registry import Replica


@asynccontextmanager
async def probed(engine: FakeEngine) -> AsyncIterator[Probe]:
    await engine.start()
    tree = {"url": engine.url, "serves": {"m": "theirs"}, "api_key": "k-1"}
    probe = Probe(Replica(Backend.model_validate(tree), 1.0), 1.0)
    try:
        yield probe
    finally:
        probe.close()
        await asyncio.sleep(0)
        await engine.stop()


async def test_health_on_one_connection() -> None:
    """Probes follow each other on one connection, with the replica's own key."""
    engine = FakeEngine(answers.like_vllm)
    async with probed(engine) as probe:
        for _ in range(3):
            await probe.health(1.0)

    assert (3, 1) == (len(engine.probes), len(engine.links))
    assert "Bearer k-1" == engine.probes[0].header("authorization")


@pytest.mark.parametrize("status", [200, 404, 401])
async def test_any_answer_is_healthy(status: int) -> None:
    """An engine without such a path, or that wants another key, is alive."""
    async with probed(FakeEngine(answers.like_vllm, probe=answers.says(status, b""))) as probe:
        await probe.health(1.0)


@pytest.mark.parametrize("status", [500, 503])
async def test_5xx_is_not(status: int) -> None:
    """An engine that says it is dead or loading is not healthy."""
    async with probed(FakeEngine(answers.like_vllm, probe=answers.says(status, b""))) as probe:
        with pytest.raises(Failed, match=f"GET /health was answered {status}") as failed:
            await probe.health(1.0)

    assert not failed.value.slow


async def test_silence() -> None:
    """No answer in time is a failure that says so."""
    async with probed(FakeEngine(answers.like_vllm, probe=answers.hangs)) as probe:
        with pytest.raises(Failed, match=r"within 0\.05 s") as failed:
            await probe.health(0.05)

    assert failed.value.slow


async def test_refused() -> None:
    """A port where nobody listens is named."""
    port = RefusingPort()
    probe = Probe(Replica(Backend.model_validate({"url": port.url, "serves": ["m"]}), 1.0), 1.0)
    with pytest.raises(Failed, match=f"no connection to 127.0.0.1:{port.port}"):
        await probe.health(1.0)
    port.close()


async def test_metrics_in_pieces() -> None:
    """A long text comes whole, in however many pieces it arrives."""
    text = b"x" * 500_000

    async def script(exchange: Exchange) -> None:
        await exchange.answer(200, text)

    async with probed(FakeEngine(answers.like_vllm, probe=script)) as probe:
        assert text == await probe.metrics(2.0)


async def test_no_metrics() -> None:
    """An engine without them is no failure."""
    async with probed(FakeEngine(answers.like_vllm, probe=answers.says(404, b""))) as probe:
        assert await probe.metrics(1.0) is None


async def test_metrics_that_break_off() -> None:
    """Half a text is none."""
    half = answers.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nhalf", close=True)
    async with probed(FakeEngine(answers.like_vllm, probe=half)) as probe:
        with pytest.raises(Failed, match="GET /metrics"):
            await probe.metrics(1.0)


async def test_first_token_by_the_engines_name() -> None:
    """One token is asked of the model by the name that the engine has for it."""
    engine = FakeEngine(answers.says(200, b"{}"))
    async with probed(engine) as probe:
        await probe.first_token(1.0)

    (seen,) = engine.exchanges
    assert ("theirs", 1) == (seen.json()["model"], seen.json()["max_tokens"])


@pytest.mark.parametrize("status", [500, 503])
async def test_first_token_failed(status: int) -> None:
    """An engine that is healthy and cannot answer is not warm; no other endpoint is asked."""
    engine = FakeEngine(answers.says(status, b"{}"))
    async with probed(engine) as probe:
        with pytest.raises(Failed, match=f"first token, asked by .*, was answered {status}"):
            await probe.first_token(1.0)

    assert 1 == len(engine.exchanges)


@pytest.mark.parametrize("status", [401, 403, 429])
async def test_first_token_refused(status: int) -> None:
    """Where our key or our share is the matter, no other endpoint is tried."""
    engine = FakeEngine(answers.says(status, b"{}"))
    async with probed(engine) as probe:
        await probe.first_token(1.0)

    assert 1 == len(engine.exchanges)


@pytest.mark.parametrize(
    ("ahead_s", "date"), [(0.0, None), (-3600.0, None), (None, b""), (None, b"yesterday")]
)
async def test_clocks_are_compared(ahead_s: float | None, date: bytes | None) -> None:
    """By the date of an answer, which is good to two seconds; one that is none says nothing."""
    probe = Probe(Replica(Backend.model_validate({"url": "http://h:1", "serves": ["m"]}), 1.0), 1.0)
    told = formatdate(time.time() + (ahead_s or 0.0), usegmt=True).encode()

    probe._compare(told if date is None else date)

    if ahead_s is None:
        assert probe.skew_s is None
    else:
        assert probe.skew_s is not None
        assert abs(probe.skew_s - ahead_s) < 60.0
    probe.close()
