"""
An issuer's public keys: read from a URL or a file, again when time has passed or a token names an
unknown one. What is done with them is tokens.py's.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import aiohttp
import msgspec

from headrace.config.identity import Issuer
from headrace.upstream.trust import context

READ_S = 5.0
# How often it is asked whether it is time: a machine that was suspended has a clock that was, too.
LOOK_S = 15.0
MAX_BYTES = 1024 * 1024
# Kinds of keys that can check a signature in public. `oct` is a shared secret.
PUBLIC = frozenset({"RSA", "EC", "OKP"})


class Log(Protocol):
    """Where events go."""

    def event(self, event: str, **fields: object) -> None: ...


class Keys:
    """The public keys of one issuer by their id; ``""`` is one without an id."""

    def __init__(
        self,
        config: Issuer,
        log: Log,
        lost: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Nothing is read yet. ``lost`` is called when a key is gone: what it signed is not to be
        believed any more. ``clock`` gives seconds since 1970.
        """
        self._clock = clock
        self._config = config
        self._log = log
        self._lost = lost
        self._reading: asyncio.Task[None] | None = None
        self._timer: asyncio.Task[None] | None = None
        self._tried_at = -config.refresh_least_s
        self._trouble = ""
        self.read_at: float | None = None  # monotonic; None before the first good reading
        self.by_id: Mapping[str, Mapping[str, Any]] = {}

    def start(self) -> None:
        """Read them now, and go on reading them. Never fails: tokens are refused meanwhile."""
        self._timer = asyncio.get_running_loop().create_task(self._again())

    async def stop(self) -> None:
        """Read no more."""
        tasks = {task for task in (self._timer, self._reading) if task is not None}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
            await asyncio.sleep(0)  # a connection that was cut closes in the loop's next turn

    @property
    def may_refresh(self) -> bool:
        """Whether a token with an unknown key is a reason to read them again, or to wait for it."""
        waited = time.monotonic() - self._tried_at
        return self._reading is not None or waited >= self._config.refresh_least_s

    def refresh(self) -> "asyncio.Task[None]":
        """Read them now; whoever asks meanwhile gets the same task."""
        if self._reading is None:
            self._tried_at = time.monotonic()
            self._reading = asyncio.get_running_loop().create_task(self._read())
        return self._reading

    async def _again(self) -> None:
        while True:
            await asyncio.shield(self.refresh())
            await self._pause(self._config.refresh_s)

    async def _pause(self, seconds: float) -> None:
        """Until one of two clocks says that so much time has passed: either may stand still."""
        day, steady = self._clock(), time.monotonic()
        left_s = seconds
        while left_s > 0:
            await asyncio.sleep(min(LOOK_S, left_s))
            left_s = seconds - max(self._clock() - day, time.monotonic() - steady)

    async def _read(self) -> None:
        try:
            found = _usable(await self._fetch())
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            why = "no answer in time" if isinstance(error, TimeoutError) else str(error)
            self._fail(why or type(error).__name__)
        else:
            self._take(found)
        finally:
            self._reading = None

    async def _fetch(self) -> bytes:
        if self._config.jwks_file is not None:
            return await asyncio.to_thread(self._config.jwks_file.expanduser().read_bytes)
        timeout = aiohttp.ClientTimeout(total=READ_S)
        url = self._config.jwks or ""
        authority = self._config.tls_ca.expanduser() if self._config.tls_ca is not None else None
        tls = context(authority, verify=True) if url.startswith("https:") else False
        once = aiohttp.TCPConnector(force_close=True)  # minutes pass until the next reading
        async with (
            aiohttp.ClientSession(timeout=timeout, connector=once) as session,
            session.get(url, ssl=tls, allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                raise ValueError(f"it answered {answer.status}")
            data = await answer.content.read(MAX_BYTES + 1)
            while not answer.content.at_eof() and len(data) <= MAX_BYTES:
                data += await answer.content.read(MAX_BYTES + 1)
            if len(data) > MAX_BYTES:
                raise ValueError(f"it is larger than {MAX_BYTES} bytes")
            return data

    def _take(self, found: Mapping[str, Mapping[str, Any]]) -> None:
        gone = any(found.get(name) != key for name, key in self.by_id.items())
        fresh = found != self.by_id
        self.by_id, self.read_at = found, time.monotonic()
        if gone:
            self._lost()
        if fresh or self._trouble:
            self._trouble = ""
            self._log.event("jwks_loaded", issuer=self._config.issuer, keys=sorted(found))

    def _fail(self, why: str) -> None:
        if why != self._trouble:
            self._trouble = why
            self._log.event("jwks_failed", issuer=self._config.issuer, error=why)


def _usable(data: bytes) -> dict[str, dict[str, Any]]:
    """
    The keys that can check signatures.

    Raises:
        ValueError: it is no JWKS (https://www.rfc-editor.org/rfc/rfc7517#section-5), or has none.

    """
    try:
        listed = msgspec.json.decode(data)["keys"]
        keys = {
            str(key.get("kid", "")): key
            for key in listed
            if key.get("kty") in PUBLIC and key.get("use", "sig") == "sig"
        }
    except (msgspec.MsgspecError, KeyError, TypeError, AttributeError):
        raise ValueError("it is no JWKS") from None
    if not keys:
        raise ValueError("it has no public key that could check a signature")
    return keys
