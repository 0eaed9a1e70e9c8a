"""A running simulator for tests, and a client so plain that it shows how an answer really ends."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from headrace.config.simulator import Simulator
from headrace.engines.sim.server import Server

RECORDED = Path(__file__).parent / "recorded"
WAIT_S = 20.0
HELLO = [{"role": "user", "content": "Hello, who are you?"}]


@asynccontextmanager
async def simulator(**settings: Any) -> AsyncIterator[Server]:
    """Replicas on free ports; 1,000 times faster than the GPU unless it is said otherwise."""
    server = Server(Simulator(**{"port": 0, "speed": 1000, **settings}))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@dataclass
class Answer:
    """What came, and how it ended: ``whole``, ``eof`` (closed too early) or ``reset``."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    ended: str = "whole"

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def data(self) -> list[Any]:
        """The JSON of each event but the end mark."""
        found = re.findall(rb"^data: (.*)$", self.body, re.MULTILINE)
        return [json.loads(value) for value in found if value != b"[DONE]"]

    @property
    def events(self) -> list[str]:
        """The names of the events."""
        return [name.decode() for name in re.findall(rb"^event: (.*)$", self.body, re.MULTILINE)]


@dataclass
class Client:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    ended: str = field(default="whole")

    @classmethod
    async def to(cls, url: str) -> Self:
        parts = urlsplit(url)
        return cls(*await asyncio.open_connection(parts.hostname, parts.port))

    def send(self, path: str, body: object = None, method: str | None = None) -> None:
        """Write one request."""
        payload = b"" if body is None else body if isinstance(body, bytes) else _encoded(body)
        method = method or ("GET" if body is None else "POST")
        head = f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(payload)}\r\n\r\n"
        self.writer.write(head.encode() + payload)

    async def head(self) -> Answer:
        """Read an answer's head."""
        async with asyncio.timeout(WAIT_S):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(": ") for line in lines[1:] if line)
        return Answer(int(lines[0].split()[1]), {name: value for name, _, value in pairs})

    async def answer(self) -> Answer:
        """Read an answer to its end, however it ends."""
        try:
            found = await self.head()
        except asyncio.IncompleteReadError:
            return Answer(0, {}, ended="eof")
        except ConnectionResetError:
            return Answer(0, {}, ended="reset")
        async with asyncio.timeout(WAIT_S):
            try:
                await self._body(found)
            except asyncio.IncompleteReadError as error:
                found.body += error.partial
                found.ended = "eof"
            except ConnectionResetError:
                found.ended = "reset"
        return found

    async def _body(self, found: Answer) -> None:
        if "transfer-encoding" not in found.headers:
            found.body = await self.reader.readexactly(int(found.headers["content-length"]))
            return
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            found.body += (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readexactly(2)

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:  # the server broke it first
            return


def _encoded(body: object) -> bytes:
    return json.dumps(body).encode()


async def ask(url: str, path: str, body: object = None, method: str | None = None) -> Answer:
    """One request on a connection of its own."""
    client = await Client.to(url)
    client.send(path, body, method)
    found = await client.answer()
    await client.close()
    return found


def chat(**fields: Any) -> dict[str, Any]:
    """A chat request of five tokens."""
    return {"messages": HELLO, "max_tokens": 5, "ignore_eos": True, **fields}


async def metric(url: str, sample: str) -> float:
    """The value of a sample, named with those of its labels that matter."""
    name, _, label = sample.partition("{")
    page = (await ask(url, "/metrics")).body.decode()
    for line in page.splitlines():
        if line.startswith(f"vllm:{name}{{") and label.rstrip("}") in line:
            return float(line.rpartition(" ")[2])
    raise AssertionError(f"no {sample} in {page}")


async def until(url: str, sample: str, value: float) -> None:
    """Wait until a metric has a value."""
    async with asyncio.timeout(WAIT_S):
        while await metric(url, sample) != value:  # noqa: ASYNC110 - it is asked over HTTP
            await asyncio.sleep(0.005)
