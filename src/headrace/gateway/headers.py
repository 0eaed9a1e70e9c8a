"""
Which headers pass the gateway, in each direction. Client to engine by allowlist, engine to client
by blocklist.
"""

from headrace.upstream.connection import Headers

# Only these headers travel to an engine; all others, the client's key first, stay here.
FORWARDED = frozenset({b"content-type", b"accept", b"user-agent", b"traceparent", b"tracestate"})
FORWARDED_PREFIXES = (b"anthropic-", b"openai-")

HOP_BY_HOP = frozenset({
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization",
    b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade",
})  # fmt: skip
# What we say ourselves; and what only makes sense between us and the engine.
REPLACED = frozenset(
    {b"content-length", b"request-id", b"server", b"x-headrace-replica", b"x-request-id"}
)

_DROPPED = HOP_BY_HOP | REPLACED


def forwarded(headers: dict[bytes, bytes]) -> bytes:
    """The lines that go on to an engine."""
    named = headers.get(b"connection")
    dropped = () if named is None else _tokens(named)
    parts: list[bytes] = []
    for name, value in headers.items():
        if (name in FORWARDED or name.startswith(FORWARDED_PREFIXES)) and name not in dropped:
            parts += (name, b": ", value, b"\r\n")
    return b"".join(parts)


def returned(headers: Headers, replaced: frozenset[bytes] = frozenset()) -> bytes:
    """The lines of an engine's answer that go back to the client, less what we say ourselves."""
    dropped = _DROPPED | replaced if replaced else _DROPPED
    for name, value in headers:
        if name == b"connection":
            dropped |= _tokens(value)
    parts: list[bytes] = []
    for name, value in headers:
        if name not in dropped:
            parts += (name, b": ", value, b"\r\n")
    return b"".join(parts)


def _tokens(value: bytes) -> frozenset[bytes]:
    """The headers that a Connection header names: they are for one hop only."""
    return frozenset(token.strip() for token in value.lower().split(b","))
