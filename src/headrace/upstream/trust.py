"""Whose certificates are believed. To read a system's authorities costs 0.1 s and 1 MB: once."""

import ssl
from functools import lru_cache
from pathlib import Path

CONTEXTS = 32  # remembered; a fleet has one or two authorities


def context(authority: Path | None, *, verify: bool) -> ssl.SSLContext:
    """
    What connections are made with; the same object until the file changes.

    Raises:
        OSError: the file of the authority cannot be read, or (``ssl.SSLError``) is none.

    """
    stamp = authority.stat().st_mtime_ns if authority is not None else 0
    return _context(authority, stamp, verify)


@lru_cache(CONTEXTS)
def _context(authority: Path | None, _stamp: int, verify: bool) -> ssl.SSLContext:
    if not verify and authority is None:
        found = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # there is nothing to read
    else:
        found = ssl.create_default_context(cafile=authority)
    if not verify:
        found.check_hostname = False
        found.verify_mode = ssl.CERT_NONE
    return found
