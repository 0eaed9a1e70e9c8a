"""
The media in a request: which URLs an engine would be made to fetch, how much base64 it carries, and
how what was fetched takes the place of a URL. Fetching is upstream/download.py's.

An engine stands inside the network, so that it may fetch from listed hosts only.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import msgspec

from headrace.config.media import ANY
from headrace.errors import BadRequest

# Keys under which the APIs take a URL that the engine opens. `source` is Anthropic's.
_HOLDERS = frozenset({"image_url", "audio_url", "video_url", "file_url", "source", "input_audio"})

# Control characters: one program ends a host's name there, another reads on.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_URL_KEY = re.compile(rb'url"')  # half the time of `in`, which skips too little for so few bytes
_NO_HOST = re.compile(r"[\s%]")

# Above this a walk through the decoded body is cheaper than looking for keys in its bytes.
_WALK_BYTES = 16 * 1024


class Media(msgspec.Struct, frozen=True, gc=False):
    """The media inside a body: how many, and the bytes that they take of it."""

    count: int = 0
    size: int = 0


NONE = Media()


class Spot(NamedTuple):
    """
    Where a medium is named: ``holder[key]`` is its URL or its data. ``name`` is the key that says
    what it is, ``top`` the member of the body that has it, ``fetched`` whether it is a URL.
    """

    top: dict[str, Any]
    name: str
    holder: dict[str, Any]
    key: str
    fetched: bool

    @property
    def url(self) -> str:
        """What stands there."""
        url: str = self.holder[self.key]
        return url

    @property
    def member(self) -> str:
        """The body's member that has it."""
        return next(iter(self.top))

    def put(self, kind: str, base64: str) -> None:
        """A file in the place of its URL, as the API at hand takes one."""
        data = f"data:{kind};base64,{base64}"
        if self.name == "source":  # https://docs.claude.com/en/api/messages
            del self.holder[self.key]
            self.holder.update(type="base64", media_type=kind, data=base64)
        elif self.key == "file_url":  # https://platform.openai.com/docs/api-reference/responses
            name = unquote(self.url.partition("?")[0].rpartition("/")[2])[-100:]
            del self.holder[self.key]
            self.holder["file_data"] = data
            self.holder.setdefault("filename", name or "file")
        else:
            self.holder[self.key] = data


class MediaGate:
    """
    Checks the media URLs of a body against the allowed hosts (exact, or ``*.example.com``).
    ``counts``: what they name is counted as carried, since it will be when an engine gets it.
    """

    def __init__(self, allowed_hosts: Iterable[str], *, counts: bool = False) -> None:
        hosts = [host.lower().rstrip(".") for host in allowed_hosts]
        self._counts = counts
        self._any = ANY in hosts
        self._exact = frozenset(host for host in hosts if not host.startswith("*."))
        self._suffixes = tuple(host[1:] for host in hosts if host.startswith("*."))

    def check(self, body: bytes) -> Media:
        """
        Refuse a body that names a URL of a host that is not listed; tell what it carries itself.

        Raises:
            BadRequest: the message says which host, and which setting allows it; or the body
                cannot be decoded.

        """
        if not _may_hold(body):
            return NONE
        count = size = 0
        for spot in _spots(_decode(body)):
            url = spot.url
            fetched = spot.fetched and not _is_data(url)
            if fetched:
                self._check_host(url)
            if self._counts or not fetched:
                count += 1
                size += len(url)
        return Media(count, size)

    def allows(self, host: str) -> bool:
        """Whether media may come from this host, in lower case and without a dot at its end."""
        if host in self._exact or (host and host.endswith(self._suffixes)):
            return True
        return self._any and bool(host)

    def _check_host(self, url: str) -> None:
        host = _host(url)
        if self.allows(host):
            return
        raise BadRequest(
            f"Media from {host[:100] or 'this URL'} may not be fetched; an operator can add "
            "the host to `media.allowed_hosts`, or send the file as a data: URL.",
            code="media_url_not_allowed",
        )


def weigh(body: bytes) -> Media:
    """
    The media that a body carries itself, whatever URLs it names.

    Raises:
        BadRequest: it cannot be decoded.

    """
    if not _may_hold(body):
        return NONE
    spots = _spots(_decode(body))
    carried = [spot.url for spot in spots if not spot.fetched or _is_data(spot.url)]
    return Media(len(carried), sum(map(len, carried)))


def named(body: bytes) -> list[Spot]:
    """
    The places of a body that name media by URL.

    Raises:
        BadRequest: it cannot be decoded.

    """
    tree = _decode(body) if _may_hold(body) else {}
    return [spot for spot in _spots(tree) if spot.fetched and not _is_data(spot.url)]


def _is_data(url: str) -> bool:
    return url[:16].lstrip().lower().startswith("data:")


def _may_hold(body: bytes) -> bool:
    r"""
    Whether a closer look is due: all keys that hold URLs end in ``url``.

    Escapes of ASCII letters (``\u00..``) could hide the key, so they count too.
    """
    if len(body) > _WALK_BYTES or _URL_KEY.search(body):
        return True
    return b"\\" in body and b"\\u00" in body  # one byte is found much faster than four


def _decode(body: bytes) -> object:
    """All of the body. The scan has only looked at what it needs, so that this may still fail."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        reason = "a text is not UTF-8" if isinstance(error, UnicodeDecodeError) else error
        raise BadRequest(f"The body is not valid JSON: {reason}.", code="invalid_json") from None


def _spots(tree: object) -> Iterator[Spot]:
    """
    Every string that stands for a medium; ``fetched`` those that an engine would open as a URL.

    Not recursive: depth is free.
    """
    if isinstance(tree, dict):
        for member, value in tree.items():
            yield from _below({member: value})


def _below(top: dict[str, Any]) -> Iterator[Spot]:
    todo: list[Any] = [top]
    while todo:
        node = todo.pop()
        items = node.values() if isinstance(node, dict) else node
        if isinstance(node, dict):
            for key in _HOLDERS & node.keys():
                yield from _held(top, node, key)
        todo.extend(item for item in items if isinstance(item, dict | list))


def _held(top: dict[str, Any], node: dict[str, Any], key: str) -> Iterator[Spot]:
    held = node[key]
    if isinstance(held, str) and key.endswith("_url"):
        yield Spot(top, key, node, key, fetched=True)
    elif isinstance(held, dict):
        for name, fetched in (("url", True), ("data", False)):
            if isinstance(held.get(name), str):
                yield Spot(top, key, held, name, fetched)


def _host(url: str) -> str:
    """The host that would be asked; empty, which no list allows, for what is no http(s) URL."""
    url = url.strip().lower().replace("\\", "/")
    try:
        parts = urlsplit("" if _CONTROL.search(url) else url)
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return ""
    return host if parts.scheme in {"http", "https"} and not _NO_HOST.search(host) else ""
