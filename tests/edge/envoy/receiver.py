"""A collector for Envoy: unary gRPC over HTTP/2 without TLS, which is all that it speaks."""

import asyncio
from collections.abc import Callable
from typing import Self, cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded

PREFIX = 5  # a flag for compression and a length of four bytes stand before each message


class Receiver:
    """Hands each message to ``take``."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Transport] = set()
        self.url = ""

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Link(self), "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for link in [*self._links]:
            link.abort()


class Link(asyncio.Protocol):
    """One connection."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._h2 = H2Connection(H2Configuration(client_side=False))
        self._bodies: dict[int, bytes] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        self._receiver._links.add(self._transport)
        self._h2.initiate_connection()
        self._transport.write(self._h2.data_to_send())

    def connection_lost(self, _exc: Exception | None) -> None:
        self._receiver._links.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        for event in self._h2.receive_data(data):
            if isinstance(event, RequestReceived):
                self._bodies[event.stream_id] = b""
            elif isinstance(event, DataReceived):
                self._bodies[event.stream_id] += event.data
                size = event.flow_controlled_length
                self._h2.acknowledge_received_data(size, event.stream_id)
            elif isinstance(event, StreamEnded):
                self._answer(event.stream_id)
        self._transport.write(self._h2.data_to_send())

    def _answer(self, stream: int) -> None:
        body = self._bodies.pop(stream)
        size = int.from_bytes(body[1:PREFIX], "big")
        self._receiver._take(body[PREFIX : PREFIX + size])
        kind = ("content-type", "application/grpc")
        self._h2.send_headers(stream, [(":status", "200"), kind])
        self._h2.send_data(stream, bytes(PREFIX))
        self._h2.send_headers(stream, [("grpc-status", "0")], end_stream=True)
