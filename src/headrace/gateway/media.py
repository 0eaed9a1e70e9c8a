"""
The media in a request: which URLs an engine would be made to fetch, and how much base64 it carries.

An engine stands inside the network, so that it may fetch from listed hosts only.
"""

from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

import msgspec

from headrace.errors import BadRequest

# Keys under which the APIs take a URL that the engine opens. `source` is Anthropic's.
_HOLDERS = frozenset({"image_url", "audio_url", "video_url", "file_url", "source", "input_audio"})

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
            BadRequest: the message says which host, and which setting allows it.

        """
        if not _may_hold(body):
            return NONE
        count = size = 0
        for url in _urls(msgspec.json.decode(body)):
            host = _host(url)
            if host is None:
                count += 1
                size += len(url)
            elif host not in self._exact and not host.endswith(self._suffixes or ("\0",)):
                raise BadRequest(
                    f"Media from {host[:100] or 'this URL'} may not be fetched; an operator can "
                    "add the host to `media.allowed_hosts`, or send the file as a data: URL.",
                    code="media_url_not_allowed",
                )
        return Media(count, size)


def _may_hold(body: bytes) -> bool:
    r"""
    Whether a closer look is due: all keys that hold URLs end in ``url``.

    Escapes of ASCII letters (``\u00..``) could hide the key, so they count too.
    """
    return len(body) > _WALK_BYTES or b'url"' in body or b"\\u00" in body


def _urls(node: object) -> Iterator[str]:
    """Every string that an engine would open, wherever it stands. Not recursive: depth is free."""
    todo = [node]
    while todo:
        node = todo.pop()
        items = node.values() if isinstance(node, dict) else node
        if isinstance(node, dict):
            yield from filter(None, (_url(node[key]) for key in _HOLDERS & node.keys()))
        if isinstance(items, Iterable):
            todo.extend(item for item in items if isinstance(item, dict | list))


def _url(held: object) -> str | None:
    url = held.get("url") or held.get("data") if isinstance(held, dict) else held
    return url if isinstance(url, str) else None


def _host(url: str) -> str | None:
    """The host that would be asked; None when nothing is fetched (a data URL, plain base64)."""
    start = url[:64].lstrip().lower()
    if start.startswith("data:") or ":" not in start[:32]:
        return None
    try:
        parts = urlsplit(url.strip().lower().replace("\\", "/"))
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return ""
    return host if parts.scheme in {"http", "https"} else ""
