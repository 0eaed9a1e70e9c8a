"""How an engine is reached and shown: its URL, its key, its name. Settings are backends.py's."""

from collections.abc import Callable
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr

FORM = "must be http://host:port or https://host:port"


def base_url(url: str) -> str:
    """
    An engine's URL without what a request brings along: ``https://host/openai/v1`` is
    ``https://host/openai``, since the endpoints begin with /v1.

    Raises:
        ValueError: it is none, or has a query or a user.

    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port  # raises ValueError when it is not a port
        host.encode("idna")  # nor is a host what no resolver takes
    except ValueError as error:
        raise ValueError(FORM) from error
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"{FORM}, in plain ASCII without spaces")
    if parts.scheme not in {"http", "https"} or not host or port == 0:
        raise ValueError(FORM)
    if parts.query or parts.fragment or parts.username is not None:
        raise ValueError(f"must not have a query or a user; {FORM.removeprefix('must be ')}")
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}"


def endpoint(path: str) -> Callable[[str], str]:
    """A check that a URL names an endpoint with its path, as ``path`` does; it gives the URL."""
    form = f"must be a URL like http://host:port{path}"

    def check(url: str) -> str:
        try:
            parts = urlsplit(url)
            _ = parts.port  # raises ValueError when it is not a port
        except ValueError as error:
            raise ValueError(form) from error
        if parts.scheme not in {"http", "https"} or not parts.hostname or not parts.path:
            raise ValueError(form)
        return url

    return check


def _key(key: SecretStr) -> SecretStr:
    """A key as it fits into a header; the line end that ``$(cat FILE)`` may leave is not its."""
    text = key.get_secret_value().strip()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be a key: printable ASCII without spaces, and not empty")
    return SecretStr(text)


def _name(name: str) -> str:
    if not name.isprintable():
        raise ValueError("must have printable characters only")
    return name


Key = Annotated[SecretStr, AfterValidator(_key)]
"""A secret that is sent as, or compared with, a bearer token."""

Printable = Annotated[str, AfterValidator(_name)]
"""A name that stands in headers, logs and tables."""
