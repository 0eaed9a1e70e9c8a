"""
An endpoint of others that we ask by ourselves, JSON in and JSON out: embeddings, moderations.
Requests of clients never go this way.
"""

import ssl
from urllib.parse import urlsplit

from pydantic import SecretStr

from headrace.upstream.connection import Broken
from headrace.upstream.pool import Address, Exhausted, Pool
from headrace.upstream.whole import whole

CONNECT_S = 2.0


class Unanswered(Exception):
    """It gave no answer; the text says why."""


class Endpoint:
    """One URL, with connections of its own. ``close`` ends them."""

    def __init__(self, url: str, api_key: SecretStr | None, max_bytes: int) -> None:
        """``max_bytes`` of an answer are read; a larger one is none."""
        parts = urlsplit(url)
        tls = ssl.create_default_context() if parts.scheme == "https" else None
        port = parts.port or (443 if tls else 80)
        self._pool = Pool(Address(parts.hostname or "", port, tls), CONNECT_S)
        self._max_bytes = max_bytes
        key = api_key.get_secret_value() if api_key is not None else ""
        auth = f"authorization: Bearer {key}\r\n" if key else ""
        self._head = (
            f"POST {parts.path or '/'} HTTP/1.1\r\nhost: {parts.netloc}\r\n"
            f"accept-encoding: identity\r\ncontent-type: application/json\r\n{auth}"
        ).encode("latin-1")

    async def ask(self, body: bytes) -> bytes:
        """
        What it answers to this body, if that is a 200. The caller sets the time-out.

        Raises:
            Unanswered: it could not be reached, broke, or answered something else.

        """
        head = b"%bcontent-length: %d\r\n\r\n" % (self._head, len(body))
        try:
            reply = await self._pool.send(head, (body,))
            try:
                answer = await whole(reply, self._max_bytes)
            finally:
                reply.connection.release()
        except Broken as broken:
            raise Unanswered(broken.reason) from None
        except Exhausted as ours:
            raise Unanswered(ours.message) from None
        if reply.status != 200:
            raise Unanswered(f"it answered {reply.status}")
        return answer

    def close(self) -> None:
        """End the connections."""
        self._pool.abort()
