"""slumber.py: vLLM's sleep mode over HTTP, against the simulator, and against what is none."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from headrace.conformance.ports import RefusingPort
from headrace.engines import slumber
from tests.engines.sim.rig import ask, chat, simulator

WITHIN_S = 5.0


@pytest.fixture
async def stranger() -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that answers with what is in the list: status line and body."""
    says: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        status, _, body = says[0].partition(b"\n")
        head = b"HTTP/1.1 %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        writer.write(head % (status, len(body)) + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", says
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("level", [1, 2])
async def test_it_sleeps_and_wakes(level: int) -> None:
    """At both levels, and afterwards it says what it said before: its weights are there."""
    body = chat(max_tokens=4, ignore_eos=True)
    async with simulator() as server:
        url = server.urls[0]
        before = await ask(url, "/v1/chat/completions", body)
        await slumber.sleep(url, level, WITHIN_S)
        asleep = await slumber.asleep(url)
        await slumber.wake(url, level, WITHIN_S)
        awake = not await slumber.asleep(url)
        after = await ask(url, "/v1/chat/completions", body)

    assert (True, True) == (asleep, awake)
    assert before.json()["choices"] == after.json()["choices"]


async def test_one_that_is_awake_stays_so() -> None:
    """To wake twice does no harm."""
    async with simulator() as server:
        await slumber.wake(server.urls[0], 1, WITHIN_S)

        assert not await slumber.asleep(server.urls[0])


async def test_patience_ends() -> None:
    """Who takes longer than allowed has not woken."""
    async with simulator(speed=1, wake_s=60) as server:
        await slumber.sleep(server.urls[0], 1, WITHIN_S)
        with pytest.raises(slumber.Failed, match=r"POST /wake_up: "):
            await slumber.wake(server.urls[0], 1, 0.1)


@pytest.mark.parametrize(
    ("says", "told"),
    [
        (b"404 Not Found\n{}", "GET /is_sleeping was answered 404"),
        (b"200 OK\nhello", "GET /is_sleeping was answered without saying so"),
        (b"200 OK\n[1]", "GET /is_sleeping was answered without saying so"),
    ],
)
async def test_what_knows_no_sleep(
    stranger: tuple[str, list[bytes]], says: bytes, told: str
) -> None:
    """An engine without the endpoint, or of another kind, is told as it is."""
    url, answers = stranger
    answers.append(says)

    with pytest.raises(slumber.Failed) as failed:
        await slumber.asleep(url)
    assert told == str(failed.value)


async def test_one_that_only_says_it_woke(stranger: tuple[str, list[bytes]]) -> None:
    """It is asked: a good status is not enough."""
    url, answers = stranger
    answers.append(b'200 OK\n{"is_sleeping": true}')

    with pytest.raises(slumber.Failed, match="still says that it sleeps"):
        await slumber.wake(url, 1, WITHIN_S)


async def test_nobody_there() -> None:
    """An engine that has died is told as refused."""
    port = RefusingPort()
    try:
        with pytest.raises(slumber.Failed, match=r"POST /sleep: "):
            await slumber.sleep(port.url, 1, WITHIN_S)
    finally:
        port.close()
