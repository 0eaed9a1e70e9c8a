"""Case 15: large bodies pass, too large ones are refused early, and held bytes have a limit."""

import asyncio
import json

import pytest

from headrace.conformance import answers
from headrace.conformance.fake import chunk
from headrace.conformance.wire import Client, ConnectionGone, request
from tests.edge.rig import (
    CHAT_PATH,
    Rig,
    anthropic_error,
    ask,
    eventually,
    openai_error,
    retry_after,
)

MIB = 1024 * 1024
SMALL = {"max_body_bytes": 10_000}


def _announce(length: int, *more: str, path: str = CHAT_PATH) -> bytes:
    """The head of a request with a body of this length."""
    lines = [f"POST {path} HTTP/1.1", "host: h", f"content-length: {length}", *more]
    return "\r\n".join([*lines, "content-type: application/json", "", ""]).encode()


async def test_case_15_large_body_passes(rig: Rig) -> None:
    """A body of 31 MiB, as with images, reaches the engine whole, under the default limit."""
    engine = await rig.engine(answers.says(200, answers.chat_body("m")))
    await rig.gateway()
    image = "data:image/png;base64," + "A" * (31 * MIB)
    part = {"type": "image_url", "image_url": {"url": image}}
    body = json.dumps(ask(messages=[{"role": "user", "content": [part]}])).encode()

    answer = await rig.post(body)

    assert 200 == answer.status
    assert body == engine.exchanges[0].body
    await rig.idle()


async def test_case_15_limit_can_be_raised(rig: Rig) -> None:
    """The limit is a setting: with 40 MiB allowed, 33 MiB pass."""
    engine = await rig.engine(answers.says(200, answers.chat_body("m")))
    await rig.gateway(server={"max_body_bytes": 40 * MIB})

    answer = await rig.post(ask(user="u" * (33 * MIB)))

    assert 200 == answer.status
    assert len(engine.exchanges[0].body) > 33 * MIB


async def test_case_15_413_by_length_before_the_body(rig: Rig) -> None:
    """A client that has sent only its head gets the 413: nothing was buffered for it."""
    engine = await rig.engine()
    gateway = await rig.gateway(server=SMALL)
    async with rig.client() as client:
        await client.send(_announce(10_001))
        answer = await (await client.answer()).finish()

    openai_error(answer, 413, "request_too_large")
    assert 0 == gateway.buffered_bytes
    assert [] == engine.exchanges


async def test_case_15_413_on_messages(rig: Rig) -> None:
    """On /v1/messages the 413 is request_too_large in Anthropic's shape."""
    await rig.gateway(urls=[], server=SMALL)
    async with rig.client() as client:
        await client.send(_announce(10_001, path="/v1/messages"))
        answer = await (await client.answer()).finish()

    assert "request_too_large" == anthropic_error(answer, 413)["type"]


@pytest.mark.parametrize("length", ["99999999999", "99999999999999999999999999"])
async def test_case_15_413_of_huge_lengths(rig: Rig, length: str) -> None:
    """A length beyond all bounds is refused like any other; it is no way to crash."""
    await rig.gateway(urls=[], server=SMALL)
    async with rig.client() as client:
        await client.send(_announce(0).replace(b"length: 0", b"length: " + length.encode()))
        answer = await (await client.answer()).finish()

    assert answer.status in {400, 413}
    openai_error(answer, answer.status)


async def test_case_15_413_is_readable_while_sending(rig: Rig) -> None:
    """A client that sends its whole body before it reads still reads the 413, not a reset."""
    await rig.gateway(urls=[], server=SMALL)
    async with rig.client() as client:
        body = b"x" * (2 * MIB)
        try:
            await client.send(_announce(len(body)) + body)
        except ConnectionError:
            pytest.fail("the connection was reset while the client was sending")
        answer = await (await client.answer()).finish()

    openai_error(answer, 413, "request_too_large")


async def test_case_15_chunked_bodies_are_counted(rig: Rig) -> None:
    """A body without a length is cut off when it grows over the limit."""
    engine = await rig.engine()
    gateway = await rig.gateway(server=SMALL)
    async with rig.client() as client:
        start = request("POST", CHAT_PATH, None, [("transfer-encoding", "chunked")])
        await client.send(start + chunk(b"x" * 5000))
        await eventually(lambda: gateway.buffered_bytes >= 5000)
        await client.send(chunk(b"x" * 5001))
        answer = await (await client.answer()).finish()

    openai_error(answer, 413, "request_too_large")
    await rig.idle()
    assert [] == engine.exchanges


async def test_case_15_chunked_body_is_relayed(rig: Rig) -> None:
    """A chunked request reaches the engine with the same bytes and one framing."""
    engine = await rig.engine()
    await rig.gateway()
    body = json.dumps(ask()).encode()
    async with rig.client() as client:
        start = request("POST", CHAT_PATH, None, [("transfer-encoding", "chunked")])
        await client.send(start + b"".join(chunk(bytes([byte])) for byte in body) + chunk(b""))
        answer = await (await client.answer()).finish()

    seen = engine.exchanges[0]
    assert (200, body) == (answer.status, bytes(seen.body))
    assert (seen.header("content-length") is None) != (seen.header("transfer-encoding") is None)


