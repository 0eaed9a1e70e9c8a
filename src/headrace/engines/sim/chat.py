"""Answers of OpenAI's chat and text completions; the recordings of vLLM 0.32 say how they look."""

from typing import Any

from headrace.engines.sim.ask import Refused
from headrace.engines.sim.voice import FINGERPRINT, Failure, Turn, data, encode, openai_failure

DONE = b"data: [DONE]\n\n"


class Chunks:
    """Chunks of one stream: all but the token is the same each time, and made only once."""

    def __init__(self, turn: Turn, head: dict[str, Any], choice: tuple[bytes, bytes]) -> None:
        self._turn = turn
        self._head = head
        self._before = b"data: " + encode(head)[:-1] + b',"choices":[{"index":0,' + choice[0]
        self._after = choice[1] + b"}]"

    def token(self, piece: str, produced: int) -> bytes:
        """One token."""
        usage = b"}\n\n"
        if self._turn.wish.continuous_usage:
            usage = b',"usage":' + encode(self._turn.usage(produced)) + usage
        return self._before + encode(piece) + self._after + usage

    def last(self, choice: dict[str, Any]) -> bytes:
        """The token that ends the answer, usage if it was asked for, and the end mark."""
        chunk = {**self._head, "choices": [choice]}
        usage = self._turn.usage(self._turn.answer.tokens)
        if self._turn.wish.continuous_usage:
            chunk["usage"] = usage
        if not self._turn.wish.include_usage:
            return data({**chunk, "system_fingerprint": FINGERPRINT}) + DONE
        total = {**self._head, "choices": [], "usage": usage, "system_fingerprint": FINGERPRINT}
        return data(chunk) + data(total) + DONE


class Chat:
    """``/v1/chat/completions``."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._call = turn.wish.call
        self._id = f"chatcmpl-{turn.id}"
        self._head = {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": turn.created,
            "model": turn.model,
        }
        delta = (b'"delta":{"content":', b"}")
        if self._call is not None:
            delta = (b'"delta":{"tool_calls":[{"index":0,"function":{"arguments":', b"}}]}")
        after = b',"logprobs":null,"finish_reason":null,"token_ids":null'
        self._chunks = Chunks(turn, self._head, (delta[0], delta[1] + after))

    def first(self) -> bytes:
        """The role; and the tool's name, if one is called."""
        chunk: dict[str, Any] = {**self._head, "choices": [self._opening("")]}
        if self._turn.wish.continuous_usage:
            chunk["usage"] = self._turn.usage(0)
        opened = data({**chunk, "prompt_token_ids": None, "prompt_text": None})
        if self._call is None:
            return opened
        call = {**self._tool(""), "index": 0}
        choice = {
            "index": 0, "delta": {"tool_calls": [call]}, "logprobs": None, "finish_reason": None,
            "token_ids": None,
        }  # fmt: skip
        return opened + data({**self._head, "choices": [choice]})

    def token(self, piece: str, produced: int) -> bytes:
        return self._chunks.token(piece, produced)

    def last(self) -> bytes:
        piece = self._turn.answer.pieces[-1]
        delta: dict[str, Any] = {"content": piece}
        if self._call is not None:
            delta = {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
        choice = {
            "index": 0,
            "delta": delta,
            "logprobs": None,
            "finish_reason": self._turn.reason,
            "stop_reason": self._turn.answer.stop,
            "token_ids": None,
        }
        return self._chunks.last(choice)

    def failure(self, refused: Refused) -> Failure:
        return openai_failure(refused)

    def whole(self) -> bytes:
        turn = self._turn
        message: dict[str, Any] = {
            "role": "assistant",
            "content": turn.text if self._call is None else None,
            "refusal": None,
            "annotations": None,
            "audio": None,
            "function_call": None,
        }
        if self._call is not None:
            message["tool_calls"] = [self._tool(turn.text)]
        choice = {
            "index": 0,
            "message": {**message, "reasoning": None},
            "logprobs": None,
            "finish_reason": turn.reason,
            "stop_reason": turn.answer.stop,
            "token_ids": None,
            "routed_experts": None,
        }
        nothing = dict.fromkeys(
            ("prompt_logprobs", "prompt_token_ids", "prompt_text", "kv_transfer_params",
             "ec_transfer_params", "metrics")
        )  # fmt: skip
        return encode({
            "id": self._id,
            "object": "chat.completion",
            "created": turn.created,
            "model": turn.model,
            "choices": [choice],
            "service_tier": None,
            "system_fingerprint": FINGERPRINT,
            "usage": turn.whole_usage(),
            **nothing,
        })  # fmt: skip

    def _opening(self, content: str) -> dict[str, Any]:
        delta = {"role": "assistant", "content": content}
        return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}

    def _tool(self, arguments: str) -> dict[str, Any]:
        function = {"name": self._call, "arguments": arguments}
        return {"id": f"chatcmpl-tool-{self._turn.id}", "type": "function", "function": function}


class Completion:
    """``/v1/completions``."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._id = f"cmpl-{turn.id}"
        head = {
            "id": self._id,
            "object": "text_completion",
            "created": turn.created,
            "model": turn.model,
        }
        after = (
            b',"logprobs":null,"finish_reason":null,"stop_reason":null,"prompt_token_ids":null,'
            b'"token_ids":null'
        )
        self._chunks = Chunks(turn, head, (b'"text":', after))

    def first(self) -> bytes:
        return b""

    def token(self, piece: str, produced: int) -> bytes:
        return self._chunks.token(piece, produced)

    def last(self) -> bytes:
        return self._chunks.last(
            {**self._choice(self._turn.answer.pieces[-1]), "prompt_token_ids": None,
             "token_ids": None}
        )  # fmt: skip

    def failure(self, refused: Refused) -> Failure:
        return openai_failure(refused)

    def whole(self) -> bytes:
        nothing = dict.fromkeys(
            ("token_ids", "prompt_logprobs", "prompt_token_ids", "routed_experts")
        )
        return encode({
            "id": self._id,
            "object": "text_completion",
            "created": self._turn.created,
            "model": self._turn.model,
            "choices": [{**self._choice(self._turn.text), **nothing}],
            "service_tier": None,
            "system_fingerprint": FINGERPRINT,
            "usage": self._turn.whole_usage(),
            **dict.fromkeys(("kv_transfer_params", "ec_transfer_params", "metrics")),
        })  # fmt: skip

    def _choice(self, said: str) -> dict[str, Any]:
        return {
            "index": 0,
            "text": said,
            "logprobs": None,
            "finish_reason": self._turn.answer.reason,
            "stop_reason": self._turn.answer.stop,
        }
