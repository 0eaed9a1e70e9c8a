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
REPLACED = frozenset({b"content-length", b"server", b"x-request-id", b"x-headrace-replica"})


def forwarded(headers: dict[bytes, bytes]) -> bytes:
    """The lines that go on to an engine."""
    named = headers.get(b"connection", b"").lower()
    lines = [
        b"%b: %b\r\n" % (name, value)
        for name, value in headers.items()
        if (name in FORWARDED or name.startswith(FORWARDED_PREFIXES)) and name not in named
    ]
    return b"".join(lines)


def returned(headers: Headers) -> bytes:
    """The lines of an engine's answer that go back to the client."""
    named: tuple[bytes, ...] = ()
    for name, value in headers:
        if name == b"connection":
            named += tuple(token.strip() for token in value.lower().split(b","))
    lines = [
        b"%b: %b\r\n" % (name, value)
        for name, value in headers
        if name not in HOP_BY_HOP and name not in REPLACED and name not in named
    ]
    return b"".join(lines)
