"""
A gateway with everything on: a key that is checked, limits, priced usage in a ledger, the queue.
The key is the one that the client sends to every peer; the others do not look at it.
"""

import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from headrace.admission import keys
from headrace.admission.book import Book, Clerk

from .install import Missing
from .jobs import MODEL
from .prompts import KEY

REDIS = "HEADRACE_BENCH_REDIS"
"""The variable with the URL of a Redis that may be written to."""

_TENANT = "bench"
_PEPPER = hashlib.sha256(KEY.encode()).hexdigest()
_MUCH = 10**9  # nobody meets it: what is measured is the counting
_LIMITS = {
    "requests_per_minute": _MUCH,
    "tokens_per_minute": 10**12,  # idle streams ask for a million each
    "concurrent_requests": _MUCH,
    "tokens_per_day": 10**12,
    "cost_per_month": 10**6,
}
_PRICES = {"tokens": [{"model": MODEL, "input": 1, "output": 2}]}


def everything(folder: Path) -> dict[str, object]:
    """The sections of the configuration; its files are in the folder."""
    pepper = keys.pepper_of(_PEPPER)
    secret = keys.Secret(KEY[:11], keys.hash_of(pepper, KEY.encode("ascii")).hex())
    now = datetime.now(UTC)
    key = keys.Key(name="load", tenant=_TENANT, created_at=now, secrets=(secret,))
    book = Clerk("benchmark", now).create(Book(), key, keys.fingerprint(pepper))
    kept, pepper_file = folder / "keys.json", folder / "pepper"
    for file, data in ((kept, msgspec.json.encode(book)), (pepper_file, _PEPPER.encode())):
        file.write_bytes(data)
        file.chmod(0o600)
    identity = {"anonymous": False, "file": str(kept), "pepper_file": str(pepper_file)}
    return {
        "tenants": [{"name": _TENANT}],
        "identity": {**identity, "shared": False},
        "limits": {"tenant": _LIMITS, "key": {"requests_per_minute": _MUCH}},
        "metering": {
            "url": f"sqlite:{folder / 'usage.db'}",
            "spill_dir": str(folder / "spill"),
            "prices": _PRICES,
        },
    }


def redis() -> str:
    """
    The Redis that was given.

    Raises:
        Missing: none was.

    """
    url = os.environ.get(REDIS, "")
    if not url:
        raise Missing(f"set {REDIS} to the URL of a Redis that may be written to")
    return url
