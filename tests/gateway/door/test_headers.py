"""headers.py: a list of what goes to an engine, a list of what does not come back."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.gateway.door.headers import HOP_BY_HOP, REPLACED, forwarded, returned

SAFE = [b"content-type", b"accept", b"user-agent", b"traceparent", b"tracestate"]
SECRET = [
    b"authorization",
    b"cookie",
    b"x-api-key",
    b"host",
    b"x-openai-",
    b"anthropic",
    b"forwarded",
]
names = st.sampled_from(
    [*SAFE, *SECRET, *HOP_BY_HOP, *REPLACED, b"anthropic-version", b"openai-beta"]
)
anything = st.text(string.ascii_lowercase + "-", min_size=1).map(str.encode)
lists = st.lists(names | anything | st.just(b"Accept"), max_size=3).map(b" , ".join)


def lines(written: bytes) -> dict[bytes, bytes]:
    return dict(line.split(b": ", 1) for line in written.split(b"\r\n")[:-1])


@settings(max_examples=200)
@given(st.dictionaries(names | anything, st.just(b"v"), max_size=8), st.none() | lists)
def test_only_the_allowed_reach_an_engine(
    headers: dict[bytes, bytes], connection: bytes | None
) -> None:
    """Names of the list and the SDKs' own, less those that Connection names: no other, ever."""
    if connection is not None:
        headers[b"connection"] = connection
    named = headers.get(b"connection", b"")
    hop = {token.strip().lower() for token in named.split(b",")}

    sent = lines(forwarded(headers))

    assert sent == {
        name: value
        for name, value in headers.items()
        if (name in SAFE or name.startswith((b"anthropic-", b"openai-"))) and name not in hop
    }


@settings(max_examples=200)
@given(st.lists(st.tuples(names | anything, st.just(b"v")), max_size=8), st.none() | lists)
def test_all_but_the_dropped_come_back(
    headers: list[tuple[bytes, bytes]], connection: bytes | None
) -> None:
    """Hop-by-hop headers, those that Connection names and those we say ourselves stay here."""
    if connection is not None:
        headers = [*headers, (b"connection", connection)]
    named = b",".join(value for name, value in headers if name == b"connection")
    hop = {token.strip().lower() for token in named.split(b",")}

    expected = [
        b"%b: %b\r\n" % header for header in headers if header[0] not in HOP_BY_HOP | REPLACED | hop
    ]

    assert b"".join(expected) == returned(headers)


@pytest.mark.parametrize("name", [b"set-cookie", b"retry-after", b"x-should-retry"])
def test_repeated_headers_come_back_in_order(name: bytes) -> None:
    """What an engine says twice is said twice."""
    headers = [(name, b"1"), (b"a", b""), (name, b"2")]

    assert b"%b: 1\r\na: \r\n%b: 2\r\n" % (name, name) == returned(headers)


def test_limits_of_others() -> None:
    """What a hosted API says of its limits passes, but not to a caller who is told of ours."""
    headers = [(b"x-ratelimit-remaining-tokens", b"7"), (b"a", b"1")]

    assert b"x-ratelimit-remaining-tokens: 7\r\na: 1\r\n" == returned(headers)
    assert b"a: 1\r\n" == returned(headers, limited=True)
    assert b"" == returned(headers, frozenset({b"a"}), limited=True)
