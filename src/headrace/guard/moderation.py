"""A classifier behind OpenAI's moderation API: asked with our own HTTP client, one text a time."""

import ssl
from urllib.parse import urlsplit

import msgspec

from headrace.config.guards import Moderation as Settings
from headrace.guard.types import Unavailable
from headrace.upstream.connection import Broken
from headrace.upstream.pool import Address, Exhausted, Pool
from headrace.upstream.whole import whole

MAX_BYTES = 1024 * 1024  # of its answer
CONNECT_S = 2.0
FLAGGED = "FLAGGED"


class _Result(msgspec.Struct):
    flagged: bool
    categories: dict[str, bool | None] = {}


class _Answer(msgspec.Struct):
    results: list[_Result]


_answer = msgspec.json.Decoder(_Answer)


class Moderation:
    """One endpoint. ``close`` ends its connections."""

    def __init__(self, settings: Settings) -> None:
        """``settings`` have a url."""
        parts = urlsplit(settings.url or "")
        tls = ssl.create_default_context() if parts.scheme == "https" else None
        port = parts.port or (443 if tls else 80)
        self._model = settings.model
        self._pool = Pool(Address(parts.hostname or "", port, tls), CONNECT_S)
        key = settings.api_key.get_secret_value() if settings.api_key is not None else ""
        auth = f"authorization: Bearer {key}\r\n" if key else ""
        self._head = (
            f"POST {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\n"
            f"accept-encoding: identity\r\ncontent-type: application/json\r\n{auth}"
        ).encode("latin-1")

    async def find(self, text: str) -> list[str]:
        """
        The categories that it flags; none for a text that may pass.

        Raises:
            Unavailable: it did not answer, or not in this form.

        """
        asked: dict[str, str] = {"input": text}
        if self._model:
            asked["model"] = self._model
        body = msgspec.json.encode(asked)
        head = self._head + b"content-length: %d\r\n\r\n" % len(body)
        try:
            reply = await self._pool.send(head, (body,))
            try:
                answer = await whole(reply, MAX_BYTES)
            finally:
                reply.connection.release()
        except Broken as broken:
            raise Unavailable(broken.reason) from None
        except Exhausted as ours:
            raise Unavailable(ours.message) from None
        if reply.status != 200:
            raise Unavailable(f"it answered {reply.status}")
        try:
            results = _answer.decode(answer).results
        except msgspec.MsgspecError:
            raise Unavailable("it answered something else than moderations") from None
        return [name for result in results if result.flagged for name in _categories(result)]

    def close(self) -> None:
        """End the connections."""
        self._pool.abort()


def _categories(result: _Result) -> list[str]:
    """Those of a flagged text; their names come from afar, and become labels."""
    named = [name for name, flagged in result.categories.items() if flagged]
    return named[:8] or [FLAGGED]
