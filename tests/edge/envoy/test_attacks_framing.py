"""
Requests that two programs could read as two different ones, against the edge and the gateway alone.

The request that an attack wants to hide is one for a word; no engine may ever see it.
"""

import asyncio
import json

from tests.edge.envoy.front import BODY, GOOD, HEAD, LENGTH, Door, error, front, send, statuses
from tests.edge.rig import Rig, ask

WORD = "smuggled"
HIDDEN_BODY = json.dumps(ask(messages=[{"role": "user", "content": WORD}])).encode()
HIDDEN = HEAD + b"content-length: %d\r\n\r\n" % len(HIDDEN_BODY) + HIDDEN_BODY
SIZE = len(BODY)
CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (SIZE, BODY)
OK, BAD, NO_10, NO_CODING = 200, 400, 426, 501


def length(value: bytes) -> bytes:
    return HEAD + b"content-length: " + value + b"\r\n\r\n" + BODY


def coded(lines: bytes) -> bytes:
    return HEAD + lines + b"\r\n\r\n" + CHUNKS


def chunk(size: bytes, end: bytes = b"\r\n") -> bytes:
    return HEAD + CHUNKED + size + b"\r\n" + BODY + end + b"0\r\n\r\n"


def version(of: bytes, request: bytes = GOOD) -> bytes:
    return request.replace(b"HTTP/1.1", of, 1)


# Name → bytes, what the edge answers, what the gateway alone answers. Where the edge says 200, it
# has mended the request: what reaches the gateway is one request, written anew.
LENGTHS = {
    "CL.TE": (
        HEAD
        + b"content-length: %d\r\n" % (len(CHUNKS) + len(HIDDEN))
        + CHUNKED + CHUNKS + HIDDEN, BAD, BAD,
    ),
    "TE.CL": (
        HEAD + b"transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n" + CHUNKS + HIDDEN,
        BAD, BAD,
    ),
    "two lengths, the first is right": (
        HEAD + b"content-length: %d\r\ncontent-length: %d\r\n\r\n" % (SIZE, SIZE + len(HIDDEN))
        + BODY + HIDDEN, BAD, BAD,
    ),
    "two lengths, the second is right": (
        HEAD + b"content-length: %d\r\ncontent-length: %d\r\n\r\n" % (SIZE + len(HIDDEN), SIZE)
        + BODY + HIDDEN, BAD, BAD,
    ),
    "the same length twice": (
        HEAD + b"content-length: %d\r\ncontent-length: %d\r\n\r\n" % (SIZE, SIZE) + BODY, BAD, BAD,
    ),
    "a list of lengths": (length(b"%d, %d" % (SIZE, SIZE)), BAD, BAD),
    "negative": (length(b"-%d" % SIZE), BAD, BAD),
    "plus": (length(b"+%d" % SIZE), BAD, BAD),
    "hex": (length(b"0x%x" % SIZE), BAD, BAD),
    "empty": (length(b""), BAD, BAD),
    "underscores": (length(b"_".join(bytes([digit]) for digit in b"%d" % SIZE)), BAD, BAD),
    "two numbers": (length(b"%d %d" % (SIZE, SIZE)), BAD, BAD),
    "too many digits": (length(b"9" * 40), BAD, BAD),
    "wraps at 64 bits": (length(b"%d" % (2**64 + SIZE)), BAD, BAD),
    "space before the colon": (HEAD + b"content-length : %d\r\n\r\n" % SIZE + BODY, BAD, BAD),
    "underscore in the name": (
        HEAD + b"content_length: %d\r\n" % (SIZE + len(HIDDEN)) + LENGTH + BODY, BAD, OK,
    ),
}  # fmt: skip

CODINGS = {
    "space before the colon": (coded(b"transfer-encoding : chunked"), BAD, BAD),
    "no such coding": (coded(b"transfer-encoding: xchunked"), NO_CODING, BAD),
    "identity": (HEAD + b"transfer-encoding: identity\r\n" + LENGTH + BODY, BAD, BAD),
    "chunks, then identity": (coded(b"transfer-encoding: chunked, identity"), NO_CODING, BAD),
    "identity, then chunks": (coded(b"transfer-encoding: identity, chunked"), NO_CODING, BAD),
    "gzip, then chunks": (coded(b"transfer-encoding: gzip, chunked"), NO_CODING, BAD),
    "a vertical tab": (coded(b"transfer-encoding: \x0bchunked"), BAD, BAD),
    "twice": (coded(b"transfer-encoding: chunked\r\ntransfer-encoding: chunked"), NO_CODING, BAD),
    "chunks, then another line": (
        coded(b"transfer-encoding: chunked\r\ntransfer-encoding: x"), NO_CODING, BAD,
    ),
    "folded": (coded(b"transfer-encoding:\r\n chunked"), OK, BAD),
    "capitals": (coded(b"Transfer-Encoding: CHUNKED"), OK, OK),
    "in HTTP/1.0": (version(b"HTTP/1.0", coded(b"transfer-encoding: chunked")), NO_10, BAD),
}  # fmt: skip

