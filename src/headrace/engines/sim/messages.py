"""Answers of Anthropic's Messages API, as vLLM gives them."""

import json
from typing import Any

from headrace.engines.sim.ask import Refused
from headrace.engines.sim.voice import Failure, Turn, encode, named

STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


class Messages:
    """``/v1/messages``."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._call = turn.wish.call
        self._id = f"chatcmpl-{turn.id}"
        kind = (
            b'text_delta","text":' if self._call is None else b'input_json_delta","partial_json":'
        )
        self._before = (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
            b'"delta":{"type":"' + kind
        )

    def first(self) -> bytes:
        start = {"type": "message_start", "message": self._message([], None, 0)}
        block: dict[str, Any] = {"type": "text", "text": ""}
        if self._call is not None:
            block = self._tool({})
        opened = {"type": "content_block_start", "index": 0, "content_block": block}
        return named("message_start", start) + named("content_block_start", opened)

    def token(self, piece: str, produced: int) -> bytes:  # noqa: ARG002 - the seam's
        return self._before + encode(piece) + b"}}\n\n"

    def last(self) -> bytes:
        produced = self._turn.answer.tokens
        delta = {"stop_reason": self._reason(), "stop_sequence": self._turn.answer.stop}
        ended = {"type": "message_delta", "delta": delta, "usage": self._usage(produced)}
        return (
            self.token(self._turn.answer.pieces[-1], produced)
            + named("content_block_stop", {"type": "content_block_stop", "index": 0})
            + named("message_delta", ended)
            + named("message_stop", {"type": "message_stop"})
        )

    def failure(self, refused: Refused) -> Failure:
        error = {"type": "error", "error": {"type": refused.kind, "message": refused.message}}
        return Failure(encode(error), named("error", error))

    def whole(self) -> bytes:
        said = self._turn.text
        block: dict[str, Any] = {"type": "text", "text": said}
        if self._call is not None:
            block = self._tool(_arguments(said))
        return encode(self._message([block], self._reason(), self._turn.answer.tokens))

    def _message(self, content: list[Any], reason: str | None, produced: int) -> dict[str, Any]:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "content": content,
            "model": self._turn.model,
            "stop_reason": reason,
            "stop_sequence": self._turn.answer.stop if reason else None,
            "usage": self._usage(produced),
        }

    def _reason(self) -> str:
        return "stop_sequence" if self._turn.answer.stop else STOP_REASONS[self._turn.reason]

    def _usage(self, produced: int) -> dict[str, int]:
        """Here the prompt's tokens are counted without the cached ones."""
        prompt, cached = self._turn.wish.prompt_tokens, self._turn.cached
        if not self._turn.details:
            return {"input_tokens": prompt, "output_tokens": produced}
        found = {"input_tokens": prompt - cached, "output_tokens": produced}
        return {**found, "cache_read_input_tokens": cached}

    def _tool(self, arguments: Any) -> dict[str, Any]:
        id_ = f"chatcmpl-tool-{self._turn.id}"
        return {"type": "tool_use", "id": id_, "name": self._call, "input": arguments}


def _arguments(said: str) -> Any:
    """What a tool is called with; nothing when the answer was cut before its end."""
    try:
        return json.loads(said)
    except json.JSONDecodeError:
        return {}
