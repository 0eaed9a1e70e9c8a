"""Cases 9 to 11: usage in streams, fidelity of bytes, and no frame held back."""

import asyncio

from headrace.conformance import answers, shapes
from headrace.conformance.fake import Exchange, chunk
from headrace.conformance.stage import CHAT, COMPLETIONS, Stage
from headrace.conformance.wire import Answer

PAUSE_S = 0.01  # between segments, so that they do not arrive as one
HELD = 6  # words that are waited for; the rest come together, with the usage
SEEN_S = 2.0  # a word must be through in this time, while the engine waits for it


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
            wanted = "true" in asked
            told = f"{path} stream, {asked}"
            stage.equal(f"{told}: status", 200, answer.status)
            found = _with_usage(answer)
            stage.check(
                f"{told}: frames with usage",
                "some" if wanted else "none",
                found,
                passed=(found > 0) == wanted,
            )
            empty = _empty(answer)
            stage.check(
                f"{told}: frames without choices",
                f"at most {int(wanted)}",
                empty,
                passed=empty <= int(wanted),
            )
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
    """The engine says the next word only when the client has the last one."""
    words = answers.WORDS[:HELD]
    read = [asyncio.Event() for _ in words]
    late: list[str] = []

    async def script(exchange: Exchange) -> None:
        role, *frames = answers.chat_frames(stage.model)
        await exchange.start_stream()
        await exchange.events(role)
        for frame, word, event in zip(frames, words, read, strict=False):
            await exchange.events(frame)
            if not late and not await _in_time(event):
                late.append(word)
        await exchange.events(*frames[len(words) :])
        await exchange.end_stream()

    client = await stage.client()
    gzip = [("accept-encoding", "gzip, br")]
    body = stage.ask(stage.play(script), stream=True)
    answer = await client.open("POST", CHAT, body, stage.headers(gzip))
    await _mark(answer, words, read)
    told = f"stream of {len(words)} words, each sent when the client has the one before"
    expected = f"each word within {SEEN_S:g} s"
    seen = f"the word {late[0]!r} was held back" if late else "each at once"
    stage.check(told, expected, seen, passed=not late)
    stage.equal(
        "stream, client accepts gzip: content-encoding", None, answer.header("content-encoding")
    )


async def _in_time(event: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout(SEEN_S):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def _mark(answer: Answer, words: tuple[str, ...], read: list[asyncio.Event]) -> None:
    """Set the event of each word as it arrives, until the stream ends."""
    while True:
        said = shapes.text(answer)
        for number, event in enumerate(read):
            if said.startswith("".join(words[: number + 1])):
                event.set()
        try:
            await answer.event()
        except EOFError:
            return
