"""
What Envoy itself answers, in the shapes of OpenAI's and Anthropic's APIs, as the gateway would.

The texts are fixed: what a client sent never comes back.
"""

import json
from dataclasses import dataclass
from typing import Any

ANTHROPIC = "/v1/messages"


@dataclass(frozen=True, slots=True)
class Reply:
    """An error's status, its type in both dialects, its code and its sentence."""

    status: int
    type: str
    anthropic: str
    code: str
    message: str


_INVALID = ("invalid_request_error", "invalid_request_error")
_BUSY = ("api_error", "overloaded_error")

REPLIES = (
    Reply(400, *_INVALID, "bad_http", "The request is not valid HTTP."),
    Reply(401, "authentication_error", "authentication_error", "invalid_token",
          "The token is missing, has expired, or is not of the issuer that is trusted here."),
    Reply(403, "permission_error", "permission_error", "forbidden",
          "This path, or this token, is not allowed from here."),
    Reply(404, "invalid_request_error", "not_found_error", "not_found", "No such endpoint."),
    Reply(408, *_INVALID, "request_timeout", "The request did not arrive in time."),
    Reply(413, "invalid_request_error", "request_too_large", "request_too_large",
          "The request body is too large."),
    Reply(426, *_INVALID, "bad_http", "HTTP/1.1 or newer is needed."),
    Reply(429, "rate_limit_error", "rate_limit_error", "rate_limit_exceeded",
          "Too many requests from this address."),
    Reply(431, *_INVALID, "headers_too_large", "The request's head is too large."),
    Reply(501, *_INVALID, "bad_http", "This transfer-encoding is not known here."),
    Reply(502, "api_error", "api_error", "gateway_failed", "The gateway broke off its answer."),
    Reply(503, *_BUSY, "overloaded", "No gateway has room or can be reached at the moment."),
    Reply(504, "api_error", "timeout_error", "timeout", "The gateway did not answer in time."),
)  # fmt: skip


def body(reply: Reply, *, anthropic: bool = False) -> str:
    """The JSON of an answer."""
    if anthropic:
        error = {"type": reply.anthropic, "message": reply.message}
        return json.dumps({"type": "error", "error": error})
    inner = {"message": reply.message, "type": reply.type, "param": None, "code": reply.code}
    return json.dumps({"error": inner})


def replies() -> dict[str, Any]:
    """Envoy's LocalReplyConfig: of these the first that matches decides."""
    mappers = []
    for reply in REPLIES:
        mappers.append(_mapper(reply, anthropic=True))
        mappers.append(_mapper(reply, anthropic=False))
    return {"mappers": mappers}


def _mapper(reply: Reply, *, anthropic: bool) -> dict[str, Any]:
    status = {"default_value": reply.status, "runtime_key": "edge.none"}
    chosen: dict[str, Any] = {
        "status_code_filter": {"comparison": {"op": "EQ", "value": status}},
    }
    if anthropic:
        path = {"header": {"name": ":path", "string_match": {"prefix": ANTHROPIC}}}
        chosen = {"and_filter": {"filters": [chosen, {"header_filter": path}]}}
    return {
        "filter": chosen,
        "body_format_override": {
            "text_format_source": {"inline_string": body(reply, anthropic=anthropic)},
            "content_type": "application/json",
        },
    }
