"""context.py: W3C trace context, read and continued."""

import random
from typing import Any

import pytest

from headrace.telemetry.context import Context, Sampler, trace_of

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01".encode()


def sampler(share: float = 0.0, **more: Any) -> Sampler:
    return Sampler(share, **{"follow_parent": True, "chance": random.Random(7), **more})


def begin(given: bytes | None, **more: Any) -> Context:
    return sampler(**more).begin({b"traceparent": given} if given is not None else {})


def test_continues_a_caller() -> None:
    """The trace and its flag are the caller's, whose span is the parent of ours."""
    context = begin(PARENT)

    assert (TRACE.encode(), SPAN.encode(), True) == (context.trace, context.parent, context.sampled)
    assert context.span not in {0, int(SPAN, 16)}


@pytest.mark.parametrize(
    "given",
    [
        None,
        b"",
        b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01",
        f"00-{TRACE}-{'0' * 16}-01".encode(),
        f"ff-{TRACE}-{SPAN}-01".encode(),
        f"00-{TRACE}-{SPAN}-01-more".encode(),
        f"00-{TRACE.upper()}-{SPAN}-01".encode(),
        f"00-{TRACE}-{SPAN}-1".encode(),
        PARENT + b", " + PARENT,
        PARENT + b"\n",
    ],
)
def test_what_is_no_context_begins_a_trace(given: bytes | None) -> None:
    """A header that breaks the rules of W3C is no reason to fail, nor to be continued."""
    context = begin(given)

    assert b"" == context.parent
    assert 32 == len(context.trace)
    assert TRACE.encode() != context.trace
    assert "" == trace_of(given or b"")


def test_later_versions_are_continued() -> None:
    """What a later version adds behind the four fields is nobody's business (section 4.3)."""
    assert TRACE == trace_of(f"01-{TRACE}-{SPAN}-01-more".encode())
    assert TRACE == trace_of(f"cc-{TRACE}-{SPAN}-01".encode())


def test_the_next_hop_is_our_child() -> None:
    """The engine gets the same trace, the flag, and for each attempt an id of its own."""
    context = begin(f"00-{TRACE}-{SPAN}-03".encode())
    headers = {b"traceparent": b"", b"tracestate": b"a=b"}
    spans = [context.go_on(headers), context.go_on(headers)]

    assert f"00-{TRACE}-{spans[1]:016x}-03".encode() == headers[b"traceparent"]
    assert b"a=b" == headers[b"tracestate"]
    assert 3 == len({*spans, context.span})


@pytest.mark.parametrize("share", [0.0, 0.01, 0.25, 1.0])
def test_share(share: float) -> None:
    """Of the traces begun here so many are sampled, and all of one trace alike."""
    ours = sampler(share)
    contexts = [ours.begin({}) for _ in range(4000)]
    found = sum(context.sampled for context in contexts) / 4000
    other = sampler(share, follow_parent=False, chance=random.Random(8))
    again = [
        other.begin({b"traceparent": b"00-%b-%b-00" % (c.trace, SPAN.encode())}) for c in contexts
    ]

    assert share == pytest.approx(found, abs=0.02)
    assert [context.sampled for context in contexts] == [context.sampled for context in again]


@pytest.mark.parametrize("flag", ["00", "01"])
def test_a_caller_decides(flag: str) -> None:
    """The caller's flag is kept whatever the share; unless it is not to be followed."""
    given = f"00-{TRACE}-{SPAN}-{flag}".encode()

    assert (flag == "01") is begin(given, share=float(flag == "00")).sampled
    assert begin(given, share=1.0, follow_parent=False).sampled
    assert not begin(given, share=0.0, follow_parent=False).sampled
