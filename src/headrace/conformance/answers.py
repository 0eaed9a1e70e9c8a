"""What vLLM 0.32 says, as recorded: frames, bodies, errors, and scripts for the fake engine."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from headrace.conformance.fake import Exchange, Script

DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 33, "total_tokens": 41, "completion_tokens": 8}
WORDS = ("Hello", "!", " I", "'m", " here", " to", " help", " you")

# Recorded error bodies, byte for byte.
ERR_CONTEXT = (
    b'{"error":{"message":"max_tokens=99999 cannot be greater than max_model_len=4096. Please '
    b'request fewer output tokens. (parameter=max_tokens, value=99999)","type":"BadRequestError",'
    b'"param":"max_tokens","code":400}}'
)
ERR_MODEL = (
    b'{"error":{"message":"The model `nope` does not exist. Valid aliases: smollm2.",'
    b'"type":"NotFoundError","param":"model","code":404}}'
)
ERR_TEMPERATURE = (
    b'{"error":{"message":"temperature must be non-negative, got -3.0. (parameter=temperature, '
    b'value=-3.0)","type":"BadRequestError","param":"temperature","code":400}}'
)
ERR_ROUTE = b'{"detail":"Not Found"}'


def dump(value: object) -> bytes:
    """JSON as vLLM writes it: no spaces, no escapes."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def frame(value: object, event: str | None = None) -> bytes:
    """A value as one server-sent event."""
    name = f"event: {event}\n".encode() if event else b""
    return name + b"data: " + dump(value) + b"\n\n"


def error(status: int, message: str = "Not well.", kind: str = "EngineError") -> bytes:
    return dump({"error": {"message": message, "type": kind, "param": None, "code": status}})


def message_error(kind: str, message: str) -> bytes:
    """An error in Anthropic's shape."""
    return dump({"type": "error", "error": {"type": kind, "message": message}})


def model_card(name: str) -> dict[str, Any]:
    """An entry of /v1/models."""
    return {
        "id": name,
        "object": "model",
        "created": 1795250593,
        "owned_by": "vllm",
        "root": name,
        "parent": None,
        "max_model_len": 131_072,
    }


# chat completions


