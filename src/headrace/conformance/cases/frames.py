"""Cases 9 to 11: usage in streams, fidelity of bytes, and no frame held back."""

import asyncio

from headrace.conformance import answers, shapes
from headrace.conformance.fake import Exchange, chunk
from headrace.conformance.stage import CHAT, COMPLETIONS, Stage
from headrace.conformance.wire import Answer

PAUSE_S = 0.01  # between segments, so that they do not arrive as one
SEEN_S = 2.0  # a frame must be through in this time, while the engine waits for it


async def usage(stage: Stage) -> None:
    """Usage is in a stream when it was asked for, and not when it was not."""
    offered = [CHAT, *([COMPLETIONS] if await stage.supports(COMPLETIONS) else [])]
    for path in offered:
        for asked, body in (
            ("nothing said of usage", {}),
            ("include_usage false", {"stream_options": {"include_usage": False}}),
            ("include_usage true", {"stream_options": {"include_usage": True}}),
        ):
            answer = await stage.post(stage.ask(stage.play(), path, stream=True, **body), path)
            wanted = 1 if "true" in asked else 0
            told = f"{path} stream, {asked}"
            stage.equal(f"{told}: status", 200, answer.status)
            stage.equal(f"{told}: frames with usage", wanted, _with_usage(answer))
            stage.equal(f"{told}: frames without choices", wanted, _empty(answer))
    whole = await stage.post(stage.ask(stage.play()))
    counted = shapes.field(shapes.document(whole), "usage", "completion_tokens")
    stage.equal("not streamed: completion_tokens", answers.USAGE["completion_tokens"], counted)


def _with_usage(answer: Answer) -> int:
    found = [shapes.field(shapes.parse(event.data), "usage") for event in shapes.said(answer)]
    return sum(usage is not None for usage in found)


def _empty(answer: Answer) -> int:
    bodies = [shapes.parse(event.data) for event in shapes.said(answer)]
    return sum(shapes.field(body, "choices") == [] for body in bodies)


def _odd_frames(model: str) -> list[bytes]:
    """Frames that are right by the standard, and that careless relays spoil."""
    first, *rest = answers.chat_frames(model, ("Grüß", " dich", " 🌊"), usage=True)
    return [
        b": ping\n\n",
        first,
        b'event: custom\ndata: {"custom": [1.0, 12345678901234567890],  "spaced" : true}\n\n',
        rest[0].replace(b"\n\n", b"\r\n\r\n"),
        b"id: 7\nretry: 1000\n" + rest[1],
        *rest[2:],
    ]


async def fidelity(stage: Stage) -> None:
    """Odd but right frames, cut at odd places, reach the client byte for byte."""
    body = b"".join(_odd_frames(stage.model))

    for size in (7, 64, len(body)):
        pieces = [body[start : start + size] for start in range(0, len(body), size)]

        async def script(exchange: Exchange, pieces: list[bytes] = pieces) -> None:
            await exchange.start_stream()
            for piece in pieces:
                await exchange.write(chunk(piece))
                await asyncio.sleep(PAUSE_S if len(pieces) < 50 else PAUSE_S / 10)
            await exchange.end_stream()

        answer = await stage.post(stage.streamed(stage.play(script)))
        told = f"stream with comments, odd events, CRLF and UTF-8, in pieces of {size} bytes"
        same = bytes(answer.body) == body
        seen = "the same bytes" if same else _difference(body, bytes(answer.body))
        stage.check(told, f"the engine's {len(body)} bytes, unchanged", seen, passed=same)


def _difference(wanted: bytes, seen: bytes) -> str:
    """Where two bodies part."""
    pairs = enumerate(zip(wanted, seen, strict=False))
    shorter = min(len(wanted), len(seen))
    place = next((number for number, (left, right) in pairs if left != right), shorter)
    there = seen[place : place + 80].decode("utf-8", "replace")
    return f"{len(seen)} bytes; from byte {place} on: {there!r}"


async def first_chunk(stage: Stage) -> None:
    """The engine sends the next frame only when the client has the last one."""
    frames = answers.chat_frames(stage.model, usage=True)
    read = [asyncio.Event() for _ in frames]
    late: list[int] = []

    async def script(exchange: Exchange) -> None:
        await exchange.start_stream()
        for number, frame in enumerate(frames):
            await exchange.events(frame)
            try:
                async with asyncio.timeout(SEEN_S if not late else 0):
                    await read[number].wait()
            except TimeoutError:
                late.append(number)
        await exchange.end_stream()

    client = await stage.client()
    gzip = [("accept-encoding", "gzip, br")]
    body = stage.streamed(stage.play(script))
    answer = await client.open("POST", CHAT, body, stage.headers(gzip))
    await _mark(answer, read)
    told = f"stream of {len(frames)} frames, each sent when the client has the one before"
    expected = f"each frame within {SEEN_S:g} s"
    seen = f"frame {late[0]} was held back" if late else "each at once"
    stage.check(told, expected, seen, passed=not late)
    stage.equal("stream, client accepts gzip: content-encoding", None,
                answer.header("content-encoding"))  # fmt: skip


async def _mark(answer: Answer, read: list[asyncio.Event]) -> None:
    """Set the event of each frame that arrives."""
    number = 0
    try:
        while number < len(read):
            if (await answer.event()).data is not None:
                read[number].set()
                number += 1
        await answer.finish()
    except EOFError:
        return
