"""
A relay that makes a right gateway wrong in one way: it stands between clients and the gateway.

What it spoils is a function on the bytes of either direction, or a way to treat connections. All
replacements keep the length, so that the framing around them stays right.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit


def swap(*pairs: tuple[bytes, bytes]) -> Callable[[bytes], bytes]:
    """Replace these words by those."""
    for old, new in pairs:
        assert len(old) == len(new), (old, new)

    def spoil(data: bytes) -> bytes:
        for old, new in pairs:
            data = data.replace(old, new)
        return data

    return spoil


def same(data: bytes) -> bytes:
    return data


def never(_request: bytes) -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoil:
    """
    What is spoiled.

    ``deaf`` says, given what the client sent, that its leaving is not passed on; ``again`` that a
    refusal is tried once more; ``hold`` keeps an answer back until it holds these bytes;
    ``hangs_up`` closes the client's connection after its first answer; ``left`` is called when a
    client leaves before its answer began.
    """

    request: Callable[[bytes], bytes] = same
    response: Callable[[bytes], bytes] = same
    deaf: Callable[[bytes], bool] = never
    again: bytes | None = None
    hold: bytes | None = None
    hangs_up: bool = False
    left: Callable[[], None] | None = None


class Spoiler:
    """The relay itself; ``terminate`` and ``ended`` make it a gateway that can be stopped."""

    def __init__(self, upstream: str, spoil: Spoil) -> None:
        parts = urlsplit(upstream)
        self._upstream = (parts.hostname, parts.port)
        self._spoil = spoil
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def terminate(self) -> None:
        """End as a process does that is killed."""
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def ended(self, timeout_s: float) -> bool:
        return True

    async def stop(self) -> None:
        self.terminate()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            upstream = await asyncio.open_connection(*self._upstream)
            self._writers.append(upstream[1])
            await Link(self._spoil, (reader, writer), upstream).run()
        writer.transport.abort()
        self._tasks.discard(task)


class Link:
    """One client's connection, and its connection to the gateway."""

    def __init__(
        self,
        spoil: Spoil,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._spoil = spoil
        self._client = client
        self._upstream = upstream
        self._sent = b""
        self._repeated = False
        self._answered = False

    async def run(self) -> None:
        back = asyncio.create_task(self._back())
        try:
            await self._forth()
            if self._spoil.left is not None and not self._answered:
                self._spoil.left()
            if self._spoil.deaf(self._sent):
                await asyncio.sleep(5)
        finally:
            back.cancel()
            await asyncio.gather(back, return_exceptions=True)
            self._upstream[1].transport.abort()

    async def _forth(self) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await self._client[0].read(1 << 18):
                self._sent = (self._sent + data)[-(1 << 16) :]
                self._upstream[1].write(self._spoil.request(data))
                await self._upstream[1].drain()

    async def _back(self) -> None:
        held = b""
        with contextlib.suppress(ConnectionError):
            while data := await self._upstream[0].read(1 << 18):
                if self._repeats(data):
                    continue
                self._answered = True
                held += self._spoil.response(data)
                whole = b"event-stream" not in held or (self._spoil.hold or b"") in held
                if whole:
                    self._client[1].write(held)
                    await self._client[1].drain()
                    held = b""
                if self._spoil.hangs_up:
                    break
        with contextlib.suppress(ConnectionError, RuntimeError):
            self._client[1].write(held)
            self._client[1].close()

    def _repeats(self, data: bytes) -> bool:
        """Whether this answer is thrown away, and its request sent again."""
        if self._spoil.again is None or self._repeated or not data.startswith(self._spoil.again):
            return False
        self._repeated = True
        self._upstream[1].write(self._sent)
        return True
