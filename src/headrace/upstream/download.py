"""
A file from somebody else's server, by a URL that a client named: the address is checked after it
was resolved and is the one that is asked, each redirect is checked anew, and size, time and type
have limits. Nothing of the client's request goes with it, and no connection is used twice.
"""

import asyncio
import re
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple
from urllib.parse import quote, urljoin, urlsplit

from headrace import __version__
from headrace.config.media import Media
from headrace.errors import HeadraceError
from headrace.upstream.connection import Broken, Connection, Reply
from headrace.upstream.reach import Reach
from headrace.upstream.trust import context

REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Of a name's addresses, those that are tried.
MAX_ADDRESSES = 3
_SAFE = "%/:=&?~+!$,;'@()*[]|"  # may stand in a path or a query as they are
_ODD = re.compile(r"[\x00-\x20\x7f\\]")
_TYPE = re.compile(rb"[a-z0-9!#$&^_.+-]{1,64}/[a-z0-9!#$&^_.+-]{1,64}")
_HEAD = (
    "GET {target} HTTP/1.1\r\nhost: {host}\r\nuser-agent: headrace/{version}\r\naccept: */*\r\n"
    "accept-encoding: identity\r\nconnection: close\r\n\r\n"
)

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a name."""

Allows = Callable[[str], bool]
"""Whether a host may be asked."""

Grow = Callable[[int], None]
"""Hears that so many bytes more are held; raises a HeadraceError to end the download."""


class File(NamedTuple):
    """What was fetched."""

    kind: str
    data: bytes
    seconds: float


class Unfetched(Exception):
    """
    It could not be fetched, or may not be; ``outcome`` is the word for metrics, the text half a
    sentence that tells nothing of what is inside the network.
    """

    def __init__(self, outcome: str, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome


class Link(NamedTuple):
    """A URL, understood."""

    secure: bool
    host: str
    port: int
    target: str

    @property
    def netloc(self) -> str:
        """What stands in the header `host`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"


def link(url: str) -> Link:
    """
    Read a URL.

    Raises:
        Unfetched: it is no http(s) URL, or one that programs read in different ways.

    """
    url = url.strip()
    try:
        parts = urlsplit("" if _ODD.search(url) else url)
        host = (parts.hostname or "").rstrip(".")
        port = parts.port
        name = host if host.isascii() else host.encode("idna").decode("ascii")
    except (ValueError, UnicodeError):
        raise Unfetched("refused", "is no URL") from None
    if parts.scheme not in {"http", "https"} or not name or "%" in name:
        raise Unfetched("refused", "is no http(s) URL")
    if "@" in parts.netloc:
        raise Unfetched("refused", "has a user in its URL")
    secure = parts.scheme == "https"
    path = quote(parts.path or "/", safe=_SAFE)
    query = f"?{quote(parts.query, safe=_SAFE)}" if parts.query else ""
    return Link(secure, name, port or (443 if secure else 80), path + query)


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name, as this machine sees it."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(each[4][0]) for each in found]


