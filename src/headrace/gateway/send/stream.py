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

# The lines by which the streams of chat, messages and responses say that they are over.
_END = re.compile(
    rb"^(?:data: ?\[DONE\]|event: ?(?:message_stop|response\.(?:completed|failed|incomplete)))\r?$",
    re.MULTILINE,
)

_BLANK_LINES = (b"\n\n", b"\n\r\n")  # the latter ends \r\n\r\n too
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
    cache_creation_input_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    input_tokens_details: _Details | None = None


class _Answer(msgspec.Struct):
    usage: _WireUsage | None = None


class _Frame(msgspec.Struct):
    choices: list[msgspec.Raw] | None = None


NOTHING = Usage()
_usage_decoder = msgspec.json.Decoder(_WireUsage)
_answer_decoder = msgspec.json.Decoder(_Answer)
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

    __slots__ = (
        "_block",
        "_first",
        "_last",
        "_open",
        "_renamer",
        "_strip",
        "_tail",
        "events",
    )

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
        if not self._tail and data.endswith(_BLANK_LINES):
            self._open = False
            return self._edit(data)
        data = self._tail + data
        cut = max((data.rfind(end) + len(end) for end in _BLANK_LINES if end in data), default=0)
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

    def finished(self, last: bytes) -> bool:
        """Whether the stream, ``last`` its latest bytes, said that it was over."""
        return _END.search(self._block) is not None or _END.search(last) is not None

    @property
    def between(self) -> bool:
        """Whether the stream stands between two frames, so that the next byte begins one."""
        return not self._tail and not self._open

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


def usage_of(body: bytes) -> Usage | None:
    """The usage that a whole JSON answer reports; None when there is none."""
    if not body.startswith(b"{"):
        return None
    try:
        wire = _answer_decoder.decode(body).usage
    except (msgspec.DecodeError, RecursionError):
        return None
    return None if wire is None else _counted(wire)


def find_usage(data: bytes) -> Usage | None:
    """
    The usage that a stream or a part of an answer reports; None when there is none.

    Anthropic's streams report it in two frames; a later value of a field replaces an earlier one.
    """
    found: _WireUsage | None = None
    for match in _USAGE.finditer(data):
        try:
            wire = _usage_decoder.decode(match[1])
        except msgspec.DecodeError:
            continue
        for field in found.__struct_fields__ if found is not None else ():
            if getattr(wire, field) is None:
                setattr(wire, field, getattr(found, field))
        found = wire
    return None if found is None else _counted(found)


def _counted(wire: _WireUsage) -> Usage:
    """One meaning for all: OpenAI's cached tokens are a part of the prompt, Anthropic's are not."""
    details = wire.prompt_tokens_details or wire.input_tokens_details
    cached = (None if details is None else details.cached_tokens) or 0
    prompt = wire.prompt_tokens if wire.prompt_tokens is not None else wire.input_tokens
    completion = wire.completion_tokens
    if completion is None:
        completion = wire.output_tokens
    read = wire.cache_read_input_tokens or 0
    beside = read + (wire.cache_creation_input_tokens or 0)
    return Usage((prompt or 0) + beside, completion or 0, cached + read)


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
    except (msgspec.DecodeError, RecursionError):
        return False


@lru_cache(maxsize=1024)
def _name_pattern(old: bytes) -> re.Pattern[bytes]:
    return re.compile(rb'"model"[ \t]{0,4}:[ \t]{0,4}' + re.escape(old))
