"""
Server-sent events on their way through: whole frames only, without parsing what need not be parsed.

Frames are released as soon as they are complete, whatever the network's pieces are. The bytes stay
as they are, but for two edits: the usage frame that we asked for is taken out again, and the
engine's name for the model becomes the one that the client used.
"""

import re
from functools import lru_cache

import msgspec

from headrace.types import Usage

# A frame larger than this is passed on in pieces: no token's frame is, so it is not ours to hold.
MAX_FRAME_BYTES = 256 * 1024

# How the streams of chat, messages and responses say that they are over.
_ENDS = (b"[DONE]", b"message_stop", b"response.completed")

_FRAME_END = re.compile(rb"\r?\n\r?\n")
_USAGE = re.compile(rb'"usage"[ \t]*:[ \t]*(\{(?:[^{}]|\{[^{}]*\})*\})')


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _WireUsage(msgspec.Struct):
    """OpenAI's and Anthropic's names for the same counts."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    input_tokens_details: _Details | None = None


class _Frame(msgspec.Struct):
    choices: list[msgspec.Raw] | None = None


_usage_decoder = msgspec.json.Decoder(_WireUsage)
_frame_decoder = msgspec.json.Decoder(_Frame)


class Renamer:
    """Puts the client's name for the model where the engine wrote its own."""

    __slots__ = ("_longest", "_new", "_pattern", "_tail")

    def __init__(self, served: str, asked: str) -> None:
        old = msgspec.json.encode(served)
        self._pattern = _name_pattern(old)
        self._new = b'"model":' + msgspec.json.encode(asked)
        self._longest = len(old) + 16
        self._tail = b""

    def whole(self, data: bytes) -> bytes:
        """Rename in data that no match can cross the ends of: whole frames, a whole body."""
        return self._pattern.sub(lambda _: self._new, data)

    def feed(self, data: bytes) -> bytes:
        """
        Rename in a body that comes in pieces; the last bytes wait, since a match may begin in them.
        """
        data = self._tail + data
        last = max((found.end() for found in self._pattern.finditer(data)), default=0)
        cut = max(last, len(data) - self._longest)
        self._tail = data[cut:]
        return self.whole(data[:cut])

    def flush(self) -> bytes:
        """What still waits, once the body has ended."""
        tail, self._tail = self._tail, b""
        return self.whole(tail)


class Frames:
    """The state of one event stream."""

    __slots__ = ("_block", "_first", "_last", "_open", "_renamer", "_strip", "_tail", "events")

    def __init__(self, *, strip_usage: bool, renamer: Renamer | None) -> None:
        self._strip = strip_usage
        self._renamer = renamer
        self._tail = b""
        self._open = False  # part of an oversized frame was passed on
        self._first = b""  # the first and the last frames that reported usage
        self._last = b""
        self._block = b""  # the latest frames
        self.events = 0

    def feed(self, data: bytes) -> bytes:
        """Take a piece from the network; return the frames that are now complete, possibly none."""
        if not self._tail and data.endswith((b"\n\n", b"\r\n\r\n")):
            self._open = False
            return self._edit(data)
        data = self._tail + data
        cut = max(data.rfind(b"\n\n") + 2, data.rfind(b"\r\n\r\n") + 4)
        if cut < 4:
            cut = 2 if data.startswith(b"\n\n") else 0
        self._tail = data[cut:]
        if len(self._tail) > MAX_FRAME_BYTES:
            self._tail, cut, self._open = b"", len(data), True
        elif cut:
            self._open = False
        return self._edit(data[:cut]) if cut else b""

    def flush(self) -> bytes:
        """What is left when the stream ends well."""
        tail, self._tail = self._tail, b""
        return self._edit(tail) if tail else b""

    def interrupt(self) -> bytes:
        """
        What must be sent before an error frame: the end of a frame that was passed on in part.
        """
        self._tail = b""
        return b"\n\n" if self._open else b""

    def finished(self) -> bool:
        """Whether the stream said that it was over: what breaks after that breaks nothing."""
        return any(mark in self._block for mark in _ENDS)

    def usage(self) -> Usage | None:
        """
        The tokens that the engine reported, merged field by field; None when it reported none.
        """
        return find_usage(self._first + b"\n" + self._last) if self._last else None

    def _edit(self, block: bytes) -> bytes:
        self.events += block.count(b"data:")
        self._block = block
        if b'"usage"' in block:
            if not self._first:
                self._first = block
            self._last = block
            if self._strip:
                block = _without_usage(block)
        return block if self._renamer is None else self._renamer.whole(block)


def find_usage(data: bytes) -> Usage | None:
    """
    The usage that an answer reports, wherever it stands; None when there is none.

    Anthropic's streams report it in two frames; a later value of a field replaces an earlier one.
    """
    prompt = completion = cached = None
    for found in _USAGE.finditer(data):
        try:
            wire = _usage_decoder.decode(found[1])
        except msgspec.DecodeError:
            continue
        details = wire.prompt_tokens_details or wire.input_tokens_details or _Details()
        prompt = _latest(prompt, wire.prompt_tokens, wire.input_tokens)
        completion = _latest(completion, wire.completion_tokens, wire.output_tokens)
        cached = _latest(cached, details.cached_tokens, wire.cache_read_input_tokens)
    if prompt is None and completion is None:
        return None
    return Usage(prompt or 0, completion or 0, cached or 0)


def _latest(before: int | None, *values: int | None) -> int | None:
    return next((value for value in values if value is not None), before)


def _without_usage(block: bytes) -> bytes:
    """The block without the frames that hold usage and no choices."""
    kept, start = [], 0
    for end in [*(found.end() for found in _FRAME_END.finditer(block)), len(block)]:
        frame = block[start:end]
        if frame and not _is_usage_only(frame):
            kept.append(frame)
        start = end
    return b"".join(kept)


def _is_usage_only(frame: bytes) -> bool:
    if b'"usage"' not in frame or not frame.startswith(b"data:"):
        return False
    try:
        return _frame_decoder.decode(frame[5:]).choices == []
    except msgspec.DecodeError:
        return False


@lru_cache(maxsize=1024)
def _name_pattern(old: bytes) -> re.Pattern[bytes]:
    return re.compile(rb'"model"[ \t]{0,4}:[ \t]{0,4}' + re.escape(old))
