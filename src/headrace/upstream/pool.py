"""
The connections to one replica: taken for one request, given back after a complete answer.

Idle connections are dropped before the engine closes them (vLLM and uvicorn: 5 s), and a reused
connection that died while idle is replaced once by a fresh one, which the caller never sees.
"""

import asyncio
import errno
import ssl
import time
from collections.abc import Sequence
from typing import NamedTuple

from headrace.errors import Overloaded
from headrace.upstream.connection import Broken, Connection, ConnectTimeout, Reply, TakenBack

# uvicorn, and so vLLM, closes a connection that was idle for 5 s (vllm-project/vllm#41567).
IDLE_S = 4.0
# More idle connections than this are never of use: an engine runs some hundred sequences at once.
MAX_IDLE = 1024
# What this machine lacks, not the other one: files, ports, memory.
EXHAUSTED = frozenset({
    errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM,
})  # fmt: skip


class Exhausted(Overloaded):
    """No connection can be opened, whoever it is to: no replica's fault."""

    def __init__(self, reason: str) -> None:
        message = (
            f"The gateway can open no more connections: {reason}. Raise its limit (ulimit -n)."
        )
        super().__init__(message, retry_after_s=1)


class Address(NamedTuple):
    """Where a replica listens. ``tls`` is None for plain HTTP; ``path`` stands before targets."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    path: bytes = b""


class Pool:
    """All connections to one address."""

    def __init__(self, address: Address, connect_s: float) -> None:
        self._address = address
        self._connect_s = connect_s
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()
        self._closed = False
        self._cut = ""  # why whatever is opened from now on is of no use

    async def send(self, head: bytes, body: Sequence[bytes | memoryview]) -> Reply:
        """
        Send a request on an idle connection or a fresh one.

        Raises:
            Broken: the replica could not be reached, or failed before the head of its answer.
            Exhausted: this process can open no connection to anybody.

        """
        if self._address.path:
            head = head.replace(b" /", b" %b/" % self._address.path, 1)
        connection = self._take(time.monotonic())
        if connection is not None:
            try:
                return await connection.send(head, body)
            except Broken as broken:
                if not (broken.untouched and broken.reused):
                    raise
        return await (await self._connect()).send(head, body)

    def sweep(self, now: float) -> None:
        """
        Close what has been idle too long. Called a few times a second; ``now`` is the monotonic
        clock.
        """
        while self._idle and now - self._idle[0].idle_since > IDLE_S:
            self._idle.pop(0).abort()

    def close(self) -> None:
        """Close the idle connections now and the others when they are given back."""
        self._closed = True
        while self._idle:
            self._idle.pop().abort()

    def abort(self) -> None:
        """Close every connection now, busy ones too."""
        self.close()
        for connection in tuple(self._all):
            connection.abort()

    def cut(self, reason: str) -> None:
        """
        End every connection as if the replica had: requests that wait for their first byte, and
        those that would be sent from now on, raise ``TakenBack``; sinks are told that they broke.
        """
        self.close()
        self._cut = reason
        for connection in tuple(self._all):
            connection.cut(reason)

    def give_up(self, reason: str) -> None:
        """Make the requests that wait for their first byte raise ``TakenBack``; answers go on."""
        for connection in tuple(self._all):
            connection.fail(TakenBack(reason))

    def _take(self, now: float) -> Connection | None:
        """The connection that was used last, so that the others can grow old."""
        while self._idle:
            connection = self._idle.pop()
            if now - connection.idle_since <= IDLE_S:
                return connection
            connection.abort()
        return None

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        host, port, tls, _ = self._address
        connection = Connection(loop, self._put, self._lost)
        try:
            async with asyncio.timeout(self._connect_s):
                await loop.create_connection(lambda: connection, host, port, ssl=tls)
        except TimeoutError:
            reason = f"no connection to {host}:{port} within {self._connect_s:g} s"
            raise ConnectTimeout(reason) from None
        except OSError as error:
            reason = error.strerror or type(error).__name__
            if error.errno in EXHAUSTED:
                raise Exhausted(reason) from None
            raise Broken(f"no connection to {host}:{port}: {reason}") from None
        except BaseException:
            connection.discard()
            raise
        if self._cut:
            connection.discard()
            raise TakenBack(self._cut)
        self._all.add(connection)
        return connection

    def _put(self, connection: Connection) -> None:
        if self._closed or len(self._idle) >= MAX_IDLE:
            connection.abort()
        else:
            self._idle.append(connection)

    def _lost(self, connection: Connection) -> None:
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
