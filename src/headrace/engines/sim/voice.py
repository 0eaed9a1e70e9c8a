"""What all dialects need to say an answer, and the seam behind which each says it its own way."""

from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from headrace.config.surface import Surface
from headrace.engines.sim.ask import Answer, Refused, Wish

FINGERPRINT = "vllm-0.32.0-sim"
encode = msgspec.json.encode


@dataclass(slots=True)
class Turn:
    """One exchange: what was wished, what is answered, and what the engine found in its cache."""

    id: str  # 16 hexadecimal digits
    created: int  # seconds since 1970
    model: str
    wish: Wish
    answer: Answer
    details: bool  # whether usage tells the cached tokens
    surface: Surface
    cached: int = 0

    @property
    def reason(self) -> str:
        """Why it ends, in OpenAI's words: a tool that was chosen freely, and whole, is called."""
        called = self.wish.call is not None and not self.wish.forced
        return "tool_calls" if called and self.answer.reason == "stop" else self.answer.reason

    def usage(self, produced: int) -> dict[str, Any]:
        """The tokens so far, as OpenAI's chunks say them."""
        prompt = self.wish.prompt_tokens
        found: dict[str, Any] = {
            "prompt_tokens": prompt,
            "total_tokens": prompt + produced,
            "completion_tokens": produced,
        }
        if self.details:
            found["prompt_tokens_details"] = {"cached_tokens": self.cached}
        return found

    def whole_usage(self) -> dict[str, Any]:
        """The tokens, as OpenAI's whole answers say them: with every field."""
        empty = {"prompt_tokens_details": None, "completion_tokens_details": None}
        found = {**self.usage(self.answer.tokens), **empty}
        if self.details:
            found["prompt_tokens_details"] = {"cached_tokens": self.cached}
        return found

    @property
    def text(self) -> str:
        """All that is said."""
        return "".join(self.answer.pieces)


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as a body, and as what ends a stream."""

    body: bytes
    frames: bytes


class Voice(Protocol):
    """A dialect's way to say one answer, in bytes that go into a stream or a whole body."""

    def first(self) -> bytes:
        """What opens the stream."""

    def token(self, piece: str, produced: int) -> bytes:
        """One more token."""

    def last(self) -> bytes:
        """What ends the stream, after the last token that ``token`` said (OpenAI: with it)."""

    def whole(self) -> bytes:
        """The answer in one piece."""

    def failure(self, refused: Refused) -> Failure:
        """An error in its place."""


def openai_failure(refused: Refused) -> Failure:
    """As vLLM's OpenAI endpoints do it."""
    return Failure(encode(refused.body()), data(refused.body()) + b"data: [DONE]\n\n")


def named(name: str, event: dict[str, Any]) -> bytes:
    """A server-sent event with a name."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), encode(event))


def data(value: dict[str, Any]) -> bytes:
    """A server-sent event without a name."""
    return b"data: %b\n\n" % encode(value)
