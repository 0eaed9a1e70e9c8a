"""Each fault of a request, as it is seen on the wire."""

import asyncio
from typing import Any

import pytest

from tests.engines.sim.rig import HELLO, WAIT_S, Answer, Client, ask, chat, metric, simulator, until

each_form = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])


async def with_fault(fault: dict[str, Any], **fields: Any) -> Answer:
    """The answer to one chat of a replica with a fault."""
    async with simulator(faults=[fault]) as server:
        return await ask(server.urls[0], "/v1/chat/completions", chat(**fields))


@each_form
async def test_error(stream: bool) -> None:
    """``error``: vLLM's error body with the status that is wanted."""
    found = await with_fault({"kind": "error", "status": 503}, stream=stream)

    assert (503, "InternalServerError") == (found.status, found.json()["error"]["type"])


async def test_error_in_the_stream() -> None:
    """``error`` after two tokens: an error event in place of the third, and a proper end."""
    found = await with_fault({"kind": "error", "after_tokens": 2}, stream=True)

    assert ("whole", 500) == (found.ended, found.data[-1]["error"]["code"])
    assert 1 + 2 + 1 == len(found.data)
    assert found.body.endswith(b"data: [DONE]\n\n")


async def test_error_of_a_whole_answer_that_was_begun() -> None:
    """``error`` after two tokens of an answer that is not streamed: the status says it."""
    found = await with_fault({"kind": "error", "after_tokens": 2, "status": 502})

    assert (502, 502) == (found.status, found.json()["error"]["code"])


async def test_anthropics_error_in_the_stream() -> None:
    """In Anthropic's dialect the event is an ``error``, and the last one."""
    body = {"messages": HELLO, "max_tokens": 9, "ignore_eos": True, "stream": True}
    async with simulator(faults=[{"kind": "error", "after_tokens": 1}]) as server:
        found = await ask(server.urls[0], "/v1/messages", body)

    assert ["content_block_delta", "error"] == found.events[-2:]
    assert "error" == found.data[-1]["type"]


async def test_limit() -> None:
    """``limit``: 429 with Retry-After."""
    found = await with_fault({"kind": "limit", "retry_after_s": 7})

    assert (429, "7", 429) == (
        found.status,
        found.headers["retry-after"],
        found.json()["error"]["code"],
    )


@each_form
async def test_reset_before_the_first_byte(stream: bool) -> None:
    """``reset``: the connection breaks, and nothing was said."""
    found = await with_fault({"kind": "reset"}, stream=stream)

    assert (0, "reset") == (found.status, found.ended)


async def test_reset_in_the_stream() -> None:
    """``reset`` after two tokens: two tokens, then RST."""
    found = await with_fault({"kind": "reset", "after_tokens": 2}, stream=True)

    assert "reset" == found.ended


async def test_die_in_the_stream() -> None:
    """``die``: some tokens, then the connection is closed without the end of the body."""
    found = await with_fault({"kind": "die", "after_tokens": 2}, stream=True)

    assert (200, "eof", 1 + 2) == (found.status, found.ended, len(found.data))
    assert b"[DONE]" not in found.body


async def test_die_in_a_whole_answer() -> None:
    """``die`` of an answer that is not streamed: closed without a byte."""
    found = await with_fault({"kind": "die"})

    assert (0, "eof") == (found.status, found.ended)


async def test_die_of_a_short_answer() -> None:
    """An answer with fewer tokens than the fault waits for dies before its end."""
    found = await with_fault({"kind": "die", "after_tokens": 50}, stream=True)

    assert ("eof", 1 + 4) == (found.ended, len(found.data))


@each_form
async def test_length(stream: bool) -> None:
    """``length``: the head promises more bytes than come before the connection closes."""
    found = await with_fault({"kind": "length"}, stream=stream)

    assert (200, "eof") == (found.status, found.ended)
    assert len(found.body) + 10 == int(found.headers["content-length"])
    assert stream == (b"[DONE]" in found.body)


async def test_garbage_in_the_stream() -> None:
    """``garbage``: after the tokens come events that are neither JSON nor UTF-8; it ends well."""
    found = await with_fault({"kind": "garbage", "after_tokens": 2}, stream=True)
    frames = found.body.split(b"\n\n")

    assert "whole" == found.ended
    assert 3 == len([frame for frame in frames if frame.endswith(b"}")])
    assert 3 == len([frame for frame in frames if b"\xff\xfe" in frame])


async def test_garbage_in_a_whole_answer() -> None:
    """``garbage`` of an answer that is not streamed: 200 with a body that is no JSON."""
    found = await with_fault({"kind": "garbage"})

    assert 200 == found.status
    with pytest.raises(UnicodeDecodeError):
        found.json()


