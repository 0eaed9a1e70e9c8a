"""What the gateway tells the meter, and what waits for the ledger: nothing, or an answer's end."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from headrace.conformance import answers
from headrace.conformance.fake import Exchange
from headrace.conformance.wire import Answer, request
from headrace.gateway.app import Gateway
from headrace.metering.meter import Meter
from tests.edge.rig import CHAT_PATH, STREAMS, Rig, ask, eventually, streamed, turns

ENDS = (b"[DONE]", b"message_stop", b"response.completed")


async def gateway(rig: Rig, folder: Path, **more: Any) -> Gateway:
    metering = {"url": f"sqlite:{folder}/usage.db", "spill_dir": str(folder / "spill")}
    return await rig.gateway(metering=metering | {"interval_s": 0.02, "hold_s": 30} | more)


def meter(gateway: Gateway) -> Meter:
    assert gateway.meter is not None
    return gateway.meter


def rows(folder: Path, columns: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "usage.db")) as db:
        return db.execute(f"SELECT {columns} FROM usage ORDER BY at_us").fetchall()


async def written(gateway: Gateway, count: int) -> None:
    await eventually(lambda: meter(gateway).seen().rows["written"] == count)


@asynccontextmanager
async def slow_disk(gateway: Gateway) -> AsyncIterator[None]:
    """Meanwhile no row gets onto the disk."""
    lock = meter(gateway)._journal._lock
    await asyncio.to_thread(lock.acquire)
    try:
        yield
    finally:
        lock.release()


async def slowly(exchange: Exchange) -> None:
    """Each frame by itself, and the end of the answer by itself, as over a real network."""
    if not exchange.json().get("stream"):
        await answers.like_vllm(exchange)
        return
    await exchange.start_stream()
    for frame in answers.stream_for(exchange.path.removeprefix("/v1/"), "m", usage=True):
        await exchange.events(frame)
        await asyncio.sleep(0.005)
    await exchange.end_stream()


async def some(answer: Answer) -> bytes:
    """What of an answer's body comes at once, which is something."""
    await answer.until(1)
    await turns(150)
    try:
        return await answer.until(1 << 20, 0.05)
    except TimeoutError:
        return bytes(answer.body)


@pytest.mark.parametrize(
    "body",
    [
        {"stream": True, "stream_options": {"include_usage": False}},
        {"stream": 1},
        {"stream": "true", "stream_options": {"include_usage": None}},
    ],
)
async def test_what_is_paid_for_is_counted(body: dict[str, Any], rig: Rig, tmp_path: Path) -> None:
    """No client can make the engine keep its usage to itself; it sees none if it wants none."""
    engine = await rig.engine(slowly)
    ledger = await gateway(rig, tmp_path)
    answer = await rig.post(ask() | body)
    await written(ledger, 1)

    assert {"include_usage": True} == engine.exchanges[0].json()["stream_options"]
    assert b'"usage"' not in answer.body
    assert [(0,)] == rows(tmp_path, "estimated")


@pytest.mark.parametrize("durability", ["batch", "strict"])
@pytest.mark.parametrize("path", STREAMS)
async def test_row_has_what_the_client_was_told(
    path: str, durability: str, rig: Rig, tmp_path: Path
) -> None:
    """In either mode, streamed and whole: the tokens, the model, the replica, the outcome."""
    engine = await rig.engine()
    running = await gateway(rig, tmp_path, durability=durability)
    stream, whole = await rig.post(streamed(path), path), await rig.post(ask(path), path)
    await written(running, 2)
    replica = engine.url.removeprefix("http://")

    assert (200, 200, True, True) == (stream.status, whole.status, stream.ended, whole.ended)
    assert any(end in stream.body for end in ENDS)
    assert {(path, "m", "m", replica, "completed", 200, 0)} == set(
        rows(tmp_path, "endpoint, asked, model, replica, outcome, status, estimated")
    )
    assert all(asked > 0 and out > 0 for asked, out in rows(tmp_path, "tokens_in, tokens_out"))


