"""Cases 18 and 19: connections are reused safely upstream, and pipelined ones answered in order."""

import asyncio

import pytest

from headrace.conformance import answers
from headrace.conformance.fake import Exchange, FakeEngine, Script
from headrace.conformance.wire import request
from headrace.gateway.clocks import TICK_S
from headrace.upstream.pool import IDLE_S
from tests.edge.rig import CHAT_PATH, Rig, ask, gather, openai_error, streamed, turns


async def _warm(rig: Rig, engine: FakeEngine) -> None:
    """Make the gateway hold one idle connection to the engine."""
    assert 200 == (await rig.post(ask())).status
    assert 1 == len(engine.open_links)


async def test_case_18_connections_are_reused(rig: Rig) -> None:
    """Requests one after the other use one connection, streamed or not, whoever the client is."""
    engine = await rig.engine()
    await rig.gateway()
    for number in range(10):
        await rig.post(ask() if number % 2 else streamed())

    assert 1 == len(engine.links)


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_case_18_dead_reused_connection_is_replaced(rig: Rig, how: str) -> None:
    """A reused connection that dies before any byte is tried once more on a fresh one, for free."""

    async def dies(exchange: Exchange) -> None:
        getattr(exchange, how)()

    engine = await rig.engine()
    gateway = await rig.gateway(retries={"attempts": 1, "budget": 0, "budget_min": 0})
    for _ in range(5):
        await rig.post(ask())
        engine.queue.append(dies)

        assert 200 == (await rig.post(ask())).status

    assert 1 == gateway.records[-1].attempts


async def test_case_18_only_one_fresh_connection(rig: Rig) -> None:
    """When the fresh connection dies too, the replica is broken: 502, after two tries."""
    engine = await rig.engine()
    await rig.gateway()
    await _warm(rig, engine)
    engine.script = answers.resets

    openai_error(await rig.post(ask()), 502, "upstream_failed")
    assert 1 + 2 == len(engine.exchanges)


async def test_case_18_fresh_connection_is_not_repeated(rig: Rig) -> None:
    """A connection that was never used before and dies is the replica's fault: one try."""
    engine = await rig.engine(answers.resets)
    await rig.gateway()

    openai_error(await rig.post(ask()), 502, "upstream_failed")
    assert 1 == len(engine.exchanges)


@pytest.mark.parametrize("part", [b"H", b"HTTP/1.1 200 OK\r\ncontent-", b"HTTP/1.1 200 OK\r\n\r\n"])
async def test_case_18_no_repeat_after_a_byte(rig: Rig, part: bytes) -> None:
    """One byte of an answer is enough: then the request was taken, and is not sent again."""

    async def dies(exchange: Exchange) -> None:
        await exchange.write(part)
        await turns(30)
        exchange.reset()

    engine = await rig.engine()
    await rig.gateway()
    await _warm(rig, engine)
    engine.queue.append(dies)

    answer = await rig.post(ask())

    assert answer.status == 502 or answer.broken, answer
    assert 2 == len(engine.exchanges)


async def test_case_18_idle_connection_closed_by_engine(rig: Rig) -> None:
    """When engines close idle connections, as vLLM does after 5 s, no client sees it."""
    engine = await rig.engine()
    await rig.gateway(retries={"attempts": 1, "budget": 0, "budget_min": 0})
    await _warm(rig, engine)
    engine.links[0].transport.close()

    assert 200 == (await rig.post(ask())).status
    assert [0, 1] == [exchange.connection for exchange in engine.exchanges]


async def test_case_18_idle_connection_is_dropped_before_5_s(rig: Rig) -> None:
    """The gateway drops idle connections by itself, and that before vLLM closes them at 5 s."""
    engine = await rig.engine()
    await rig.gateway()
    await _warm(rig, engine)

    await engine.exchanges[0].wait_closed()

    assert IDLE_S + 2 * TICK_S < 5.0


@pytest.mark.parametrize(
    "headers", [[("connection", "close")], [("Connection", "x-a, Close"), ("x-a", "1")]]
)
async def test_case_18_connection_close_is_obeyed(rig: Rig, headers: list[tuple[str, str]]) -> None:
    """A connection whose answer said `Connection: close` is never used again."""
    body = answers.chat_body("m")
    engine = await rig.engine(answers.says(200, body, *headers))
    await rig.gateway(retries={"attempts": 1, "budget": 0, "budget_min": 0})

    seen = [await rig.post(ask()) for _ in range(3)]

    assert [200] * 3 == [answer.status for answer in seen]
    assert [0, 1, 2] == [exchange.connection for exchange in engine.exchanges]