@each_form
async def test_stuck(stream: bool) -> None:
    """
    ``stuck``: accepted, never answered; it counts as running while no token is made, until the
    client leaves.
    """
    async with simulator(faults=[{"kind": "stuck"}]) as server:
        url = server.urls[0]
        client = await Client.to(url)
        client.send("/v1/chat/completions", chat(stream=stream))
        await until(url, "num_requests_running", 1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.reader.read(1)
        assert 0 == await metric(url, "generation_tokens_total")
        await client.close()
        await until(url, "num_requests_running", 0)


async def test_freeze() -> None:
    """
    ``freeze``: some tokens, then silence on an open connection, even when the client closes its
    side; clearing the fault lets go of it.
    """
    async with simulator(faults=[{"kind": "freeze", "after_tokens": 2}]) as server:
        url = server.urls[0]
        client = await Client.to(url)
        client.send("/v1/chat/completions", chat(stream=True))
        await client.head()
        said = b""
        while said.count(b"data: ") < 3:
            said += await client.reader.read(65_536)
        client.writer.write_eof()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.reader.read(1)
        await until(url, "num_requests_running", 0)
        await ask(url, "/sim/faults?kind=freeze", method="DELETE")
        async with asyncio.timeout(WAIT_S):
            assert b"" == await read_to_end(client)
        await client.close()


async def test_a_freeze_that_ended_first() -> None:
    """A request that came in it, and would freeze after it, does not stay silent for ever."""
    async with simulator(speed=1, faults=[{"kind": "freeze", "after_tokens": 30}]) as server:
        url = server.urls[0]
        client = await Client.to(url)
        client.send("/v1/chat/completions", chat(max_tokens=100))
        await until(url, "num_requests_running", 1)
        await ask(url, "/sim/faults?kind=freeze", method="DELETE")
        async with asyncio.timeout(WAIT_S):
            assert b"" == await read_to_end(client)
        await client.close()


async def read_to_end(client: Client) -> bytes:
    try:
        return await client.reader.read()
    except ConnectionResetError:
        return b""


async def test_share_hits_some() -> None:
    """A share of 0.3 hits about so many requests, and the same ones with the same seed."""
    seen = []
    for _ in range(2):
        async with simulator(faults=[{"kind": "error", "share": 0.3}]) as server:
            client = await Client.to(server.urls[0])
            statuses = []
            for _ in range(60):
                client.send("/v1/chat/completions", chat(max_tokens=1))
                statuses.append((await client.answer()).status)
            await client.close()
            seen.append(statuses)

    assert seen[0] == seen[1]
    assert 8 <= seen[0].count(500) <= 28


async def test_faults_of_one_replica() -> None:
    """A fault with a number hits that replica only."""
    async with simulator(replicas=2, faults=[{"kind": "error", "replica": 1}]) as server:
        found = [await ask(url, "/v1/chat/completions", chat()) for url in server.urls]

    assert [200, 500] == [answer.status for answer in found]


async def test_slow() -> None:
    """``slow``: iterations take that much longer, which the engine's own metrics say."""
    async with simulator(
        replicas=2, faults=[{"kind": "slow", "factor": 50, "replica": 1}]
    ) as server:
        for url in server.urls:
            await ask(url, "/v1/chat/completions", chat(max_tokens=20))
        well, slow = [await metric(url, "inter_token_latency_seconds_sum") for url in server.urls]

    assert 50 == pytest.approx(slow / well, rel=0.01)


async def test_hang() -> None:
    """``hang``: streams stop, health stays green, and all goes on when it is over."""
    async with simulator(speed=100) as server:
        url = server.urls[0]
        client = await Client.to(url)
        client.send("/v1/chat/completions", chat(stream=True, max_tokens=200))
        await client.head()
        await ask(url, "/sim/faults", {"kind": "hang"})
        before = await metric(url, "generation_tokens_total")
        await asyncio.sleep(0.05)
        after = await metric(url, "generation_tokens_total")
        health = await ask(url, "/health")
        running = await metric(url, "num_requests_running")
        await ask(url, "/sim/faults", method="DELETE")
        async with asyncio.timeout(WAIT_S):
            rest = await client.reader.readuntil(b"[DONE]")
        await client.close()

    assert after - before <= 1  # the iteration that was under way
    assert (200, 1) == (health.status, running)
    assert b'"finish_reason":"length"' in rest


async def test_full() -> None:
    """``full``: the cache is used up, the queue grows, and is served when it is over."""
    async with simulator(faults=[{"kind": "full", "duration_s": 1}]) as server:
        url = server.urls[0]
        clients = [await Client.to(url) for _ in range(3)]
        for client in clients:
            client.send("/v1/chat/completions", chat())
        await until(url, "num_requests_waiting", 3)
        usage = await metric(url, "kv_cache_usage_perc")
        found = [(await client.answer()).status for client in clients]
        for client in clients:
            await client.close()

    assert (1.0, [200] * 3) == (usage, found)


async def test_stale() -> None:
    """``stale``: metrics stand still while work goes on; cleared, they tell all of it."""
    async with simulator(faults=[{"kind": "stale"}]) as server:
        url = server.urls[0]
        await ask(url, "/v1/chat/completions", chat())
        stale = await metric(url, "generation_tokens_total")
        await ask(url, "/sim/faults", method="DELETE")
        fresh = await metric(url, "generation_tokens_total")

    assert (0, 5) == (stale, fresh)


async def test_start() -> None:
    """``start``: not healthy and not serving for a time, then both by itself."""
    async with simulator(faults=[{"kind": "start", "duration_s": 1}]) as server:
        url = server.urls[0]
        early = [(await ask(url, "/health")).status]
        early.append((await ask(url, "/v1/chat/completions", chat())).status)
        await asyncio.sleep(1.01)
        late = [(await ask(url, "/health")).status]
        late.append((await ask(url, "/v1/chat/completions", chat())).status)

    assert ([503, 503], [200, 200]) == (early, late)


async def test_faults_by_api() -> None:
    """Faults are listed, set and cleared, by kind or all."""
    async with simulator() as server:
        url = server.urls[0]
        await ask(url, "/sim/faults", {"kind": "error", "begin_s": 60})
        await ask(url, "/sim/faults", {"kind": "limit"})
        listed = (await ask(url, "/sim/faults")).json()["faults"]
        gone = (await ask(url, "/sim/faults?kind=limit", method="DELETE")).json()
        rest = (await ask(url, "/sim/faults", method="DELETE")).json()

    assert [("error", False), ("limit", True)] == [(f["kind"], f["active"]) for f in listed]
    assert (1, "error") == (gone["cleared"], gone["faults"][0]["kind"])
    assert {"cleared": 1, "faults": []} == rest
