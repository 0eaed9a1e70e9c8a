"""What reaches the gateway through the edge, seen from a scripted gateway; and what comes back."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from headrace.config.schema import Config
from headrace.conformance import answers
from headrace.conformance.fake import Exchange, FakeEngine
from headrace.edge.process import EdgeProcess
from tests.edge.envoy.front import EDGE, GOOD, HEAD, Door, front, send, statuses
from tests.edge.rig import Rig, eventually, streamed

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@asynccontextmanager
async def before(engine: FakeEngine, **edge: Any) -> AsyncIterator[Door]:
    """Envoy with something else than a gateway behind it, whose requests can be looked at."""
    tree = {**EDGE, "gateways": [engine.url.removeprefix("http://")], **edge}
    process = EdgeProcess(Config.model_validate({"edge": tree}), lambda *_, **__: None)
    try:
        await process.start(0)
        yield Door("edge", process.port)
    finally:
        await process.stop()


def asked(engine: FakeEngine) -> list[Exchange]:
    """What clients asked; health checks of the edge's own are left out."""
    return [exchange for exchange in engine.exchanges if exchange.target != "/ready"]


def with_lines(*lines: str) -> bytes:
    text = "".join(f"{line}\r\n" for line in lines).encode("latin-1")
    return GOOD.replace(b"\r\n", b"\r\n" + text, 1)


async def test_nobody_speaks_for_us(rig: Rig) -> None:
    """Headers by which a client could speak for a proxy, Envoy or Headrace do not pass."""
    engine = await rig.engine()
    spoofed = (
        "x-headrace-tenant: admin", "X-Headrace-Priority: 0", "x-envoy-upstream-rq-timeout-ms: 1",
        "x-forwarded-for: 10.0.0.1", "x-forwarded-host: evil", "forwarded: for=10.0.0.1",
        "x-real-ip: 10.0.0.1", "x-envoy-original-path: /metrics",
    )  # fmt: skip

    async with before(engine) as edge:
        answer = await send(edge, with_lines("x-test: kept", *spoofed), close=True)
    [seen] = asked(engine)

    assert [200] == statuses(answer)
    assert "kept" == seen.header("x-test")
    assert [] == [name for name, _ in seen.headers if name.startswith("x-headrace")]
    for name in ("x-envoy-upstream-rq-timeout-ms", "x-forwarded-host", "forwarded", "x-real-ip"):
        assert seen.header(name) is None
    told = seen.header("x-forwarded-for") or ""  # for loopback Envoy tells this machine's address
    assert told
    assert "10.0.0.1" != told
    assert "," not in told


async def test_a_trusted_proxy_tells_the_client(rig: Rig) -> None:
    """Behind a load balancer the address is the one that it tells, not one that a client added."""
    engine = await rig.engine()

    async with before(engine, trusted_hops=1, private={"allow_from": ["203.0.113.0/24"]}) as edge:
        lines = "x-forwarded-for: 10.9.9.9, 203.0.113.7"
        inside = GOOD.replace(b"POST /v1/chat/completions", b"POST /metrics")
        friend = with_lines(lines).replace(b"/v1/chat/completions", b"/metrics")
        answered = [statuses(await send(edge, data, close=True)) for data in (inside, friend)]

    assert [[403], [200]] == answered
    told = asked(engine)[0].header("x-forwarded-for") or ""
    assert ["10.9.9.9", "203.0.113.7"] == [part.strip() for part in told.split(",")][:2]


async def test_paths_of_operators(rig: Rig) -> None:
    """However they are written, they are 403 for others, and other paths are not."""
    engine = await rig.engine()
    hidden = ("/metrics", "//metrics", "/v1/../metrics", "/%6detrics", "/./admin/x", "/metrics?a")
    paths = (*hidden, "/v1/models/org%2Fname")

    async with before(engine, private={"allow_from": ["192.0.2.0/24"]}) as edge:
        gets = [f"GET {path} HTTP/1.1\r\nhost: h\r\n\r\n".encode() for path in paths]
        found = await asyncio.gather(*[send(edge, get, close=True) for get in gets])

    assert [[403]] * len(hidden) + [[200]] == [statuses(answer) for answer in found]
    assert ["/v1/models/org%2Fname"] == [exchange.target for exchange in asked(engine)]


async def test_a_request_id_all_the_way(rig: Rig) -> None:
    """The edge gives each request an id; gateway, engine and answer have the same one."""
    engine = await rig.engine()

    async with front(rig) as both:
        answer = await send(both.edge, with_lines("x-request-id: mine"), close=True)
    ids = {engine.exchanges[0].header("x-request-id"), rig.gateway_now.records[-1].request_id}

    assert f"x-request-id: {ids.pop()}\r\n".encode() in answer
    assert not ids
    assert b"x-request-id: mine" not in answer