async def test_case_18_http_10_is_not_reused(rig: Rig) -> None:
    """An HTTP/1.0 answer ends with its connection."""
    old = b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n"
    engine = await rig.engine(answers.raw(old + answers.chat_body("m"), close=True))
    await rig.gateway()

    seen = [await rig.post(ask()) for _ in range(2)]

    assert [answers.chat_body("m")] * 2 == [bytes(answer.body) for answer in seen]
    assert [0, 1] == [exchange.connection for exchange in engine.exchanges]


async def test_case_18_unasked_bytes_are_no_answer(rig: Rig) -> None:
    """Bytes that come on an idle connection are never the answer to the next request."""
    engine = await rig.engine()
    await rig.gateway()
    await _warm(rig, engine)
    stale = answers.dump({"stale": True})
    await engine.exchanges[0].answer(408, stale)
    await turns(30)

    answer = await rig.post(ask())

    assert (200, answers.chat_body("m")) == (answer.status, bytes(answer.body))
    assert [0, 1] == [exchange.connection for exchange in engine.exchanges]


async def test_case_18_bytes_after_an_answer_are_dropped(rig: Rig) -> None:
    """Bytes after the end of an answer reach neither this client nor the next one."""

    async def script(exchange: Exchange) -> None:
        body = answers.chat_body("m")
        start = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        again = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nstolen"
        await exchange.write(start + body + again)

    engine = await rig.engine(script)
    await rig.gateway()

    seen = [await rig.post(ask()) for _ in range(3)]

    assert [answers.chat_body("m")] * 3 == [bytes(answer.body) for answer in seen]
    assert [0, 1, 2] == [exchange.connection for exchange in engine.exchanges]


async def test_case_18_unread_answers_do_not_spoil_connections(rig: Rig) -> None:
    """A connection that a client left in mid-answer is closed, not handed to the next one."""
    engine = await rig.engine()
    await rig.gateway()
    engine.queue.append(answers.streams_then(answers.chat_frames("m")[0], then=answers.hangs))
    client = await rig.client().__aenter__()
    await (await client.open("POST", CHAT_PATH, streamed())).event()
    client.close()
    await engine.exchanges[0].wait_closed()

    answer = await rig.post(ask())

    assert answers.chat_body("m") == answer.body
    assert [0, 1] == [exchange.connection for exchange in engine.exchanges]


async def test_case_18_early_answer_is_relayed(rig: Rig) -> None:
    """An engine that answers before it has read the request (as 413) is heard."""
    body = answers.error(413, "too long")
    engine = await rig.engine(answers.says(413, body, ("connection", "close")))
    engine.early = True
    await rig.gateway()

    answer = await rig.post(ask(user="u" * 3_000_000))

    assert (413, body) == (answer.status, bytes(answer.body))


def _numbered(locks: list[asyncio.Event]) -> Script:
    """Answer with the request's own number, once its event is set."""

    async def script(exchange: Exchange) -> None:
        number = int(exchange.json()["user"])
        await locks[number].wait()
        await exchange.answer(200, answers.dump({"number": number}))

    return script


async def test_case_19_pipelined_requests_are_answered_in_order(rig: Rig) -> None:
    """Three requests in one segment: three answers, in the order of the requests."""
    locks = [asyncio.Event() for _ in range(3)]
    await rig.engine(_numbered(locks))
    await rig.gateway()
    async with rig.client() as client:
        await client.send(
            b"".join(request("POST", CHAT_PATH, ask(user=str(number))) for number in range(3))
        )
        for lock in reversed(locks):
            lock.set()
            await turns(20)
        seen = [(await (await client.answer()).finish()).json() for _ in range(3)]

    assert [{"number": number} for number in range(3)] == seen


async def test_case_19_pipelined_errors_and_streams_keep_their_order(rig: Rig) -> None:
    """Errors of our own do not overtake an answer of the engine that was asked for earlier."""
    go = asyncio.Event()
    engine = await rig.engine()
    engine.queue.append(answers.after(go, answers.like_vllm))
    await rig.gateway()
    async with rig.client() as client:
        requests = [
            request("POST", CHAT_PATH, streamed()),
            request("GET", "/nowhere"),
            request("POST", CHAT_PATH, b"{"),
            request("GET", "/v1/models"),
        ]
        await client.send(b"".join(requests))
        await turns(30)
        go.set()
        seen = [(await (await client.answer()).finish()).status for _ in requests]

    assert [200, 404, 400, 200] == seen


async def test_case_19_pipelined_byte_by_byte(rig: Rig) -> None:
    """Where one request ends and the next begins does not depend on segments."""
    await rig.engine()
    await rig.gateway()
    both = request("POST", CHAT_PATH, ask()) + request("GET", "/v1/models")
    async with rig.client() as client:
        for start in range(0, len(both), 7):
            await client.send(both[start : start + 7])
            await asyncio.sleep(0)
        first = await (await client.answer()).finish()
        second = await (await client.answer("GET")).finish()

    assert (answers.chat_body("m"), 200) == (bytes(first.body), second.status)