SIZES = {
    "an extension": (chunk(b"%x;a=b" % SIZE), OK, OK),
    "an extension with a bare LF": (chunk(b"%x;a\nb" % SIZE), BAD, BAD),
    # Bytes in one read with the head or the end are not counted: a read has up to 256 KiB.
    "an extension of 1 MB": (chunk(b"%x;%b" % (SIZE, b"a" * 1_000_000)), OK, 431),
    "negative": (chunk(b"-%x" % SIZE), BAD, BAD),
    "plus": (chunk(b"+%x" % SIZE), BAD, BAD),
    "0x": (chunk(b"0x%x" % SIZE), BAD, BAD),
    "too many digits": (chunk(b"f" * 17), BAD, BAD),
    "wraps at 64 bits": (chunk(b"1%016x" % SIZE), BAD, BAD),
    "space behind it": (chunk(b"%x " % SIZE), OK, BAD),
    "bare LF": (HEAD + CHUNKED + CHUNKS.replace(b"\r\n", b"\n"), BAD, BAD),
    "more than it says": (chunk(b"%x" % SIZE, end=b"XX"), BAD, BAD),
    "a length among the trailers": (
        HEAD + CHUNKED + CHUNKS[:-2] + b"content-length: 5\r\n\r\n", OK, BAD,
    ),
}  # fmt: skip

HEADS = {
    "bare LF everywhere": (GOOD.replace(b"\r\n", b"\n"), OK, BAD),
    "bare LF in one line": (GOOD.replace(b"host: h\r\n", b"host: h\n"), OK, BAD),
    "bare LF at the end": (GOOD.replace(b"\r\n\r\n", b"\r\n\n"), OK, BAD),
    "bare CR hides a length": (
        HEAD + b"x: a\rcontent-length: %d\r\n" % (SIZE + len(HIDDEN)) + LENGTH + BODY, OK, BAD,
    ),
    "folded": (HEAD + b"x: a\r\n b\r\n" + LENGTH + BODY, OK, BAD),
    "folded at once": (GOOD.replace(b"\r\n", b"\r\n x: y\r\n", 1), BAD, BAD),
    "NUL in a value": (HEAD + b"x: a\0b\r\n" + LENGTH + BODY, BAD, BAD),
    "NUL in a name": (HEAD + b"x\0y: a\r\n" + LENGTH + BODY, BAD, BAD),
    "no name": (HEAD + b": a\r\n" + LENGTH + BODY, BAD, BAD),
    "no colon": (HEAD + b"abc\r\n" + LENGTH + BODY, BAD, BAD),
    "a space in the path": (GOOD.replace(b"/v1/chat", b"/v1/ chat"), BAD, BAD),
    "HTTP/0.9": (b"GET /v1/models\r\n\r\n", NO_10, BAD),
    "HTTP/1.2": (version(b"HTTP/1.2"), NO_10, BAD),
    "HTTP/2.0": (version(b"HTTP/2.0"), NO_10, BAD),
    "a tunnel": (b"CONNECT h:443 HTTP/1.1\r\nhost: h\r\n\r\n", 403, 404),
    "an upgrade to HTTP/2": (
        HEAD + b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMA\r\n"
        + LENGTH + BODY, OK, BAD,
    ),
}  # fmt: skip

FAMILIES = {"lengths": LENGTHS, "codings": CODINGS, "sizes of chunks": SIZES, "heads": HEADS}


async def attack(door: Door, data: bytes, expected: int) -> int | str:
    """The one status that came; or what else happened."""
    try:
        answer = await send(door, data, close=expected == OK)
    except TimeoutError:
        return "left open"
    found = statuses(answer)
    return found[0] if len(found) == 1 else f"{len(found)} answers"


async def test_nobody_is_fooled(rig: Rig) -> None:
    """
    Each gets one answer, the expected one, and a refused connection ends; what was hidden is
    never asked of an engine, and what was mended is asked once.
    """
    engine = await rig.engine()
    attacks = {f"{kind}: {name}": a for kind, of in FAMILIES.items() for name, a in of.items()}

    async with front(rig) as both:
        edge = [attack(both.edge, data, expected) for data, expected, _ in attacks.values()]
        alone = [attack(both.gateway, data, expected) for data, _, expected in attacks.values()]
        found = await asyncio.gather(*edge, *alone)
        asked = [bytes(exchange.body) for exchange in engine.exchanges]
        await both.well()

    expected = [of[1] for of in attacks.values()] + [of[2] for of in attacks.values()]
    labels = [f"{door}, {name}" for door in ("edge", "gateway") for name in attacks]
    assert dict(zip(labels, expected, strict=True)) == dict(zip(labels, found, strict=True))
    assert expected.count(OK) == len(asked)
    assert {BODY} == set(asked)


async def test_a_body_of_a_get_is_no_request(rig: Rig) -> None:
    """What a GET carries as its body is not taken for the next request."""
    engine = await rig.engine()
    get = b"GET /v1/models HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN

    async with front(rig) as both:
        answers = [await send(door, get, close=True) for door in both.doors]
        await both.well()

    assert [[200], [200]] == [statuses(answer) for answer in answers]
    assert not [x for x in engine.exchanges if WORD.encode() in x.body]


async def test_the_gateway_says_why(rig: Rig) -> None:
    """The gateway's refusal has OpenAI's shape; the edge, which cannot read on, just ends."""
    await rig.engine()

    async with front(rig) as both:
        said = await send(both.gateway, LENGTHS["CL.TE"][0])
        edge = await send(both.edge, LENGTHS["CL.TE"][0])

    assert "bad_http" == error(said)["code"]
    assert [400] == statuses(edge)
