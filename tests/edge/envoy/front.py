"""
A gateway with real Envoy before it, and the two doors to it: through the edge, and past it.

Both doors speak plain HTTP, so that an attack's bytes are what arrives.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from headrace.config.schema import Config
from headrace.edge.process import EdgeProcess
from tests.edge.rig import Rig, ask

EDGE = {"port": 0, "workers": 1, "tls": {"enabled": False}}
PATIENCE_S = 30.0

BODY = json.dumps(ask()).encode()
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\n"
LENGTH = b"content-length: %d\r\n\r\n" % len(BODY)
GOOD = HEAD + LENGTH + BODY


@dataclass(frozen=True, slots=True)
class Door:
    """A way in."""

    name: str
    port: int


@dataclass(slots=True)
class Front:
    """Envoy before the gateway of a rig; what it told."""

    rig: Rig
    process: EdgeProcess
    events: list[tuple[str, dict[str, Any]]]

    @property
    def edge(self) -> Door:
        return Door("edge", self.process.port)

    @property
    def gateway(self) -> Door:
        return Door("gateway", self.rig.gateway_now.port)

    @property
    def doors(self) -> tuple[Door, Door]:
        return self.edge, self.gateway

    def told(self, name: str) -> list[dict[str, Any]]:
        return [fields for event, fields in self.events if event == name]

    async def well(self) -> None:
        """Demand that both doors still work, and that nothing of an attack is held."""
        for door in self.doors:
            assert [200] == statuses(await send(door, GOOD, close=True)), door
        await self.rig.idle()


@asynccontextmanager
async def front(
    rig: Rig, *, edge: Mapping[str, Any] | None = None, **sections: Any
) -> AsyncIterator[Front]:
    """Start both, one before the other."""
    gateway = await rig.gateway(**sections)
    events: list[tuple[str, dict[str, Any]]] = []
    tree = {"edge": {**EDGE, **(edge or {})}, **sections}
    config = Config.model_validate(tree)
    process = EdgeProcess(config, lambda name, **fields: events.append((name, fields)))
    try:
        await process.start(gateway.port)
        yield Front(rig, process, events)
    finally:
        await process.stop()


async def send(
    door: Door, data: bytes, *, close: bool = False, patience_s: float = PATIENCE_S
) -> bytes:
    """
    What comes back until the other side ends the connection; ``close`` asks it to, after an answer.

    Raises:
        TimeoutError: it did not end it.

    """
    if close:
        data = re.sub(rb"(\r?\n)", rb"\1connection: close\1", data, count=1)
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    try:
        async with asyncio.timeout(patience_s):
            writer.write(data)
            return await read(reader)
    finally:
        writer.transport.abort()


async def read(reader: asyncio.StreamReader) -> bytes:
    """Up to the end, however it comes: what was read stays read when the other side resets."""
    found = b""
    try:
        while data := await reader.read(65_536):
            found += data
    except ConnectionError:
        pass
    return found


def statuses(answer: bytes) -> list[int]:
    """The statuses of all answers in it."""
    lines = answer.split(b"\r\n")
    return [int(line.split(b" ")[1]) for line in lines if line.startswith(b"HTTP/1.1 ")]


def error(answer: bytes) -> dict[str, Any]:
    """The error in an answer's body, OpenAI's or Anthropic's."""
    found: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
    inner: dict[str, Any] = found["error"]
    return inner
