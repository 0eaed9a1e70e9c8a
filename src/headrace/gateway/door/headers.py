"""
Which headers pass the gateway, in each direction. Client to engine by allowlist, engine to client
by blocklist.
"""

from functools import cache

from headrace.upstream.connection import Headers

# Only these headers travel to an engine; all others, the client's key first, stay here.
FORWARDED = frozenset({b"content-type", b"accept", b"user-agent", b"traceparent", b"tracestate"})
FORWARDED_PREFIXES = (b"anthropic-", b"openai-")

# Nearly every request has these, so that nobody needs to look for the prefixes.
_STAYING = frozenset({
    b"accept-encoding", b"authorization", b"connection", b"content-length", b"host",
})  # fmt: skip

HOP_BY_HOP = frozenset({
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization",
    b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade",
})  # fmt: skip
# What we say ourselves; and what only makes sense between us and the engine.
REPLACED = frozenset(
    {
        b"content-length", b"request-id", b"server", b"x-headrace-model", b"x-headrace-replica",
        b"x-headrace-rule", b"x-request-id",
    }
)  # fmt: skip

_DROPPED = HOP_BY_HOP | REPLACED

# What a hosted API says of limits of its own: not for a caller who has ours.
LIMITS = frozenset(
    {
        b"%b%b%b" % (prefix, middle, end)
        for prefix, middles, ends in (
            (b"x-ratelimit-", (b"limit-", b"remaining-", b"reset-"), (b"requests", b"tokens")),
            (b"anthropic-ratelimit-", (b"requests-", b"tokens-"),
             (b"limit", b"remaining", b"reset")),
        )
        for middle in middles
        for end in ends
    }
)  # fmt: skip


def forwarded(headers: dict[bytes, bytes]) -> bytes:
    """The lines that go on to an engine."""
    connection = headers.get(b"connection")
    staying = _STAYING if connection is None else _STAYING | _tokens(connection)
    lines = b""
    for name, value in headers.items():
        if name not in staying and (name in FORWARDED or name.startswith(FORWARDED_PREFIXES)):
            lines += name + b": " + value + b"\r\n"
    return lines


def returned(
    headers: Headers, replaced: frozenset[bytes] = frozenset(), *, limited: bool = False
) -> bytes:
    """
    The lines of an engine's answer that go back to the client, less what we say ourselves;
    ``limited`` says that this is also what is left of limits.
    """
    dropped = _dropped(replaced, limited) if replaced or limited else _DROPPED
    for name, value in headers:
        if name == b"connection":
            dropped |= _tokens(value)
    lines = b""
    for name, value in headers:
        if name not in dropped:
            lines += name + b": " + value + b"\r\n"
    return lines


@cache
def _dropped(replaced: frozenset[bytes], limited: bool) -> frozenset[bytes]:
    """Made once for each kind of answer: to join the names costs as much as all the rest."""
    return _DROPPED | replaced | (LIMITS if limited else frozenset())


def _tokens(value: bytes) -> frozenset[bytes]:
    """The headers that a Connection header names: they are for one hop only."""
    return frozenset(token.strip() for token in value.lower().split(b","))