async def test_a_trusted_request_id(rig: Rig) -> None:
    """Where clients are trusted, an id that the gateway takes passes, and any other is refused."""
    engine = await rig.engine()

    async with front(rig, edge={"trust_request_id": True}) as both:
        good = await send(both.edge, with_lines("x-request-id: team-7:42.a_b"), close=True)
        wrong = [with_lines(f"x-request-id: {text}") for text in ("a b", "a" * 129, 'x"y', "a\xff")]
        bad = await asyncio.gather(*[send(both.edge, data, close=True) for data in wrong])
        none = await send(both.edge, GOOD, close=True)

    assert b"x-request-id: team-7:42.a_b\r\n" in good
    assert "team-7:42.a_b" == engine.exchanges[0].header("x-request-id")
    assert [[400]] * 4 == [statuses(answer) for answer in bad]
    assert [200] == statuses(none)


async def test_a_trace_all_the_way(rig: Rig) -> None:
    """W3C trace context reaches the engine as the client sent it."""
    engine = await rig.engine()

    async with front(rig) as both:
        lines = with_lines(f"traceparent: {PARENT}", "tracestate: a=b")
        await send(both.edge, lines, close=True)

    assert PARENT == engine.exchanges[0].header("traceparent")
    assert "a=b" == engine.exchanges[0].header("tracestate")


async def test_a_trace_of_the_edge(rig: Rig) -> None:
    """With a collector the edge continues a client's trace, or begins one."""
    engine = await rig.engine()

    async with front(rig, edge={"otlp": "http://127.0.0.1:9"}) as both:
        await send(both.edge, with_lines(f"traceparent: {PARENT}"), close=True)
        await send(both.edge, GOOD, close=True)
    continued, begun = (exchange.header("traceparent") or "" for exchange in engine.exchanges)

    assert PARENT[:35] == continued[:35]
    assert PARENT != continued
    assert 55 == len(begun)
    assert PARENT[:35] != begun[:35]


async def test_an_answer_is_not_held_back(rig: Rig) -> None:
    """A token is at the client before the engine has the next one."""
    first, go = asyncio.Event(), asyncio.Event()

    async def script(exchange: Exchange) -> None:
        frames = answers.chat_frames("m", ("one", "two"), usage=True)
        await exchange.start_stream()
        await exchange.events(*frames[:2])
        first.set()
        await go.wait()
        await exchange.events(*frames[2:])
        await exchange.end_stream()

    await rig.engine(script)
    asked = answers.dump(streamed())
    data = HEAD + b"content-length: %d\r\nconnection: close\r\n\r\n" % len(asked) + asked

    async with front(rig) as both:
        reader, writer = await asyncio.open_connection("127.0.0.1", both.edge.port)
        writer.write(data)
        await first.wait()
        got = b""
        async with asyncio.timeout(20):
            while b'"one"' not in got:
                got += await reader.read(65_536)
        assert b"[DONE]" not in got
        go.set()
        got += await reader.read(-1)
        writer.close()

    assert b"[DONE]" in got


async def test_http3_is_offered(rig: Rig, tmp_path: Path) -> None:
    """With HTTP/3 it listens on UDP, too, and says so in each answer."""
    engine = await rig.engine()
    with socket.socket() as tcp:
        tcp.bind(("127.0.0.1", 0))
        port = tcp.getsockname()[1]

    async with before(engine, http3=True, port=port, tls={"dir": str(tmp_path)}):
        trusted = ssl.create_default_context(cafile=tmp_path / "tls.crt")
        reader, writer = await asyncio.open_connection("localhost", port, ssl=trusted)
        writer.write(GOOD)
        answer = await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()
        with (
            socket.socket(type=socket.SOCK_DGRAM) as udp,
            pytest.raises(OSError, match="Address already in use"),
        ):
            udp.bind(("127.0.0.1", port))

    assert f'alt-svc: h3=":{port}"; ma=86400\r\n'.encode() in answer


async def test_a_client_that_leaves(rig: Rig) -> None:
    """Who hangs up at the edge hangs up at the engine."""
    engine = await rig.engine(answers.hangs)

    async with front(rig) as both:
        _, writer = await asyncio.open_connection("127.0.0.1", both.edge.port)
        writer.write(GOOD)
        exchange = await engine.exchange()
        writer.transport.abort()
        await exchange.wait_closed()
        await rig.idle()
        await eventually(lambda: rig.gateway_now.records[-1].outcome == "client_gone")