def chat_chunk(model: str, delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    choice = {
        "index": 0,
        "delta": delta,
        "logprobs": None,
        "finish_reason": finish,
        "token_ids": None,
    }
    return _chat_frame(model, [choice], **more)


def chat_usage(model: str, usage: dict[str, Any] | None = None) -> bytes:
    """The extra chunk that include_usage asks for."""
    return _chat_frame(model, [], usage=usage or USAGE, system_fingerprint="vllm-0.32.0-20bdb929")


def _chat_frame(model: str, choices: list[Any], **more: Any) -> bytes:
    return frame(
        {
            "id": "chatcmpl-8e2d5645429282a6",
            "object": "chat.completion.chunk",
            "created": 1795250589,
            "model": model,
            "choices": choices,
            **more,
        }
    )


def chat_frames(model: str, words: Sequence[str] = WORDS, *, usage: bool = False) -> list[bytes]:
    """A whole streamed chat answer, frame by frame."""
    return [
        chat_chunk(model, {"role": "assistant", "content": ""}),
        *(chat_chunk(model, {"content": word}) for word in words[:-1]),
        chat_chunk(model, {"content": words[-1]}, "length"),
        *([chat_usage(model)] if usage else []),
        DONE,
    ]


def chat_body(model: str, text: str = "By the way, hello!") -> bytes:
    message = {"role": "assistant", "content": text, "refusal": None, "reasoning": None}
    return dump(
        {
            "id": "chatcmpl-855938872950bb7b",
            "object": "chat.completion",
            "created": 1795250591,
            "model": model,
            "choices": [
                {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
            ],
            "service_tier": None,
            "usage": {**USAGE, "prompt_tokens_details": {"cached_tokens": 16}},
            "prompt_logprobs": None,
        }
    )


# completions


def text_chunk(model: str, text: str, finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
    return _text_frame(model, [choice], **more)


def text_usage(model: str) -> bytes:
    return _text_frame(model, [], usage=USAGE)


def _text_frame(model: str, choices: list[Any], **more: Any) -> bytes:
    return frame(
        {
            "id": "cmpl-85d95a54ccb723dd",
            "object": "text_completion",
            "created": 1795250590,
            "model": model,
            "choices": choices,
            **more,
        }
    )


def text_frames(model: str, *, usage: bool = False) -> list[bytes]:
    return [
        text_chunk(model, "'s"),
        text_chunk(model, " roasted", "length"),
        *([text_usage(model)] if usage else []),
        DONE,
    ]


def text_body(model: str) -> bytes:
    choice = {"index": 0, "text": "'s roasted", "logprobs": None, "finish_reason": "length"}
    return dump(
        {
            "id": "cmpl-85d95a54ccb723dd",
            "object": "text_completion",
            "created": 1795250590,
            "model": model,
            "choices": [choice],
            "usage": USAGE,
        }
    )


# responses


def response_body(
    model: str, identity: str = "resp_1", status: str = "completed"
) -> dict[str, Any]:
    part = {"type": "output_text", "text": "Hello!", "annotations": []}
    return {
        "id": identity,
        "object": "response",
        "created_at": 1795250591,
        "model": model,
        "status": status,
        "output": [{"type": "message", "id": "msg_1", "role": "assistant", "content": [part]}],
        "usage": {"input_tokens": 33, "output_tokens": 8, "total_tokens": 41},
    }


def response_frames(model: str, identity: str = "resp_1") -> list[bytes]:
    started = response_body(model, identity, "in_progress") | {"output": [], "usage": None}
    delta = {"type": "response.output_text.delta", "item_id": "msg_1", "delta": "Hello!"}
    whole = response_body(model, identity)
    return [
        frame({"type": "response.created", "response": started}, "response.created"),
        frame(delta, "response.output_text.delta"),
        frame({"type": "response.completed", "response": whole}, "response.completed"),
    ]


# Anthropic messages


def message_body(model: str) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": "Hello!"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 33, "output_tokens": 8},
    }


def message_frames(model: str) -> list[bytes]:
    started = message_body(model) | {"content": [], "stop_reason": None}
    text = {"type": "text", "text": ""}
    delta = {"type": "text_delta", "text": "Hello!"}
    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": started},
        {"type": "content_block_start", "index": 0, "content_block": text},
        {"type": "ping"},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": stop, "usage": {"output_tokens": 8}},
        {"type": "message_stop"},
    ]
    return [frame(event, event["type"]) for event in events]


# scripts


def streams(*frames: bytes) -> Script:
    """Answer with these frames, each its own chunk and segment."""

    async def script(exchange: Exchange) -> None:
        await exchange.start_stream()
        await exchange.events(*frames)
        await exchange.end_stream()

    return script


def says(
    status: int,
    body: bytes,
    *headers: tuple[str, str],
    content_type: str = "application/json",
) -> Script:
    """Answer with this body."""

    async def script(exchange: Exchange) -> None:
        await exchange.answer(status, body, *headers, content_type=content_type)

    return script


def raw(data: bytes, *, close: bool = False) -> Script:
    """Answer with exactly these bytes."""

    async def script(exchange: Exchange) -> None:
        await exchange.write(data)
        if close:
            exchange.close()

    return script


async def hangs(exchange: Exchange) -> None:
    """Say nothing until the gateway goes away."""
    await exchange.link.closed.wait()


async def resets(exchange: Exchange) -> None:
    """Break the connection instead of an answer."""
    exchange.reset()


def streams_then(*frames: bytes, then: Callable[[Exchange], Awaitable[None]]) -> Script:
    """Begin a stream with these frames, then go on with another script."""

    async def script(exchange: Exchange) -> None:
        await exchange.start_stream()
        await exchange.events(*frames)
        await then(exchange)

    return script


def after(event: asyncio.Event, script: Script) -> Script:
    """Wait for the event, then play the script."""

    async def waiting(exchange: Exchange) -> None:
        await event.wait()
        await script(exchange)

    return waiting


async def like_vllm(exchange: Exchange) -> None:
    """Answer as vLLM would, with the model's name as it was asked for."""
    await answer_for(exchange)(exchange)


GETS = ("/v1/responses/",)
POSTS = frozenset(
    {
        "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses",
        "/v1/messages", "/v1/messages/count_tokens", "/v1/rerank", "/v1/score",
        "/v1/audio/transcriptions", "/tokenize", "/detokenize",
    }
)  # fmt: skip


def refusal(exchange: Exchange, served: str) -> "Script | None":
    """The script for a request that vLLM would not even begin with, or None."""
    path = exchange.path
    if path not in POSTS and not path.startswith(GETS):
        return says(404, ERR_ROUTE)
    if (exchange.method == "POST") != (path in POSTS):
        return says(405, b'{"detail":"Method Not Allowed"}')
    if exchange.method != "POST" or "multipart" in (exchange.header("content-type") or ""):
        return None
    try:
        asked = exchange.json()
    except ValueError:
        return says(400, error(400, "JSON decode error", "BadRequestError"))
    if not isinstance(asked, dict):
        return says(400, error(400, "The body is not an object", "BadRequestError"))
    return says(404, ERR_MODEL) if asked.get("model", served) != served else None


def answer_for(exchange: Exchange) -> Script:
    """The script that answers this request well."""
    if exchange.method != "POST":
        identity = exchange.path.split("/")[3] if exchange.path.count("/") >= 3 else "resp_1"
        return says(200, dump(response_body("m", identity)))
    if "multipart" in (exchange.header("content-type") or ""):
        return says(200, dump({"text": "Hello!", "usage": {"type": "duration", "seconds": 1}}))
    asked = exchange.json() if exchange.body else {}
    model = str(asked.get("model", "m"))
    endpoint = exchange.path.removeprefix("/v1/")
    if asked.get("stream"):
        usage = bool((asked.get("stream_options") or {}).get("include_usage"))
        return streams(*stream_for(endpoint, model, usage=usage))
    return says(200, body_for(endpoint, model))


def stream_for(endpoint: str, model: str, *, usage: bool = False) -> list[bytes]:
    """The frames of a streamed answer of this endpoint (its path without /v1/)."""
    if endpoint == "completions":
        return text_frames(model, usage=usage)
    if endpoint == "responses":
        return response_frames(model)
    if endpoint == "messages":
        return message_frames(model)
    return chat_frames(model, usage=usage)


def body_for(endpoint: str, model: str) -> bytes:
    """The body of a whole answer of this endpoint (its path without /v1/)."""
    bodies = {
        "completions": text_body(model),
        "responses": dump(response_body(model)),
        "messages": dump(message_body(model)),
        "messages/count_tokens": dump({"input_tokens": 33}),
        "embeddings": dump(
            {
                "id": "embd-1",
                "object": "list",
                "model": model,
                "data": [{"index": 0, "object": "embedding", "embedding": [0.25, -0.5]}],
                "usage": {"prompt_tokens": 3, "total_tokens": 3},
            }
        ),
        "rerank": dump({"id": "rr-1", "model": model, "results": [], "usage": {"total_tokens": 3}}),
        "score": dump({"id": "sc-1", "object": "list", "model": model, "data": []}),
    }
    return bodies.get(endpoint, chat_body(model))
