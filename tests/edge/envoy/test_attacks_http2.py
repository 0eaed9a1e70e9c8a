"""HTTP/2's own attacks, against the edge: the gateway speaks HTTP/1.1 and never sees a frame."""

import asyncio
import contextlib
import socket
import ssl
from contextlib import suppress
from typing import Any, cast

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import hyperframe.frame
import pytest

from tests.edge.envoy.front import BODY, Front, front
from tests.edge.rig import Rig, eventually

Lines = list[tuple[str, str]]
POST: Lines = [
    (":method", "POST"),
    (":scheme", "http"),
    (":authority", "h"),
    (":path", "/v1/chat/completions"),
    ("content-type", "application/json"),
]
CLOSED = "closed"


class Caller:
    """An HTTP/2 client that sends what it is told, right or wrong."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        config = h2.config.H2Configuration(
            validate_outbound_headers=False, normalize_outbound_headers=False
        )
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.statuses: dict[int, int] = {}
        self.ended: dict[int, str] = {}
        self.flush()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def to(
        cls, port: int, context: ssl.SSLContext | None = None, *, narrow: bool = False
    ) -> "Caller":
        """``narrow``: what it does not read soon fills the other side's buffers."""
        name = "localhost" if context else None
        plain = socket.socket()
        plain.setblocking(False)
        if narrow:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", port))
        return cls(*await asyncio.open_connection(sock=plain, ssl=context, server_hostname=name))

    @property
    def gone(self) -> bool:
        """Whether the other side has ended the connection."""
        return self._reading.done()

    def flush(self) -> None:
        if not self.writer.transport.is_closing():
            self.writer.write(self.h2.data_to_send())

    def start(self, lines: Lines, *, end: bool = False) -> int:
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, lines, end_stream=end)
        return stream

    async def ask(self, lines: Lines, body: bytes) -> int | str:
        """The status of an answer; how the stream ended without one; or that all has ended."""
        stream = self.start(lines, end=not body)
        if body:
            self.h2.send_data(stream, body, end_stream=True)
        self.flush()
        await eventually(lambda: stream in self.ended or self.gone)
        return self.statuses.get(stream, self.ended.get(stream, CLOSED))

    async def close(self) -> None:
        self.writer.transport.abort()
        with suppress(ConnectionError):
            await self._reading

    async def _read(self) -> None:
        with suppress(ConnectionError):
            while data := await self.reader.read(65_536):
                self._take(data)

    def _take(self, data: bytes) -> None:
        with suppress(h2.exceptions.ProtocolError):  # about frames that h2 did not write
            for event in self.h2.receive_data(data):
                self._note(event)
        self.flush()

    def _note(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ResponseReceived) and event.stream_id is not None:
            found: dict[Any, Any] = dict(event.headers or [])
            self.statuses[event.stream_id] = int(found[b":status"])
        if isinstance(event, h2.events.StreamReset) and event.stream_id is not None:
            self.ended[event.stream_id] = "reset"
        if isinstance(event, h2.events.StreamEnded) and event.stream_id is not None:
            self.ended[event.stream_id] = "ended"
        if isinstance(event, h2.events.ConnectionTerminated):
            self.writer.transport.close()


async def test_http2_works(rig: Rig) -> None:
    """A well-formed request is answered."""
    await rig.engine()

    async with front(rig) as both:
        caller = await Caller.to(both.edge.port)
        assert 200 == await caller.ask(POST, BODY)
        await caller.close()


async def test_tls_offers_http2(rig: Rig, tmp_path: Any) -> None:
    """Over TLS both versions are offered; the self-signed certificate is for localhost."""
    await rig.engine()

    async with front(rig, edge={"tls": {"dir": str(tmp_path)}}) as both:
        context = ssl.create_default_context(cafile=both.process.cert)
        context.set_alpn_protocols(["h2"])
        caller = await Caller.to(both.edge.port, context)
        chosen = caller.writer.get_extra_info("ssl_object").selected_alpn_protocol()
        answer = await caller.ask(POST, BODY)
        await caller.close()

    assert ("h2", 200) == (chosen, answer)


async def flood(both: Front, *, whole: bool) -> None:
    """Begin requests and reset each at once, until the connection ends."""
    caller = await Caller.to(both.edge.port)
    await eventually(lambda: bool(caller.h2.remote_settings))
    for _ in range(2000):
        stream = caller.start(POST)
        if whole:
            caller.h2.send_data(stream, BODY, end_stream=True)
        caller.h2.reset_stream(stream)
        caller.flush()
        if caller.gone:
            break
        await asyncio.sleep(0)
    await eventually(lambda: caller.gone)
    await caller.close()