async def test_case_15_exactly_the_limit_passes(rig: Rig) -> None:
    """A body of exactly max_body_bytes is allowed."""
    await rig.engine()
    await rig.gateway(server=SMALL)
    body = json.dumps(ask(user="")).encode()
    body = body.replace(b'"user": ""', b'"user": "' + b"u" * (10_000 - len(body)) + b'"')

    assert 10_000 == len(body)
    assert 200 == (await rig.post(body)).status


async def test_case_15_bytes_in_flight_are_bounded(rig: Rig) -> None:
    """Above max_inflight_bytes over all clients the answer is 503; later there is room again."""
    await rig.engine()
    gateway = await rig.gateway(server={"max_inflight_bytes": 2 * MIB})
    body = json.dumps(ask(user="u" * 900_000)).encode()
    whole = request("POST", CHAT_PATH, body)
    holders = [await rig.client().__aenter__() for _ in range(2)]
    for holder in holders:
        await holder.send(whole[:-1])
    await eventually(lambda: gateway.buffered_bytes >= 2 * (len(body) - 1))

    refused = await rig.post(body)
    openai_error(refused, 503, "overloaded")
    retry_after(refused)
    small = await rig.post(ask())
    for holder in holders:
        await holder.send(whole[-1:])
        assert 200 == (await (await holder.answer()).finish()).status
    await rig.idle()

    assert 200 == small.status
    assert 200 == (await rig.post(body)).status


async def test_case_15_bytes_are_returned_when_clients_leave(rig: Rig) -> None:
    """Clients that leave in mid-upload give back what was held for them."""
    await rig.engine()
    gateway = await rig.gateway(server={"max_inflight_bytes": 2 * MIB})
    whole = request("POST", CHAT_PATH, ask(user="u" * 500_000))
    for how in ("close", "reset") * 5:
        client = await rig.client().__aenter__()
        await client.send(whole[:-1])
        await eventually(lambda: gateway.buffered_bytes > 0)
        getattr(client, how)()
        await rig.idle()

    assert 200 == (await rig.post(ask())).status


async def test_case_15_expect_continue(rig: Rig) -> None:
    """A client that asks first is told to go on, once; the engine is not asked."""
    engine = await rig.engine()
    await rig.gateway()
    body = json.dumps(ask()).encode()
    async with rig.client() as client:
        await client.send(_announce(len(body), "Expect: 100-continue"))
        go_on = await client.answer()
        await client.send(body)
        answer = await (await client.answer()).finish()

    assert (100, 200) == (go_on.status, answer.status)
    assert engine.exchanges[0].header("expect") is None


async def test_case_15_expect_continue_refused(rig: Rig) -> None:
    """A client that asks first with a body that is too large gets 413 instead of 100."""
    await rig.gateway(urls=[], server=SMALL)
    async with rig.client() as client:
        await client.send(_announce(10_001, "Expect: 100-continue"))
        answer = await (await client.answer()).finish()

    openai_error(answer, 413, "request_too_large")


async def test_case_15_expect_continue_with_the_body(rig: Rig) -> None:
    """A client that does not wait for the 100 is served too."""
    await rig.engine()
    await rig.gateway()
    body = json.dumps(ask()).encode()
    async with rig.client() as client:
        await client.send(_announce(len(body), "Expect: 100-continue") + body)
        answer = await client.answer()
        if answer.status == 100:
            answer = await client.answer()
        await answer.finish()

    assert 200 == answer.status


async def test_case_15_head_has_a_limit(rig: Rig) -> None:
    """A head over max_header_bytes is 431, in OpenAI's shape."""
    await rig.gateway(urls=[], server={"max_header_bytes": 2048})
    async with rig.client() as client:
        answer = await client.get("/v1/models", [("x-big", "b" * 4096)])

    openai_error(answer, 431, "headers_too_large")


async def test_case_15_head_has_a_limit_without_an_end(rig: Rig) -> None:
    """A header that never ends is cut off at the limit, too."""
    await rig.gateway(urls=[], server={"max_header_bytes": 2048})
    async with rig.client() as client:
        await client.send(b"GET / HTTP/1.1\r\nx-big: " + b"b" * 4096)
        answer = await (await client.answer()).finish()

    openai_error(answer, 431, "headers_too_large")


async def test_case_15_endless_trailers_have_a_limit(rig: Rig) -> None:
    """Trailers, chunk extensions and the like do not get around the limits."""
    gateway = await rig.gateway(urls=[], server={"max_header_bytes": 2048, **SMALL})
    async with rig.client() as client:
        await client.send(request("POST", CHAT_PATH, None, [("transfer-encoding", "chunked")]))
        answer = await _flood(client, b"0\r\n" + b"x-trailer: " + b"t" * 1000 + b"\r\n")

    assert answer is None or 400 <= answer < 500
    assert 0 == gateway.buffered_bytes


async def _flood(client: Client, data: bytes) -> int | None:
    """Send without end until the server answers or closes; gives the status, None when closed."""
    try:
        await client.send(data)
        for _ in range(200):
            await client.send(b"y-trailer: " + b"t" * 1000 + b"\r\n")
            await asyncio.sleep(0)
        return (await (await client.answer()).finish()).status
    except (ConnectionGone, ConnectionError):
        return None
