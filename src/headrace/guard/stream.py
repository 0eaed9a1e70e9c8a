"""
An answer that is streamed, made anew frame by frame without what must not leave: each text in it is
judged in segments, so that no part of a finding is ever sent. Which texts a dialect's events have
is dialects.py's; what is looked for, the judge's.
"""

import re
from collections.abc import Awaitable, Callable, Hashable
from typing import Any

import msgspec

from headrace.guard import walk
from headrace.guard.dialects import Dialect, Event, dialect_of
from headrace.guard.quoting import Quotes
from headrace.guard.segments import CONTEXT, Segment, Segments
from headrace.guard.types import Unavailable

# A frame larger than this is no answer's: a whole response stands in the last one.
MAX_FRAME_BYTES = 8 * 1024 * 1024
# Texts that are under way at one time: choices, each with its reasoning and calls of tools.
MAX_CHANNELS = 1024

Judge = Callable[[str, int, Quotes | None, bool], Awaitable[str]]
"""
Gives a text from a place on, without what must not leave: the text with its context, where that
ends, the quotes of JSON, and whether the segment is plain.
"""

AtEnd = Callable[[list[str]], Awaitable[None]]
"""Gets the texts of a whole answer, one for each choice."""

_ENDS = frozenset({"message_stop", "response.completed"})
_ANSWERS = frozenset({"content", "text", "response.output_text"})
_FRAME_END = re.compile(rb"\r?\n\r?\n")


class Channel:
    """One text within the stream, such as the content of a choice."""

    __slots__ = ("context", "event", "quotes", "segments")

    def __init__(self, *, by_sentence: bool, quoted: bool) -> None:
        self.segments = Segments(by_sentence=by_sentence)
        self.context = ""
        self.quotes = Quotes() if quoted else None
        self.event: Event | None = None  # the latest that brought some of it


