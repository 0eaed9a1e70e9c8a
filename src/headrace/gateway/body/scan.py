"""
The one look at a request's body: which model, streamed or not, how large; and the edits to its
bytes.

Bodies are never re-serialised: an edit replaces a span of bytes, and all others go on untouched.
"""

import codecs
import re
from collections.abc import Container, Iterable
from typing import Any, NamedTuple, cast

import msgspec

from headrace.config.parameters import CONTROLS
from headrace.errors import BadRequest
from headrace.gateway.body.media import Media

# Bytes per token for an estimate before the engine counts: English text has about 4.
BYTES_PER_TOKEN = 4
# What an image or a sound counts as, whatever the size of its base64.
TOKENS_PER_MEDIUM = 1000
# What is looked at in one go where a body's text is checked.
BLOCK_BYTES = 64 * 1024

_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[{}\[\]]', re.DOTALL)
_VALUE_AFTER_KEY = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*")
_SCALAR = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[^\s,}\]\["{]+', re.DOTALL)
_BOUNDARY = re.compile(rb'boundary=(?:"([^"]{1,70})"|([^";,\s]{1,70}))', re.IGNORECASE)
_FIELD = re.compile(  # from a line's start, so that a long line is looked at once
    rb'\ncontent-disposition:[^\r\n]*[; ]name(?:="?(\w{1,32})"?(?=[;\r])|(\*))', re.IGNORECASE
)


class StreamOptions(msgspec.Struct):
    """The part of ``stream_options`` that decides whether usage is reported."""

    include_usage: bool | None = None


class Member(NamedTuple):
    """A member of an object: its key, where that begins, and where its value begins and ends."""

    key: str
    begin: int
    start: int
    end: int


NOTHING = msgspec.Raw(b"")


class Prompt(msgspec.Struct):
    """The parts that are a prompt to an engine, as they stand in the body; and whose it is."""

    tools: msgspec.Raw = NOTHING
    system: msgspec.Raw = NOTHING
    instructions: msgspec.Raw = NOTHING
    prompt: msgspec.Raw = NOTHING
    input: msgspec.Raw = NOTHING
    messages: msgspec.Raw = NOTHING
    cache_salt: msgspec.Raw = NOTHING
    user: msgspec.Raw = NOTHING

    @property
    def parts(self) -> list[memoryview]:
        """Those that there are, in the order in which engines put them."""
        found = (
            self.tools, self.system, self.instructions, self.prompt, self.input, self.messages,
        )  # fmt: skip
        return [memoryview(part) for part in found if part is not NOTHING]


class Body(Prompt):
    """The fields that the gateway reads; all others are skipped, not parsed."""

    model: str | None = None
    stream: Any = None
    stream_options: StreamOptions | msgspec.UnsetType | None = msgspec.UNSET
    max_tokens: Any = None
    max_completion_tokens: Any = None
    max_output_tokens: Any = None
    n: Any = None
    best_of: Any = None
    previous_response_id: Any = None

    @property
    def limit(self) -> int:
        """The longest answer that the client allows, in tokens; 0 when it does not say."""
        asked = self.max_completion_tokens or self.max_tokens or self.max_output_tokens
        return asked if isinstance(asked, int) and asked > 0 else 0

    @property
    def continues(self) -> str:
        """The stored response that the request continues."""
        return self.previous_response_id if isinstance(self.previous_response_id, str) else ""


# Parameters that few requests have and that somebody has to look at, beside those of CONTROLS:
# guards/parameters.py. That none is there is seen while a body is decoded, and costs no look.
FORMS = (
    "chat_template_kwargs", "vllm_xargs", "response_format", "text", "functions", "guided_json",
    "guided_regex", "guided_choice", "guided_grammar", "structured_outputs", "structural_tag",
    "output_format", "output_config", "json_schema", "grammar", "regex", "ebnf",
)  # fmt: skip


class _Special:
    """The type of these parameters in a usual body, which has none of them."""


class _Met(Exception):
    """A body has one of them, whatever it says."""


def _meet(_kind: type, _value: Any) -> Any:
    raise _Met


Usual = cast(
    "type[Body]",
    msgspec.defstruct(
        "Usual", [(name, _Special, None) for name in (*CONTROLS, *FORMS)], bases=(Body,)
    ),
)
"""The fields of a body that has none of the special parameters."""

_usual = msgspec.json.Decoder(Usual, dec_hook=_meet)
_decoder = msgspec.json.Decoder(Body)
_utf8 = codecs.getincrementaldecoder("utf-8")


def read(body: bytes) -> Body:
    """
    Read what the gateway needs from a JSON body.

    Raises:
        BadRequest: it is not a JSON object, or a field that we need has the wrong type.

    """
    try:
        fields = _decoded(body)
        if not body.isascii():
            _check_text(body)  # what is skipped is not looked at, and an engine would have to
        return fields
    except msgspec.ValidationError as error:
        text, _, where = str(error).partition(" - at `$.")
        param = where.rstrip("`") or None
        raise BadRequest(f"{text}{f' for `{param}`' if param else ''}.", param=param) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BadRequest(f"The body is not valid JSON: {error}.", code="invalid_json") from None


def _decoded(body: bytes) -> Body:
    try:
        return _usual.decode(body)
    except _Met:
        return _decoder.decode(body)


def _check_text(body: bytes) -> None:
    """
    Look at all of a body that is not ASCII; blocks that are, such as images, cost next to nothing.

    Raises:
        UnicodeDecodeError: it is not UTF-8.

    """
    decoder = _utf8()
    for start in range(0, len(body), BLOCK_BYTES):
        block = body[start : start + BLOCK_BYTES]
        if not block.isascii() or decoder.getstate()[0]:
            decoder.decode(block)
    decoder.decode(b"", final=True)


def tokens(size: int, media: Media) -> int:
    """Estimate the prompt's tokens from the body's bytes; media count as a fixed number each."""
    return (size - media.size) // BYTES_PER_TOKEN + media.count * TOKENS_PER_MEDIUM


def rename_model(body: bytes, model: str, name: str) -> bytes:
    """The body with the top-level ``model`` set to ``name``; ``model`` is its value now, if any."""
    new = msgspec.json.encode(name)
    spans = _quick_span(body, msgspec.json.encode(model)) or _spans(body, "model")
    if not spans:
        return insert(body, b'"model":' + new)
    return spliced(body, [(start, end, new) for start, end in spans])


def truth(value: object) -> bool:
    """
    Whether an engine takes the value for true: vLLM reads 1 and "yes" as true, too.

    https://docs.pydantic.dev/latest/concepts/conversion_table/
    """
    if isinstance(value, str):
        return value.lower() in {"true", "t", "yes", "y", "on", "1"}
    return isinstance(value, int | float) and value == 1


def ask_for_usage(body: bytes, options: StreamOptions | msgspec.UnsetType | None) -> bytes:
    """The body with ``stream_options.include_usage`` set; other stream options stay as they are."""
    if options is msgspec.UNSET:
        return insert(body, b'"stream_options":{"include_usage":true}')
    spans = _spans(body, "stream_options")
    start, end = spans[-1]
    value = body[start:end]
    if options is None or not value.startswith(b"{"):
        new = b'{"include_usage":true}'
    else:
        inner = _spans(value, "include_usage")
        if inner:
            new = b"".join((value[: inner[-1][0]], b"true", value[inner[-1][1] :]))
        else:
            new = insert(value, b'"include_usage":true')
    return b"".join((body[:start], new, body[end:]))


def read_form(body: bytes, content_type: bytes) -> tuple[str | None, tuple[int, int] | None]:
    """
    The ``model`` field of a multipart form, and where its value stands.

    Raises:
        BadRequest: as ``form_fields``.

    """
    span = form_fields(body, content_type, {b"model"}).get("model")
    return (None, None) if span is None else (body[slice(*span)].decode("utf-8", "replace"), span)


def form_fields(
    body: bytes, content_type: bytes, names: Container[bytes]
) -> dict[str, tuple[int, int]]:
    """
    Where the values of these fields of a multipart form stand.

    Raises:
        BadRequest: the content type is not a multipart form with a boundary; a field is named
            twice, or in a way that only some programs read
            (https://www.rfc-editor.org/rfc/rfc7578#section-5.1.3).

    """
    found = _BOUNDARY.search(content_type)
    if found is None or not content_type.lower().startswith(b"multipart/form-data"):
        raise BadRequest("The content type must be multipart/form-data with a boundary.")
    delimiter = b"--" + (found[1] or found[2])
    spans = dict[str, tuple[int, int]]()
    start = body.find(delimiter)
    while start >= 0:
        head_end = body.find(b"\r\n\r\n", start)
        if head_end < 0:
            break
        value_end = body.find(b"\r\n" + delimiter, head_end)
        field = _FIELD.search(body, start, head_end + 2)
        if field is not None and field[2]:
            raise BadRequest("A field of the form has its name as `name*`; send it as `name`.")
        if field is not None and field[1] in names and value_end >= 0:
            name = field[1].decode("ascii")
            if name in spans:
                raise BadRequest(f"The form names `{name}` twice.", param=name)
            spans[name] = (head_end + 4, value_end)
        start = -1 if value_end < 0 else value_end + 2
    return spans


def _quick_span(body: bytes, old: bytes) -> list[tuple[int, int]]:
    r"""
    The span of the model's value when only one ``"model": "…"`` stands anywhere, as in most bodies.

    Escapes of ASCII letters (``\u00..``) could hide another, and without a top-level name the one
    that is found is a nested one.
    """
    if old == b'""' or b"\\u00" in body:
        return []
    spans = []
    start = body.find(b'"model"')
    while start >= 0:
        colon = _VALUE_AFTER_KEY.match(body, start + 7)
        if colon is not None and body[start - 1 : start] != b"\\":
            spans.append(colon.end())
        start = body.find(b'"model"', start + 7)
    if len(spans) == 1 and body.startswith(old, spans[0]):
        return [(spans[0], spans[0] + len(old))]
    return []


def _spans(body: bytes, key: str) -> list[tuple[int, int]]:
    """
    Where the values of a top-level key stand: start and end, one for each time the key is given.
    """
    return [(member.start, member.end) for member in members(body, {key})]


def members(body: bytes, keys: Container[str]) -> list[Member]:
    """Where the top-level members with these keys stand, in their order."""
    depth, found, position = 0, list[Member](), 0
    while (token := _STRING_OR_BRACKET.search(body, position)) is not None:
        position = token.end()
        text = token[0]
        if text in b"{[":
            depth += 1
        elif text in b"}]":
            depth -= 1
        elif depth == 1:
            colon = _VALUE_AFTER_KEY.match(body, position)
            if colon is not None and (key := msgspec.json.decode(text)) in keys:
                end = _value_end(body, colon.end())
                found.append(Member(key, token.start(), colon.end(), end))
                position = end
    return found


def _value_end(body: bytes, start: int) -> int:
    if body[start : start + 1] not in {b"{", b"["}:
        scalar = _SCALAR.match(body, start)
        return scalar.end() if scalar is not None else start
    depth = 0
    for token in _STRING_OR_BRACKET.finditer(body, start):
        if token[0] in b"{[":
            depth += 1
        elif token[0] in b"}]":
            depth -= 1
            if depth == 0:
                return token.end()
    return len(body)


def spliced(body: bytes, edits: Iterable[tuple[int, int, bytes]]) -> bytes:
    """
    The body with other bytes from each start to each end, in their order. Joined once: a member
    may be given a hundred thousand times.
    """
    parts, position = list[bytes](), 0
    for start, end, new in edits:
        parts += (body[position:start], new)
        position = end
    return b"".join([*parts, body[position:]])


def insert(body: bytes, member: bytes) -> bytes:
    """The object with one more member in front."""
    start = body.index(b"{") + 1
    rest = body[start:]
    comma = b"" if rest.lstrip().startswith(b"}") else b","
    return b"".join((body[:start], member, comma, rest))