async def test_case_19_leaving_pipelined_client_hurts_nobody(rig: Rig) -> None:
    """A pipelining client that leaves ends its own requests, and no one else's."""
    go = asyncio.Event()
    engine = await rig.engine(answers.after(go, answers.like_vllm))
    await rig.gateway()
    leaver = await rig.client().__aenter__()
    await leaver.send(request("POST", CHAT_PATH, streamed(user="leaver")) * 3)
    mine = await engine.exchange()
    async with rig.client() as stayer:
        await stayer.send(request("POST", CHAT_PATH, streamed(user="stayer")) * 2)
        await engine.exchange(1)
        leaver.close()
        await mine.wait_closed()
        go.set()
        seen = [await (await stayer.answer()).finish() for _ in range(2)]

    expected = b"".join(answers.chat_frames("m", usage=True))
    assert [expected] * 2 == [bytes(answer.body) for answer in seen]
    assert 1 == sum(exchange.json()["user"] == "leaver" for exchange in engine.exchanges)


async def test_case_19_pipelined_flood_is_bounded(rig: Rig) -> None:
    """A client that sends requests without reading answers does not fill our memory."""
    engine = await rig.engine(answers.hangs)
    gateway = await rig.gateway()
    one = request("POST", CHAT_PATH, ask(user="u" * 60_000))
    async with rig.client() as client:
        await client.send(one)
        await engine.exchange()
        flood = asyncio.create_task(client.send(one * 400))
        await turns(150)

        swallowed = flood.done() and flood.exception() is None
        assert not swallowed, "25 MB of requests were taken in while the first one is running"
        assert gateway.buffered_bytes < 4_000_000
        flood.cancel()
        await asyncio.gather(flood, return_exceptions=True)
    await engine.exchanges[0].wait_closed()
    assert 1 == len(engine.exchanges)


async def test_case_19_nothing_is_pipelined_upstream(rig: Rig) -> None:
    """Fifty requests side by side: on each connection to the engine, one at a time."""

    async def script(exchange: Exchange) -> None:
        await turns(10)
        await answers.like_vllm(exchange)

    engine = await rig.engine(script)
    await rig.gateway()

    seen = await gather(*(rig.post(ask()) for _ in range(50)))

    assert [200] * 50 == [answer.status for answer in seen]
    assert 0 == engine.pipelined


async def test_case_19_connection_close_of_the_client(rig: Rig) -> None:
    """A client that says `Connection: close` gets its answer, the same word, and the end."""
    await rig.engine()
    await rig.gateway()
    async with rig.client() as client:
        answer = await client.post(CHAT_PATH, ask(), [("connection", "close")])

        assert b"" == await client.read_to_end()
    assert (200, "close") == (answer.status, answer.header("connection"))


async def test_case_19_http_10_client(rig: Rig) -> None:
    """An HTTP/1.0 client gets a stream without chunks, which ends with its connection."""
    await rig.engine()
    await rig.gateway()
    whole = request("POST", CHAT_PATH, streamed()).replace(b"HTTP/1.1", b"HTTP/1.0")
    async with rig.client() as client:
        await client.send(whole)
        answer = await (await client.answer()).finish()

    assert answer.header("transfer-encoding") is None
    assert b"".join(answers.chat_frames("m", usage=True)) == answer.body
    assert answer.ended


async def test_case_18_reused_connection_dies_under_a_large_body(rig: Rig) -> None:
    """A reused connection that dies while a large body is being written is replaced, too."""

    async def dies(exchange: Exchange) -> None:
        exchange.reset()

    engine = await rig.engine()
    engine.early = True
    await rig.gateway(retries={"attempts": 1, "budget": 0, "budget_min": 0})
    engine.script = answers.says(200, answers.chat_body("m"))
    await _warm(rig, engine)
    engine.queue.append(dies)

    answer = await rig.post(ask(user="u" * 3_000_000))

    assert 200 == answer.status
    assert [0, 0, 1] == [exchange.connection for exchange in engine.exchanges]


async def test_case_19_garbage_behind_a_request(rig: Rig) -> None:
    """Bytes that are no request do not spoil the answer to the request before them."""
    go = asyncio.Event()
    await rig.engine(answers.after(go, answers.like_vllm))
    await rig.gateway()
    async with rig.client() as client:
        await client.send(request("POST", CHAT_PATH, ask()) + b"NONSENSE\r\n\r\n")
        await turns(30)
        go.set()
        first = await (await client.answer()).finish()
        second = await (await client.answer()).finish()
        rest = await client.read_to_end()

    assert (200, answers.chat_body("m")) == (first.status, bytes(first.body))
    openai_error(second, 400)
    assert b"" == rest
