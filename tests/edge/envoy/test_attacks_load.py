"""Too much, too slow, too many, or no text: against the edge and the gateway alone."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.edge.envoy.front import (
    BODY,
    GOOD,
    HEAD,
    LENGTH,
    Front,
    error,
    front,
    read,
    send,
    statuses,
)
from tests.edge.rig import Rig, eventually

LIMIT = 64 * 1024  # bytes of a body
SLOW = {"headers_s": 0.6, "request_s": 1.0}


def body(text: bytes) -> bytes:
    return HEAD + b"content-length: %d\r\n\r\n" % len(text) + text


def chunked(size: int) -> bytes:
    return HEAD + b"transfer-encoding: chunked\r\n\r\n" + b"%x\r\n%b\r\n0\r\n\r\n" % (
        size, b" " * size,
    )  # fmt: skip


# Name → bytes, the status at the edge and at the gateway alone.
TOO_MUCH = {
    "a long header": (HEAD + b"x: " + b"y" * 200_000 + b"\r\n" + LENGTH + BODY, 431, 431),
    "a long path": (GOOD.replace(b"completions", b"completions?" + b"y" * 200_000), 431, 431),
    "3000 headers": (
        HEAD + b"".join(b"x%d: y\r\n" % number for number in range(3000)) + LENGTH + BODY, 431, 200,
    ),
    "a header 40,000 times": (HEAD + b"x: y\r\n" * 40_000 + LENGTH + BODY, 431, 431),
    "a long body": (body(b" " * (LIMIT + 1)), 413, 413),
    "a long body in chunks": (chunked(LIMIT + 1), 413, 413),
    "a body that claims to be long": (HEAD + b"content-length: 4000000000\r\n\r\n", 413, 413),
}  # fmt: skip

NO_JSON = {
    "bytes that are no UTF-8": BODY.replace(b'"hi"', b'"\xff\xfe"'),
    "a surrogate": BODY.replace(b'"hi"', b'"\xed\xa0\x80"'),
    "an overlong slash": BODY.replace(b'"hi"', b'"\xc0\xaf"'),
    "UTF-16": BODY.decode().encode("utf-16"),
    "deep": b"[" * 60_000,
    "deep below a key": BODY[:-1] + b', "x": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    "deep in its messages": BODY.replace(b'"hi"', b'{"a":' * 9_000 + b"1" + b"}" * 9_000),
    "a NUL": b"\0" + BODY,
    "nothing": b"",
}


async def test_too_much_is_refused(rig: Rig) -> None:
    """Each is answered with its status, however it says its size; no engine hears of it."""
    engine = await rig.engine()
    limits = {"max_body_bytes": LIMIT}

    async with front(rig, server={"port": 0, **limits}) as both:
        attacks = TOO_MUCH.values()
        edge = [send(both.edge, data, close=True) for data, _, _ in attacks]
        alone = [send(both.gateway, data, close=True) for data, _, _ in attacks]
        found = [statuses(answer) for answer in await asyncio.gather(*edge, *alone)]
        reached = len(engine.exchanges)
        await both.well()

    assert [[of[1]] for of in attacks] + [[of[2]] for of in attacks] == found
    assert sum(status == 200 for of in attacks for status in of[1:]) == reached


async def test_no_text_reaches_an_engine(rig: Rig) -> None:
    """A body that is no JSON, no UTF-8, or too deep is 400 in OpenAI's shape, on both ways."""
    engine = await rig.engine()

    async with front(rig) as both:
        answers = await asyncio.gather(
            *[
                send(door, body(text), close=True)
                for door in both.doors
                for text in NO_JSON.values()
            ]
        )
        reached = len(engine.exchanges)
        await both.well()

    assert [[400]] * (2 * len(NO_JSON)) == [statuses(answer) for answer in answers]
    assert {"invalid_request_error"} == {error(answer)["type"] for answer in answers}
    assert 0 == reached


async def test_slow_clients_are_let_go(rig: Rig) -> None:
    """
    Who stops in the middle gets 408, behind the edge unheard of by the gateway. The gateway alone
    closes a connection without a whole head.
    """
    engine = await rig.engine()
    starts = (HEAD[:-2], HEAD + b"x: y\r\n", HEAD + LENGTH + BODY[:5])  # in a line, head, body

    async with front(rig, edge={"timeouts": SLOW}, server={"port": 0, "read_s": 0.6}) as both:
        edge = [asyncio.create_task(send(both.edge, start)) for start in starts]
        await asyncio.sleep(0.3)
        records = len(rig.gateway_now.records)
        held = rig.gateway_now.buffered_bytes
        alone = [send(both.gateway, start) for start in starts]
        answers = await asyncio.gather(*edge, *alone)
        await both.well()

    assert [[408], [408], [408], [], [], [408]] == [statuses(answer) for answer in answers]
    assert {"request_timeout"} == {error(answer)["code"] for answer in (*answers[:3], answers[5])}
    assert (0, 0) == (records, held)
    assert 2 == len(engine.exchanges)  # those that showed that all is well


