"""
The bytes of our own answers: heads, JSON bodies, and errors in the shape the client's SDK reads.
"""

from http import HTTPStatus
from typing import Literal

import msgspec

from headrace.errors import ApiError

Dialect = Literal["openai", "anthropic"]

JSON = b"content-type: application/json\r\n"
TEXT = b"content-type: text/plain; version=0.0.4; charset=utf-8\r\n"
# no-cache and x-accel-buffering keep proxies in front of us from holding chunks back.
SSE = b"cache-control: no-cache\r\nx-accel-buffering: no\r\n"
SSE_NAMES = frozenset({b"cache-control", b"x-accel-buffering"})
LAST_CHUNK = b"0\r\n\r\n"

_STATUS_LINES = {
    int(status): f"HTTP/1.1 {int(status)} {status.phrase}\r\n".encode() for status in HTTPStatus
}

encode = msgspec.json.encode


def status_line(status: int) -> bytes:
    """``HTTP/1.1 200 OK`` and its line end."""
    return _STATUS_LINES.get(status) or f"HTTP/1.1 {status} \r\n".encode()


def request_id(value: str, dialect: Dialect = "openai") -> bytes:
    """The header that every answer carries; Anthropic's SDK looks for it under another name too."""
    line = b"x-request-id: %b\r\n" % value.encode("ascii")
    return line if dialect == "openai" else line + line[2:]


def error_headers(error: ApiError) -> bytes:
    """
    The headers of an error answer; an overloaded or empty fleet always says when to come back.
    """
    retry = error.retry_after_s
    if retry is None and error.status in {429, 503} and not error.hopeless:
        retry = 1
    allow = b"allow: " + error.allow.encode() + b"\r\n" if error.allow else b""
    if error.authenticate:
        allow += b"www-authenticate: %b\r\n" % error.authenticate.encode("ascii")
    if error.hopeless:
        allow += b"x-should-retry: false\r\n"  # OpenAI's and Anthropic's SDKs obey it
    return JSON + allow + (b"" if retry is None else b"retry-after: %d\r\n" % retry)


def error_body(error: ApiError, dialect: Dialect) -> bytes:
    """The JSON that the OpenAI or the Anthropic SDK turns into its exception."""
    if dialect == "anthropic":
        inner = {"type": error.anthropic_type, "message": error.message}
        return encode({"type": "error", "error": inner})
    return encode({"error": _openai(error)})


def error_frames(error: ApiError, dialect: Dialect, *, typed: bool = False) -> bytes:
    """
    The server-sent events that end a stream which already began.

    The OpenAI SDK raises only for a ``data:`` line whose JSON has an ``error`` key. ``typed``
    adds what the Responses API's event stream expects: an event name and a type.
    """
    if dialect == "anthropic":
        return b"event: error\ndata: " + error_body(error, dialect) + b"\n\n"
    if typed:
        body = encode({**_openai(error), "type": "error", "error": _openai(error)})
        return b"event: error\ndata: " + body + b"\n\ndata: [DONE]\n\n"
    return b"data: " + error_body(error, dialect) + b"\n\ndata: [DONE]\n\n"


def _openai(error: ApiError) -> dict[str, str | None]:
    return {
        "message": error.message,
        "type": error.type,
        "param": error.param,
        "code": error.code,
    }