@pytest.mark.parametrize("whole", [False, True], ids=["heads", "whole requests"])
async def test_rapid_reset(rig: Rig, *, whole: bool) -> None:
    """
    A client that resets what it has just asked is cut off (CVE-2023-44487): of its heads the
    gateway sees none, of its whole requests no more than the limit.
    """
    engine = await rig.engine()

    async with front(rig, edge={"limits": {"max_resets": 20}}) as both:
        await flood(both, whole=whole)
        await rig.idle()
        reached = len(rig.gateway_now.records)
        await both.well()

    assert reached <= (40 if whole else 0)
    assert len(engine.exchanges) <= reached + 2


def continuations(caller: Caller) -> None:
    """One head in frames without end (CVE-2024-27316)."""
    stream = caller.h2.get_next_available_stream_id()
    block = caller.h2.encoder.encode([(name.encode(), value.encode()) for name, value in POST])
    caller.writer.write(hyperframe.frame.HeadersFrame(stream, block).serialize())
    filler = b"\x00\x01x" + b"\x7f\xa0\x1f" + b"y" * 4127  # a literal header of its own
    caller.writer.write(hyperframe.frame.ContinuationFrame(stream, filler).serialize() * 500)


def pings(caller: Caller) -> None:
    caller.writer.write(hyperframe.frame.PingFrame(0, b"12345678").serialize() * 50_000)


def settings(caller: Caller) -> None:
    caller.writer.write(hyperframe.frame.SettingsFrame(0).serialize() * 50_000)


def no_frames(caller: Caller) -> None:
    caller.writer.write(b"\xff" * 1000)


@pytest.mark.parametrize("attack", [continuations, pings, settings, no_frames])
async def test_floods_of_frames(rig: Rig, attack: Any) -> None:
    """Frames that ask for work and carry no request end the connection; the gateway hears none."""
    await rig.engine()

    async with front(rig) as both:
        caller = await Caller.to(both.edge.port, narrow=True)
        transport = cast(asyncio.Transport, caller.writer.transport)
        transport.pause_reading()  # answers pile up at the edge
        attack(caller)
        with contextlib.suppress(AssertionError):  # it takes all of it, or has ended already
            await eventually(lambda: not transport.get_write_buffer_size(), timeout_s=5)
        await asyncio.sleep(0.3)
        transport.resume_reading()
        try:
            await eventually(lambda: caller.gone, timeout_s=30)
        finally:
            await caller.close()
        records = len(rig.gateway_now.records)
        await both.well()

    assert 0 == records


WRONG: dict[str, tuple[Lines, bytes]] = {
    "a length that is too long": ([*POST, ("content-length", str(len(BODY) + 9))], BODY),
    "a length that is too short": ([*POST, ("content-length", "5")], BODY),
    "a coding": ([*POST, ("transfer-encoding", "chunked")], b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
    "a line end in a value": ([*POST, ("x", "a\r\ntransfer-encoding: chunked")], BODY),
    "a line end in a name": ([*POST, ("x: y\r\nz", "a")], BODY),
    "a line end in the path": ([*POST[:3], (":path", "/ HTTP/1.1\r\nx: y")], BODY),
    "a space in the method": ([(":method", "GET /metrics HTTP/1.1"), *POST[1:]], BODY),
    "capitals in a name": ([*POST, ("X-Test", "a")], BODY),
    "an underscore in a name": ([*POST, ("x_test", "a")], BODY),
    "a connection header": ([*POST, ("connection", "content-length")], BODY),
    "no path": ([line for line in POST if line[0] != ":path"], BODY),
    "two paths": ([*POST[:4], (":path", "/metrics"), *POST[4:]], BODY),
    "300 headers": ([*POST, *[(f"x{number}", "y") for number in range(300)]], BODY),
    "a large header": ([*POST, ("x", "y" * 100_000)], BODY),
}


async def alone(port: int, lines: Lines, body: bytes) -> int | str:
    """One request on a connection of its own."""
    caller = await Caller.to(port)
    try:
        return await caller.ask(lines, body)
    finally:
        await caller.close()


async def test_wrong_requests(rig: Rig) -> None:
    """What would become another request in HTTP/1.1 never reaches the gateway."""
    engine = await rig.engine()

    async with front(rig) as both:
        answers = [alone(both.edge.port, *attack) for attack in WRONG.values()]
        found = dict(zip(WRONG, await asyncio.gather(*answers), strict=True))
        records = len(rig.gateway_now.records)
        reached = len(engine.exchanges)
        await both.well()

    refused = {400, 431, "reset", CLOSED}
    assert {} == {name: answer for name, answer in found.items() if answer not in refused}
    assert (0, 0) == (records, reached)
