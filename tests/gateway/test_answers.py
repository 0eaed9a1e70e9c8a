"""answers.py: errors as each SDK reads them, and the lines around them."""

import inspect
import json
from http import HTTPStatus

import pytest

from headrace import errors
from headrace.conformance.wire import split_events
from headrace.errors import (
    ApiError,
    EngineError,
    MethodNotAllowed,
    NoReplica,
    QuotaExceeded,
    RateLimited,
    TimedOut,
    TooLong,
    Unauthorized,
)
from headrace.gateway import answers

KINDS = [
    thing
    for _, thing in inspect.getmembers(errors, inspect.isclass)
    if issubclass(thing, ApiError) and thing not in {EngineError, MethodNotAllowed}
]
each_error = pytest.mark.parametrize(
    "error",
    [kind("Näin, \n\r\0 \"'.", param="p") for kind in KINDS]
    + [
        MethodNotAllowed("No.", allow="GET, HEAD"),
        EngineError(418, "No."),
        EngineError(503, "No."),
    ],
    ids=lambda error: type(error).__name__,
)


class TestErrors:
    @each_error
    def test_openai(self, error: ApiError) -> None:
        """Message, type, param and code, below one key."""
        expected = {
            "message": error.message, "type": error.type, "param": error.param, "code": error.code,
        }  # fmt: skip

        assert {"error": expected} == json.loads(answers.error_body(error, "openai"))

    @each_error
    def test_anthropic(self, error: ApiError) -> None:
        """A type of their list and the message, marked as an error."""
        expected = {"type": error.anthropic_type, "message": error.message}

        body = json.loads(answers.error_body(error, "anthropic"))

        assert {"type": "error", "error": expected} == body

    @each_error
    @pytest.mark.parametrize("typed", [False, True])
    def test_frames(self, error: ApiError, typed: bool) -> None:
        """In a stream: one event with the error, then [DONE]; whole frames, whatever it says."""
        events, rest = split_events(answers.error_frames(error, "openai", typed=typed))

        assert b"" == rest
        assert [True, False] == ["error" in (event.data or "") for event in events]
        assert "[DONE]" == events[1].data
        assert json.loads(answers.error_body(error, "openai"))["error"] == events[0].json()["error"]
        assert (typed, typed) == (
            events[0].event == "error",
            events[0].json().get("type") == "error",
        )

    @each_error
    def test_anthropic_frame(self, error: ApiError) -> None:
        """Anthropic's streams end with their error event."""
        events, rest = split_events(answers.error_frames(error, "anthropic"))

        assert (b"", 1, "error") == (rest, len(events), events[0].event)
        assert json.loads(answers.error_body(error, "anthropic")) == events[0].json()

    @each_error
    def test_headers_are_lines(self, error: ApiError) -> None:
        """Nothing of an error's text gets into the head."""
        lines = answers.error_headers(error).split(b"\r\n")

        assert b"" == lines[-1]
        known = {b"content-type", b"retry-after", b"allow", b"www-authenticate", b"x-should-retry"}
        assert known >= {line.partition(b":")[0] for line in lines[:-1]}

    @pytest.mark.parametrize(
        ("error", "line"),
        [
            (NoReplica("x"), b"retry-after: 1\r\n"),
            (NoReplica("x", retry_after_s=7), b"retry-after: 7\r\n"),
            (NoReplica("x", retry_after_s=0), b"retry-after: 0\r\n"),
            (EngineError(429, "x"), b"retry-after: 1\r\n"),
            (TimedOut("x"), b""),
            (MethodNotAllowed("x", allow="GET"), b"allow: GET\r\n"),
            (Unauthorized("x"), b'www-authenticate: Bearer realm="headrace"\r\n'),
            (RateLimited("x", retry_after_s=7), b"retry-after: 7\r\n"),
            (QuotaExceeded("x"), b"x-should-retry: false\r\n"),
            (TooLong("x"), b"x-should-retry: false\r\n"),
        ],
    )
    def test_when_to_come_back(self, error: ApiError, line: bytes) -> None:
        """What is a matter of room says when to come back; nothing else does."""
        assert b"content-type: application/json\r\n" + line == answers.error_headers(error)


@pytest.mark.parametrize("status", [*HTTPStatus])
def test_known_statuses_have_their_phrase(status: HTTPStatus) -> None:
    """Every status of the standard has its own words."""
    assert f"HTTP/1.1 {status} {status.phrase}\r\n".encode() == answers.status_line(status)


@pytest.mark.parametrize("status", [299, 529, 599])
def test_unknown_statuses_have_none(status: int) -> None:
    """A status that nobody named is still a status line (RFC 9112, 4: the space stays)."""
    assert f"HTTP/1.1 {status} \r\n".encode() == answers.status_line(status)