@pytest.mark.parametrize("path", STREAMS)
async def test_strict_holds_the_end_of_a_stream(path: str, rig: Rig, tmp_path: Path) -> None:
    """Tokens come as always; what says that it is over comes when the row is on the disk."""
    await rig.engine(slowly)
    running = await gateway(rig, tmp_path, durability="strict")
    client = await rig.client().__aenter__()
    async with slow_disk(running):
        answer = await client.open("POST", path, streamed(path))
        before = await some(answer)
        assert before
        assert not any(end in before for end in ENDS)
        assert not answer.ended
    await answer.finish()
    client.close()

    assert any(end in answer.body for end in ENDS)
    assert answer.ended


async def test_strict_holds_a_whole_answer(rig: Rig, tmp_path: Path) -> None:
    """Not one byte comes before its row is on the disk; the next request waits behind it."""
    await rig.engine()
    running = await gateway(rig, tmp_path, durability="strict")
    async with rig.client() as client:
        async with slow_disk(running):
            await client.send(request("POST", CHAT_PATH, ask()))
            await client.send(request("GET", "/health"))
            with pytest.raises(TimeoutError):
                await client.answer(timeout_s=0.15)
        first = await (await client.answer()).finish()
        second = await (await client.answer("GET")).finish()

    assert (200, "ok") == (first.status, second.json()["status"])
    assert first.json()["usage"]["completion_tokens"] > 0


async def test_batch_holds_nothing(rig: Rig, tmp_path: Path) -> None:
    """Whatever the disk does, answers end."""
    await rig.engine()
    running = await gateway(rig, tmp_path)
    async with slow_disk(running):
        stream, whole = await rig.post(streamed()), await rig.post(ask())

    assert (True, True) == (stream.ended, whole.ended)


async def test_client_that_leaves_while_its_answer_is_held(rig: Rig, tmp_path: Path) -> None:
    """Nothing is left of it, and it is charged for what was made."""
    await rig.engine(slowly)
    running = await gateway(rig, tmp_path, durability="strict")
    async with slow_disk(running):
        async with rig.client() as client:
            answer = await client.open("POST", CHAT_PATH, streamed())
            await some(answer)
        await rig.idle()
    await written(running, 1)

    assert [("completed", 0)] == rows(tmp_path, "outcome, estimated")


async def test_a_stop_lets_held_answers_go(rig: Rig, tmp_path: Path) -> None:
    """A drain ends with every answer whole and every row in the ledger."""
    await rig.engine(slowly)
    running = await gateway(rig, tmp_path, durability="strict")
    async with rig.client() as client:
        async with slow_disk(running):
            answer = await client.open("POST", CHAT_PATH, streamed())
            await some(answer)
            stopping = asyncio.ensure_future(running.stop())
            await turns(50)
        await stopping
        await answer.finish()

    assert (True, b"[DONE]" in answer.body) == (answer.ended, True)
    assert [("completed",)] == rows(tmp_path, "outcome")


async def test_requests_that_failed_cost_nothing(rig: Rig, tmp_path: Path) -> None:
    """An unknown model, and an engine that cannot be reached: rows without tokens."""
    running = await rig.gateway(
        urls=[rig.refusing().url],
        metering={
            "url": f"sqlite:{tmp_path}/usage.db", "spill_dir": str(tmp_path / "spill"),
            "interval_s": 0.02,
        },
    )  # fmt: skip
    await rig.post(ask(model="zz"))
    await rig.post(ask())
    await written(running, 2)

    assert [(404, 0, 0), (502, 0, 0)] == rows(tmp_path, "status, tokens_in, cost")


async def test_without_a_ledger_there_is_no_meter(rig: Rig) -> None:
    """Nothing is written that nobody asked for; the metrics say that nothing is up."""
    await rig.engine()
    running = await rig.gateway()
    await rig.post(ask())
    text = (await rig.get("/metrics")).body.decode()

    assert running.meter is None
    assert "headrace_ledger_up 0.0" in text
