"""
The media in a request: which URLs an engine would be made to fetch, and how much base64 it carries.

An engine stands inside the network, so that it may fetch from listed hosts only.
"""

import re
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

import msgspec

from headrace.errors import BadRequest

# Keys under which the APIs take a URL that the engine opens. `source` is Anthropic's.
_HOLDERS = frozenset({"image_url", "audio_url", "video_url", "file_url", "source", "input_audio"})

# Control characters: one program ends a host's name there, another reads on.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NO_HOST = re.compile(r"[\s%]")

# Above this a walk through the decoded body is cheaper than looking for keys in its bytes.
_WALK_BYTES = 16 * 1024


class Media(msgspec.Struct, frozen=True, gc=False):
    """The media inside a body: how many, and the bytes that they take of it."""

    count: int = 0
    size: int = 0


NONE = Media()


class MediaGate:
    """Checks the media URLs of a body against the allowed hosts (exact, or ``*.example.com``)."""

    def __init__(self, allowed_hosts: Iterable[str]) -> None:
        hosts = [host.lower().rstrip(".") for host in allowed_hosts]
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
        for url, fetched in _urls(_decode(body)):
            if fetched and not _is_data(url):
                self._check_host(url)
            else:
                count += 1
                size += len(url)
        return Media(count, size)

    def _check_host(self, url: str) -> None:
        host = _host(url)
        if host in self._exact or (host and host.endswith(self._suffixes)):
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
    carried = [url for url, fetched in _urls(_decode(body)) if not fetched or _is_data(url)]
    return Media(len(carried), sum(map(len, carried)))


def _is_data(url: str) -> bool:
    return url[:16].lstrip().lower().startswith("data:")


def _may_hold(body: bytes) -> bool:
    r"""
    Whether a closer look is due: all keys that hold URLs end in ``url``.

    Escapes of ASCII letters (``\u00..``) could hide the key, so they count too.
    """
    if len(body) > _WALK_BYTES or b'url"' in body:
        return True
    return b"\\" in body and b"\\u00" in body  # one byte is found much faster than four


def _decode(body: bytes) -> object:
    """All of the body. The scan has only looked at what it needs, so that this may still fail."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        reason = "a text is not UTF-8" if isinstance(error, UnicodeDecodeError) else error
        raise BadRequest(f"The body is not valid JSON: {reason}.", code="invalid_json") from None


def _urls(node: object) -> Iterator[tuple[str, bool]]:
    """
    Every string that stands for a medium, and whether an engine would open it as a URL.

    Not recursive: depth is free.
    """
    todo = [node]
    while todo:
        node = todo.pop()
        items = node.values() if isinstance(node, dict) else node
        if isinstance(node, dict):
            for key in _HOLDERS & node.keys():
                yield from _held(key, node[key])
        if isinstance(items, Iterable):
            todo.extend(item for item in items if isinstance(item, dict | list))


def _held(key: str, held: object) -> Iterator[tuple[str, bool]]:
    if isinstance(held, str) and key.endswith("_url"):
        yield held, True
    elif isinstance(held, dict):
        for name, fetched in (("url", True), ("data", False)):
            if isinstance(held.get(name), str):
                yield held[name], fetched


def _host(url: str) -> str:
    """The host that would be asked; empty, which no list allows, for what is no http(s) URL."""
    url = url.strip().lower().replace("\\", "/")
    try:
        parts = urlsplit("" if _CONTROL.search(url) else url)
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return ""
    return host if parts.scheme in {"http", "https"} and not _NO_HOST.search(host) else ""