async def test_a_dripping_client_is_let_go_by_the_edge(rig: Rig) -> None:
    """A byte now and then does not keep a request alive at the edge: its time is for all of it."""
    await rig.engine()

    async with front(rig, edge={"timeouts": SLOW}) as both:
        reader, writer = await asyncio.open_connection("127.0.0.1", both.edge.port)
        writer.write(HEAD + LENGTH)
        reading = asyncio.create_task(read(reader))
        for number in range(len(BODY)):
            if writer.transport.is_closing() or reading.done():
                break
            writer.write(BODY[number : number + 1])
            await asyncio.sleep(0.05)
        answer = await reading
        writer.transport.abort()
        await both.well()

    assert [408] == statuses(answer)
    assert number < len(BODY) - 1


@asynccontextmanager
async def crowd(port: int, number: int, data: bytes) -> AsyncIterator[list[asyncio.Task[bytes]]]:
    """Connections that send something and then do nothing; each as a task that ends with it."""
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(number)]
    tasks = [asyncio.create_task(read(reader)) for reader, _ in opened]
    for _, writer in opened:
        writer.write(data)
    try:
        yield tasks
    finally:
        for _, writer in opened:
            writer.transport.abort()
        await asyncio.wait(tasks)


async def test_a_crowd_at_the_gateway(rig: Rig) -> None:
    """500 clients that never finish a request do not keep others from theirs."""
    await rig.engine()

    async with front(rig) as both:
        async with crowd(both.gateway.port, 500, HEAD):
            await both.well()
            there = len(rig.gateway_now.clients)
        await eventually(lambda: len(rig.gateway_now.clients) < 10)

    assert there >= 500


async def test_a_crowd_at_the_edge(rig: Rig) -> None:
    """More connections than allowed are closed at once, none of them is the gateway's concern."""
    await rig.engine()

    async with front(rig, edge={"limits": {"max_connections": 20}}) as both:
        async with crowd(both.edge.port, 200, HEAD) as tasks:
            await eventually(lambda: ended(tasks) == 180, lambda: str(ended(tasks)))
            clients = len(rig.gateway_now.clients)
        await _works_again(both)
        await both.well()

    assert clients < 5  # the edge's own health checks


def ended(tasks: list[asyncio.Task[bytes]]) -> int:
    return sum(task.done() for task in tasks)


async def _works_again(both: Front) -> None:
    async with asyncio.timeout(30):
        while [200] != statuses(await send(both.edge, GOOD, close=True)):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.05)


async def test_each_address_has_a_rate(rig: Rig) -> None:
    """An address that asks too often gets 429 and when to come again; the gateway hears less."""
    engine = await rig.engine()

    async with front(rig, edge={"per_ip": {"requests_per_s": 1, "burst": 5}}) as both:
        answers = await asyncio.gather(*[send(both.edge, GOOD, close=True) for _ in range(20)])
        reached = len(engine.exchanges)

    refused = [answer for answer in answers if statuses(answer) == [429]]
    assert 5 <= reached <= 15  # on a busy machine the bucket has time to fill
    assert 20 == reached + len(refused)
    assert all(b"\r\nretry-after: 1\r\n" in answer for answer in refused)
    assert {"rate_limit_exceeded"} == {error(answer)["code"] for answer in refused}


async def test_a_gateway_that_is_gone(rig: Rig) -> None:
    """Where no gateway can be reached, the edge says so in the client's dialect."""
    async with front(rig) as both:
        await rig.gateway_now.stop(drain_s=0)
        chat = await send(both.edge, GOOD, close=True)
        messages = await send(
            both.edge, GOOD.replace(b"/v1/chat/completions", b"/v1/messages"), close=True
        )

    shape: dict[str, Any] = json.loads(messages.partition(b"\r\n\r\n")[2])
    assert [[503], [503]] == [statuses(chat), statuses(messages)]
    assert "overloaded" == error(chat)["code"]
    assert ("error", "overloaded_error") == (shape["type"], shape["error"]["type"])
