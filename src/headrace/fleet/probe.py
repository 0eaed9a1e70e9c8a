"""
What the gateway itself asks a replica: its health, its metrics, one token. On own connections.

What follows from the answers is health.py's. These requests are nobody's: they hold no lease, have
no record and count in no request metric.
"""

import asyncio
import time
from email.utils import parsedate_to_datetime
from functools import lru_cache

import msgspec

from headrace.fleet.registry import Replica
from headrace.upstream.connection import Broken, ConnectTimeout
from headrace.upstream.pool import Exhausted, Pool
from headrace.upstream.whole import whole

MAX_BYTES = 8 * 1024 * 1024  # of an answer; beyond it the connection is closed
# Endpoints to warm a model with, until one takes it: a model that embeds completes nothing.
FIRST_TOKEN: tuple[tuple[str, dict[str, object]], ...] = (
    ("/v1/completions", {"prompt": "Hello", "max_tokens": 1, "temperature": 0}),
    (
        "/v1/chat/completions",
        {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1, "temperature": 0},
    ),
    ("/v1/embeddings", {"input": "Hello"}),
)
# A replica that answers so is alive; it is our key or our share that is wrong, not its health.
REFUSED = frozenset({401, 403, 429})


class Failed(Exception):
    """
    The replica did not pass; the text says why. ``slow``: it had not answered in time; ``unasked``:
    we could not even ask.
    """

    def __init__(self, reason: str, *, slow: bool = False, unasked: bool = False) -> None:
        super().__init__(reason)
        self.slow = slow
        self.unasked = unasked


class Probe:
    """Asks one replica."""

    def __init__(self, replica: Replica, connect_s: float) -> None:
        self._replica = replica
        self._pool = Pool(replica.address, connect_s)
        self.took_s = 0.0  # to answer the latest GET /health that was good
        self.skew_s: float | None = None  # its clock before ours, of answers that tell a date

    async def health(self, timeout_s: float) -> None:
        """
        ``GET /health``. Engines without it answer 404, which is an answer.

        Raises:
            Failed: no answer in time, or a status of 500 or above.

        """
        began = time.monotonic()
        status, _ = await self._ask("GET", "/health", b"", timeout_s)
        if status >= 500:
            raise Failed(f"GET /health was answered {status}")
        self.took_s = time.monotonic() - began

    async def metrics(self, timeout_s: float) -> bytes | None:
        """
        ``GET /metrics``; None when the engine has none.

        Raises:
            Failed: no answer in time.

        """
        status, body = await self._ask("GET", "/metrics", b"", timeout_s)
        return body if status == 200 else None

    async def first_token(self, timeout_s: float) -> None:
        """
        Let it answer one token with its first model, by whichever endpoint that model takes.

        Raises:
            Failed: no answer in time, or a status of 500 or above.

        """
        model = next(iter(self._replica.serves.values()))
        for path, fields in FIRST_TOKEN:
            body = msgspec.json.encode({"model": model, **fields})
            status, _ = await self._ask("POST", path, body, timeout_s)
            if status >= 500 and status != 501:
                raise Failed(f"its first token, asked by {path}, was answered {status}")
            if status < 400 or status in REFUSED:
                return

    def sweep(self, now: float) -> None:
        """Close what was idle too long."""
        self._pool.sweep(now)

    def close(self) -> None:
        """Close its connections."""
        self._pool.abort()

    async def _ask(
        self, method: str, path: str, body: bytes, timeout_s: float
    ) -> tuple[int, bytes]:
        json = "content-type: application/json\r\n" if body else ""
        head = f"{method} {path} HTTP/1.1\r\n".encode() + self._replica.head
        head += f"user-agent: headrace\r\n{json}content-length: {len(body)}\r\n\r\n".encode()
        what = f"{method} {path}"
        try:
            async with asyncio.timeout(timeout_s):
                reply = await self._pool.send(head, (body,))
                self._compare(reply.header(b"date"))
                try:
                    return reply.status, await whole(reply, MAX_BYTES)
                finally:
                    reply.connection.release()
        except TimeoutError:
            raise Failed(f"{what} was not answered within {timeout_s:g} s", slow=True) from None
        except Broken as broken:
            # A full queue of connections is as slow as a full queue behind it.
            slow = isinstance(broken, ConnectTimeout)
            raise Failed(f"{what}: {broken.reason}", slow=slow) from None
        except Exhausted as ours:
            raise Failed(ours.message, unasked=True) from None

    def _compare(self, date: bytes) -> None:
        """
        How far its clock is from ours. A date has whole seconds and may have been made up to one
        second ago (servers keep it), so that less than two seconds are no difference.
        """
        theirs = _seconds(date) if date else None
        if theirs is not None:
            self.skew_s = theirs - time.time()


@lru_cache(16)
def _seconds(date: bytes) -> float | None:
    """A date as s since 1970; in one second all replicas of a fleet say the same one."""
    try:
        return parsedate_to_datetime(date.decode("latin-1")).timestamp()
    except ValueError:
        return None
