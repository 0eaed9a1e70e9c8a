"""Where an engine publishes what its cache holds (KV events). Who listens is fleet/feed.py."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

FORM = "must be tcp://host:port or ipc:///path, where the engine publishes its KV events"


def endpoint(text: str) -> str:
    """
    The address, if one can connect to it.

    Raises:
        ValueError: one cannot.

    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(FORM) from error
    tcp = parts.scheme == "tcp" and bool(parts.hostname) and bool(port) and not parts.path
    ipc = parts.scheme == "ipc" and bool(parts.path)
    if not (tcp or ipc) or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(FORM)
    if parts.hostname == "*":
        raise ValueError(f"{FORM}: `*` is every address of its own machine, give one")
    return text


Endpoint = Annotated[str, AfterValidator(endpoint)]
"""The address of a ZeroMQ socket to connect to."""
