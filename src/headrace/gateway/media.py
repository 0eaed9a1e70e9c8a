"""Which URLs a request may make an engine fetch. An engine stands inside the network, so none but listed hosts."""

from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

import msgspec

from headrace.errors import BadRequest

# Keys under which the APIs take a URL that the engine opens. `source` is Anthropic's.
_HOLDERS = frozenset({"image_url", "audio_url", "video_url", "file_url", "source", "input_audio"})


class MediaGate:
    """Checks the media URLs of a body against the allowed hosts (exact, or ``*.example.com``)."""

    def __init__(self, allowed_hosts: Iterable[str]) -> None:
        hosts = [host.lower().rstrip(".") for host in allowed_hosts]
        self._exact = frozenset(host for host in hosts if not host.startswith("*."))
        self._suffixes = tuple(host[1:] for host in hosts if host.startswith("*."))

    def check(self, body: bytes) -> None:
        """
        Refuse a body that names a URL of another host. Data URLs are always fine.

        Raises:
            BadRequest: it does; the message says which host and which setting allows it.

        """
        if not _suspect(body):
            return
        for url in _urls(msgspec.json.decode(body)):
            host = _host(url)
            if host is not None and not self._allows(host):
                shown = host[:100] or "this URL"
                raise BadRequest(
                    f"Media from {shown} may not be fetched; an operator can add the host to "
                    "`media.allowed_hosts`, or send the file as a data: URL.",
                    code="media_url_not_allowed",
                )

    def _allows(self, host: str) -> bool:
        return host in self._exact or host.endswith(self._suffixes or ("\0",))


def _suspect(body: bytes) -> bool:
    """Whether a URL may be in it. Escapes of ASCII letters (``\\u00..``) could hide the key: look closer."""
    return b"_url" in body or b'"source"' in body or b"input_audio" in body or b"\\u00" in body


def _urls(node: object) -> Iterator[str]:
    """Every string that an engine would open, wherever it stands; iterative, so depth cannot hurt."""
    todo = [node]
    while todo:
        node = todo.pop()
        if isinstance(node, list):
            todo.extend(node)
        elif isinstance(node, dict):
            for key, value in node.items():
                if key in _HOLDERS and isinstance(value, str):
                    yield value
                elif key in _HOLDERS and isinstance(value, dict):
                    yield from (
                        v for k, v in value.items() if k in {"url", "data"} and isinstance(v, str)
                    )
                todo.append(value)


def _host(url: str) -> str | None:
    """The host that a URL would be fetched from; None when nothing is fetched (data, plain base64)."""
    text = url.strip().lower()
    if text.startswith("data:") or ":" not in text[:32]:
        return None
    try:
        parts = urlsplit(text.replace("\\", "/"))
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return ""
    return host if parts.scheme in {"http", "https"} else ""
