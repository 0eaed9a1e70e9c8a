"""
What rules may ask of a body beyond the usual scan: messages, images, tools, a schema, who speaks.
Looked for only while some rule asks. The usual scan, which finds the parts, is scan.py's.
"""

import msgspec
from msgspec import Raw

from headrace.gateway.body import scan

_NOTHING = Raw(b"")
_IMAGES = frozenset({"image", "image_url", "input_image"})
# Fields that make an engine follow a schema, whatever is in them: vLLM's own.
_OWN_SCHEMAS = ("guided_json", "structured_outputs")


class _Part(msgspec.Struct):
    type: str | None = None
    content: Raw = _NOTHING  # of a tool's result


class _Message(msgspec.Struct):
    content: Raw = _NOTHING


class _Format(msgspec.Struct):
    type: str | None = None


class _Text(msgspec.Struct):
    format: _Format | None = None


class _Metadata(msgspec.Struct):
    user_id: str | None = None


class Wide(scan.Body):
    """The usual fields, and those that rules ask for."""

    tool_choice: Raw = _NOTHING
    response_format: _Format | None = None
    text: Raw = _NOTHING  # of /v1/responses; elsewhere it is somebody's text
    guided_json: Raw = _NOTHING
    structured_outputs: Raw = _NOTHING
    safety_identifier: Raw = _NOTHING
    prompt_cache_key: Raw = _NOTHING
    metadata: Raw = _NOTHING


class Traits(msgspec.Struct, frozen=True, gc=False):
    """What was found. ``session`` is what the body says of it; a header may say it, too."""

    messages: int = 0
    images: bool = False
    tools: bool = False
    json_schema: bool = False
    user: str = ""
    session: str = ""


NO_TRAITS = Traits()

_decoder = msgspec.json.Decoder(Wide)
_items = msgspec.json.Decoder(list[_Message])
_parts = msgspec.json.Decoder(list[_Part])
_text = msgspec.json.Decoder(_Text)
_metadata = msgspec.json.Decoder(_Metadata)
_string = msgspec.json.Decoder(str)


def read(body: bytes) -> scan.Body:
    """
    As ``scan.read``, with what rules ask for where the body has the shape that the APIs give it.

    Raises:
        BadRequest: as ``scan.read``.

    """
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return scan.read(body)  # it says what is wrong, or lets the engine say it


def traits(body: scan.Body) -> Traits:
    """What rules ask for; nothing where ``read`` could not find it."""
    if not isinstance(body, Wide):
        return NO_TRAITS
    messages = _listed(body.messages) or _listed(body.input)
    if not messages and memoryview(body.input)[:1].tobytes() == b'"':
        messages = [_Message()]
    return Traits(
        messages=len(messages),
        images=any(_has_image(message.content) for message in messages),
        tools=_has_tools(body),
        json_schema=_has_schema(body),
        user=_word(body.user) or _word(body.safety_identifier) or _user_id(body.metadata),
        session=_word(body.prompt_cache_key) or body.continues,
    )


def _listed(raw: Raw) -> list[_Message]:
    """Messages, or the items of /v1/responses; none in what is no list of them."""
    if memoryview(raw)[:1].tobytes() != b"[":
        return []
    try:
        return _items.decode(raw)
    except (msgspec.MsgspecError, RecursionError):
        return []  # the inputs of embeddings are texts or tokens


def _has_image(content: Raw, depth: int = 2) -> bool:
    """Whether a list of parts has one; a tool's result is a list of parts within."""
    if not depth or memoryview(content)[:1].tobytes() != b"[":
        return False  # a text, however long, is not copied
    data = bytes(content)
    if b"image" not in data and b"\\u00" not in data:
        return False
    try:
        parts = _parts.decode(data)
    except (msgspec.MsgspecError, RecursionError):
        return False
    return any(part.type in _IMAGES or _has_image(part.content, depth - 1) for part in parts)


def _has_tools(body: Wide) -> bool:
    tools = bytes(body.tools)
    return (
        tools.startswith(b"[") and tools[1:].lstrip() != b"]" and _word(body.tool_choice) != "none"
    )


def _has_schema(body: Wide) -> bool:
    if body.response_format is not None and body.response_format.type == "json_schema":
        return True
    if any(bytes(getattr(body, name)) not in {b"", b"null"} for name in _OWN_SCHEMAS):
        return True
    if not bytes(body.text).startswith(b"{"):
        return False
    try:
        form = _text.decode(body.text).format
    except (msgspec.MsgspecError, RecursionError):
        return False
    return form is not None and form.type == "json_schema"


def _user_id(raw: Raw) -> str:
    if not bytes(raw).startswith(b"{"):
        return ""
    try:
        return _metadata.decode(raw).user_id or ""
    except (msgspec.MsgspecError, RecursionError):
        return ""


def _word(raw: Raw) -> str:
    """A text; empty for anything else."""
    try:
        return _string.decode(raw) if bytes(raw).startswith(b'"') else ""
    except msgspec.MsgspecError:
        return ""