class Download:
    """Fetches files; ``allows`` says from which hosts."""

    def __init__(
        self,
        config: Media,
        allows: Allows,
        resolve: Resolve = resolve,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """``tls`` says whose certificates are believed; by default those of the system."""
        self._config = config
        self._allows = allows
        self._resolve = resolve
        self._tls = tls
        self._reach = Reach(config.networks)
        self._types = frozenset(config.types)

    async def fetch(self, url: str, grow: Grow) -> File:
        """
        The file of a URL.

        Raises:
            Unfetched: there is none, or none that may be.

        """
        began = time.perf_counter()
        try:
            async with asyncio.timeout(self._config.timeout_s):
                kind, data = await self._follow(url, grow)
        except TimeoutError:
            late = f"took longer than {self._config.timeout_s:g} s"
            raise Unfetched("late", late) from None
        return File(kind, data, time.perf_counter() - began)

    # --- below -----------------------------------------------------------------------------

    async def _follow(self, url: str, grow: Grow) -> tuple[str, bytes]:
        before: Link | None = None
        for _ in range(self._config.redirects + 1):
            place = link(url)
            if before is not None and before.secure and not place.secure:
                raise Unfetched("refused", "leads from https to http")
            if not self._allows(place.host):
                raise Unfetched("refused", "leads to a host that is not allowed")
            reply = await self._ask(place)
            try:
                if reply.status not in REDIRECTS:
                    return self._kind(reply), await self._body(reply, grow)
                url = urljoin(url.strip(), reply.header(b"location").decode("latin-1"))
            finally:
                reply.connection.abort()
            before = place
        raise Unfetched("refused", f"leads on more than {self._config.redirects} times")

    async def _ask(self, place: Link) -> Reply:
        """The answer's head, from an address that was checked."""
        try:
            found = await self._resolve(place.host, place.port)
        except OSError:
            raise Unfetched("failed", "has a host that cannot be resolved") from None
        if not found or not all(map(self._reach.may, found)):
            raise Unfetched("refused", "has a host whose address is not public")
        connection = await self._connect(place, found)
        head = _HEAD.format(target=place.target, host=place.netloc, version=__version__)
        try:
            return await connection.send(head.encode("ascii"), ())
        except Broken:
            raise Unfetched("failed", "had no answer in HTTP") from None

    async def _connect(self, place: Link, addresses: list[str]) -> Connection:
        loop = asyncio.get_running_loop()
        tls = (self._tls or context(None, verify=True)) if place.secure else None
        for address in list(dict.fromkeys(addresses))[:MAX_ADDRESSES]:
            connection = Connection(loop, Connection.abort, _nobody)
            try:
                await loop.create_connection(
                    lambda made=connection: made,
                    address,
                    place.port,
                    ssl=tls,
                    server_hostname=place.host if tls is not None else None,
                )
            except OSError:
                continue  # ssl.SSLError too
            except BaseException:
                connection.discard()
                raise
            return connection
        raise Unfetched("failed", "has a host that could not be reached")

    def _kind(self, reply: Reply) -> str:
        """The content type of an answer that may be taken."""
        if reply.status != 200:
            raise Unfetched("failed", f"was answered with {reply.status}")
        given = reply.header(b"content-type").split(b";")[0].strip().lower()
        kind = given.decode("ascii") if _TYPE.fullmatch(given) else "unknown"
        if kind not in self._types and f"{kind.partition('/')[0]}/*" not in self._types:
            raise Unfetched("refused", "has a content type that is not allowed")
        if reply.header(b"content-encoding").strip().lower() not in {b"", b"identity"}:
            raise Unfetched("refused", "came compressed, which nobody asked for")
        return kind

    async def _body(self, reply: Reply, grow: Grow) -> bytes:
        length = reply.header(b"content-length")
        most = self._config.max_bytes
        too_large = Unfetched("refused", f"has more than {most} bytes")
        if length.isdigit() and int(length[:20]) > most:
            raise too_large
        sink = _Body(reply.body, most, too_large, grow)
        if reply.complete:
            sink.end(b"")
        else:
            reply.connection.attach(sink)
        return await sink.done


class _Body:
    """Collects a body (``Sink``), up to its most."""

    def __init__(self, first: bytes, most: int, too_large: Unfetched, grow: Grow) -> None:
        self._parts: list[bytes] = []
        self._left = most
        self._too_large = too_large
        self._grow = grow
        self.done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.data(first)

    def data(self, data: bytes) -> None:
        if self.done.done():
            return
        self._left -= len(data)
        if self._left < 0:
            self.done.set_exception(self._too_large)
            return
        try:
            self._grow(len(data))
        except HeadraceError as error:  # it is raised again where it is awaited
            self.done.set_exception(error)
        else:
            self._parts.append(data)

    def end(self, data: bytes) -> None:
        self.data(data)
        if not self.done.done():
            self.done.set_result(b"".join(self._parts))

    def broken(self, _reason: str) -> None:
        if not self.done.done():
            self.done.set_exception(Unfetched("failed", "ended too soon"))


def _nobody(_connection: Connection) -> None:
    """Nobody counts them."""
