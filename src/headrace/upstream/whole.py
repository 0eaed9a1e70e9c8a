"""A whole answer in memory, for requests of our own: probes, embeddings. Relays never use it."""

import asyncio

from headrace.upstream.connection import Broken, Reply


async def whole(reply: Reply, max_bytes: int) -> bytes:
    """
    The answer's body.

    Raises:
        Broken: it ended too soon, or is larger than ``max_bytes``.

    """
    if not reply.complete:
        rest = _Rest(reply.body, max_bytes)
        reply.connection.attach(rest)
        return await rest.done
    if len(reply.body) > max_bytes:
        raise Broken(_too_large(max_bytes))
    return reply.body


class _Rest:
    """Collects the rest of an answer (``Sink``)."""

    def __init__(self, first: bytes, max_bytes: int) -> None:
        self._parts = [first]
        self._size = len(first)
        self._max_bytes = max_bytes
        self.done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def data(self, data: bytes) -> None:
        self._parts.append(data)
        self._size += len(data)
        if self._size > self._max_bytes:
            self.broken(_too_large(self._max_bytes))

    def end(self, data: bytes) -> None:
        self._parts.append(data)
        if not self.done.done():
            self.done.set_result(b"".join(self._parts))

    def broken(self, reason: str) -> None:
        if not self.done.done():
            self.done.set_exception(Broken(reason))


def _too_large(max_bytes: int) -> str:
    return f"its answer is larger than {max_bytes} bytes"
