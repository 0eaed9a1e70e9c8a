"""
The yardstick: the least an ASGI proxy can do, on uvicorn with an httptools client of its own.
No routing, limits, metrics, logs or retries: what it costs is what ASGI itself costs.
"""

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable
from typing import Any, cast

import httptools

Message = dict[str, Any]

REPLICAS = [
    (host, int(port))
    for host, _, port in (item.partition(":") for item in os.environ["REPLICAS"].split(","))
]
_turns = itertools.cycle(REPLICAS)
_pools: dict[tuple[str, int], list["Upstream"]] = {replica: [] for replica in REPLICAS}


class Upstream(asyncio.Protocol):
    """A keep-alive connection to a replica; what it receives becomes ASGI messages in a queue."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.messages: asyncio.Queue[Message | None] = asyncio.Queue()
        self.headers: list[tuple[bytes, bytes]] = []
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def connection_lost(self, _exc: Exception | None) -> None:
        self.transport = None
        self.messages.put_nowait(None)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() not in {b"transfer-encoding", b"date", b"server"}:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status, headers = self.parser.get_status_code(), self.headers
        self.headers = []
        start = {"type": "http.response.start", "status": status, "headers": headers}
        self.messages.put_nowait(start)

    def on_body(self, body: bytes) -> None:
        self.messages.put_nowait({"type": "http.response.body", "body": body, "more_body": True})

    def on_message_complete(self) -> None:
        self.messages.put_nowait({"type": "http.response.body", "body": b"", "more_body": False})


async def app(
    scope: Message,
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """One request to the next replica in turn, and its answer back as it comes."""
    if scope["type"] != "http":
        return
    body = bytearray()
    while (message := await receive())["type"] == "http.request":
        body += message["body"]
        if not message["more_body"]:
            break
    replica = next(_turns)
    upstream = await _connection(replica)
    head = f"{scope['method']} {scope['path']} HTTP/1.1\r\nhost: {replica[0]}:{replica[1]}\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    assert upstream.transport is not None
    upstream.transport.write(head.encode() + body)
    try:
        while (answer := await upstream.messages.get()) is not None:
            await send(answer)
            if answer.get("more_body") is False:
                _pools[replica].append(upstream)
                return
    except BaseException:
        if upstream.transport is not None:
            upstream.transport.abort()
        raise


async def _connection(replica: tuple[str, int]) -> Upstream:
    pool = _pools[replica]
    while pool:
        upstream = pool.pop()
        if upstream.transport is not None:
            return upstream
    _, upstream = await asyncio.get_running_loop().create_connection(Upstream, *replica)
    return upstream