class Stream:
    """One answer. ``feed`` and ``finish`` raise what the judge raises."""

    def __init__(self, judge: Judge, *, by_sentence: bool) -> None:
        self._judge = judge
        self._by_sentence = by_sentence
        self._tail: list[bytes] = []  # of a frame that has not ended
        self._size = 0
        self._edge = b""
        self._made: list[bytes] = []  # of the piece that is looked at
        self._channels: dict[Hashable, Channel] = {}
        self._dialect: Dialect | None = None
        self._texts: dict[Hashable, list[str]] = {}
        self._at_end: AtEnd | None = None

    def judge_whole(self, at_end: "AtEnd") -> None:
        """Keep the texts as they came, and show them before the end of the answer is told."""
        self._at_end = at_end

    async def feed(self, data: bytes) -> bytes:
        """
        Take a piece from the engine; gives what may leave, possibly nothing.

        Raises:
            Unavailable: a frame is too large to be judged.

        """
        self._tail.append(data)
        self._size += len(data)
        near = self._edge + data  # an end may have begun in the piece before
        self._edge = near[-3:]
        self._made, position = [], 0
        if _FRAME_END.search(near) is not None:
            data = b"".join(self._tail)
            for found in _FRAME_END.finditer(data):
                self._made.append(await self._frame(data[position : found.start()]))
                position = found.end()
            self._tail = [data[position:]]
            self._size = len(data) - position
        if self._size > MAX_FRAME_BYTES:
            raise Unavailable("a frame of the stream is too large")
        made, self._made = self._made, []
        return b"".join(made)

    async def finish(self) -> bytes:
        """What is left when the stream has ended well."""
        tail, self._tail = b"".join(self._tail), []
        last = await self._frame(tail) if tail.strip() else b""
        last += await self._leftovers()
        await self._end()
        return last

    def stopped(self) -> bytes:
        """What came before the refusal, then the frames that end the stream in its dialect."""
        if self._dialect is None:
            return b""
        return b"".join([*self._made, *map(_shown, self._dialect.stopped())])

    # --- for dialects -----------------------------------------------------------------------

    async def push(self, key: Hashable, text: str, event: Event, *, quoted: bool = False) -> str:
        """Some more of a channel's text; gives what of it may leave now."""
        channel = self._channels.get(key)
        if channel is None:
            if len(self._channels) >= MAX_CHANNELS:
                raise Unavailable(f"the stream has more than {MAX_CHANNELS} texts at one time")
            channel = Channel(by_sentence=self._by_sentence, quoted=quoted)
            self._channels[key] = channel
        channel.event = event
        if self._at_end is not None:
            self._texts.setdefault(key, []).append(text)
        return await self._judged(channel, channel.segments.feed(text))

    async def flush(self, key: Hashable) -> str:
        """The rest of a channel's text, which is over."""
        channel = self._channels.pop(key, None)
        return "" if channel is None else await self._judged(channel, channel.segments.flush())

    def open(self) -> list[tuple[Hashable, Event]]:
        """The channels that are not over, each with the latest event that brought some of it."""
        return [(key, each.event) for key, each in self._channels.items() if each.event is not None]

    async def whole(self, tree: Any) -> None:
        """Judge every text in a part of an event, each by itself."""
        walk.silenced(tree)
        for spot in list(walk.spots(tree)):
            channel = Channel(by_sentence=self._by_sentence, quoted=spot.quoted)
            segments = channel.segments.feed(spot.text) + channel.segments.flush()
            spot.put(await self._judged(channel, segments))

    # --- below -------------------------------------------------------------------------------

    async def _judged(self, channel: Channel, segments: list[Segment]) -> str:
        parts = []
        for segment in segments:
            text, start = channel.context + segment.text, len(channel.context)
            channel.context = text[-CONTEXT:]
            parts.append(await self._judge(text, start, channel.quotes, segment.plain))
        return "".join(parts)

    async def _frame(self, frame: bytes) -> bytes:
        head, data = _parsed(frame)
        if data is None:
            return frame + b"\n\n"
        if data == b"[DONE]":
            rest = await self._leftovers()
            await self._end()
            return rest + frame + b"\n\n"
        try:
            body = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Unavailable("a frame of the stream is not JSON") from None
        if not isinstance(body, dict):
            raise Unavailable("a frame of the stream is no object")
        if self._dialect is None:
            self._dialect = dialect_of(body)
        if body.get("type") in _ENDS:
            await self._end()
        made = await self._dialect.take(self, Event(head, body))
        return b"".join(map(_shown, made))

    async def _end(self) -> None:
        """Before the client is told that the answer is over, the first time that it would be."""
        at_end, self._at_end = self._at_end, None
        if at_end is not None:
            await at_end(["".join(parts) for key, parts in self._texts.items() if _is_answer(key)])

    async def _leftovers(self) -> bytes:
        """Texts that nobody said were over."""
        if self._dialect is None or not self._channels:
            return b""
        return b"".join(map(_shown, await self._dialect.leftovers(self)))


def _is_answer(key: Hashable) -> bool:
    """Whether a channel is the answer proper, not reasoning or a tool's arguments."""
    return isinstance(key, tuple) and not _ANSWERS.isdisjoint(key[:2])


def _parsed(frame: bytes) -> tuple[bytes, bytes | None]:
    """The lines before the data, and the data; None where there is none."""
    if frame.startswith(b"data:") and b"\n" not in frame:
        return b"", frame[5:].strip()
    head: list[bytes] = []
    data: list[bytes] = []
    for line in frame.splitlines():
        (data if line.startswith(b"data:") else head).append(line)
    if not data:
        return frame, None
    text = b"\n".join(line[5:].removeprefix(b" ") for line in data).strip()
    return b"".join(line + b"\n" for line in head if line), text


def _shown(event: Event) -> bytes:
    return b"%bdata: %b\n\n" % (event.head, msgspec.json.encode(event.body))
