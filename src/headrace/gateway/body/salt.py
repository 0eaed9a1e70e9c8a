"""
The cache salt: what keeps one tenant's cached prompts in an engine from another's. Put into bodies
by splicing bytes; whose salt it is, is admission/table.py's.

https://docs.vllm.ai/en/latest/design/prefix_caching/#cache-isolation-for-security
"""

import base64
import hashlib

import msgspec

from headrace.admission.table import SALT
from headrace.gateway.body.scan import Prompt, insert, members, spliced

FIELD = "cache_salt"
# Endpoints whose prompts an engine may cache.
SALTED = frozenset({
    "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/v1/embeddings",
    "/v1/rerank", "/v1/score",
})  # fmt: skip

_NOTHING = Prompt().cache_salt


def salted(body: bytes, fields: Prompt, salt: str) -> bytes:
    """
    The body with this salt, which is also noted in ``fields`` for routing. A salt of the client's
    own is mixed in: it separates as before, within what is the client's.
    """
    own = fields.cache_salt
    if own is _NOTHING:
        value = b'"%b"' % salt.encode("ascii")
        body = insert(body, b'"%b":%b' % (FIELD.encode("ascii"), value))
    else:
        value = b'"%b"' % mixed(salt, bytes(own)).encode("ascii")
        given = members(body, {FIELD})
        body = spliced(body, [(member.start, member.end, value) for member in given])
    fields.cache_salt = msgspec.Raw(value)
    return body


def mixed(salt: str, own: bytes) -> str:
    """Another salt for each that the client may send; without its tenant's nobody can make one."""
    key = salt.encode("ascii")
    hashed = hashlib.blake2b(own, key=key, digest_size=32).digest()
    return base64.urlsafe_b64encode(hashed).decode("ascii")[:SALT]
