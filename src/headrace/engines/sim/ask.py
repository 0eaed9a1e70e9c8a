"""
What a client asks for, in one form for all dialects, and the answer that it will get.

The dialects' own requests are read in requests.py; how the answer looks is in the dialects' files.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from headrace.engines.sim import text


class Refused(Exception):
    """A request that the engine answers with an error, in vLLM's words and shape."""

    def __init__(
        self, message: str, param: str | None = None, status: int = 400,
        kind: str = "BadRequestError",
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.message = message
        self.param = param
        self.status = status
        self.kind = kind

    def body(self) -> dict[str, Any]:
        """The error as OpenAI's endpoints say it."""
        error = {
            "message": self.message, "type": self.kind, "param": self.param, "code": self.status
        }  # fmt: skip
        return {"error": error}


@dataclass(frozen=True, slots=True)
class Wish:
    """A request in any dialect, checked field by field but not yet against the engine's limits."""

    model: str | None
    prompt: list[str]  # in tokens of text
    scale: int = 1  # tokens of the engine that one of text stands for
    stream: bool = False
    max_tokens: int | None = None
    max_tokens_name: str = "max_tokens"
    min_tokens: int = 0
    ignore_eos: bool = False
    seed: int | None = None
    stop: tuple[str, ...] = ()
    include_usage: bool = False
    continuous_usage: bool = False
    salt: str = ""
    said: str | None = None  # an answer whose words are given: a tool's arguments, a JSON value
    call: str | None = None  # the tool that is called; ``said`` are its arguments
    forced: bool = False  # the caller named the tool: the answer stops, it does not "call"

    @property
    def prompt_tokens(self) -> int:
        """The prompt's length, as the engine counts it."""
        return len(self.prompt) * self.scale


@dataclass(frozen=True, slots=True)
class Answer:
    """
    What the engine will say: its text, why it ends, and the stop string that ended it.

    The first of its pieces is said by the first of its ``tokens``, each other one by ``scale``
    more, the last one by what is left.
    """

    pieces: list[str]
    reason: str
    stop: str | None
    limit: int
    tokens: int


def answer(wish: Wish, max_model_len: int, seed: int, mean: int) -> Answer:
    """
    The answer to a wish: the same for the same wish, engine seed and mean length (tokens).

    Raises:
        Refused: prompt and answer together are too long.

    """
    limit = _limit(wish, max_model_len)
    if wish.said is not None:
        pieces = text.tokens(wish.said)
        cut = pieces[: _pieces(limit, wish.scale)]
        reason = "stop" if len(cut) == len(pieces) else "length"
        return Answer(cut, reason, None, limit, _tokens(len(cut), wish.scale))
    digest = blake2b("\0".join(wish.prompt).encode(), digest_size=8).hexdigest()
    key = f"{seed}/{wish.seed}/{digest}"
    own = limit if wish.ignore_eos else max(wish.min_tokens, text.length(key, mean))
    tokens = min(limit, own)
    pieces = text.answer(key, _pieces(tokens, wish.scale))
    reason = "length" if wish.ignore_eos or own > limit else "stop"
    return _stopped(Answer(pieces, reason, None, limit, tokens), wish)


def _pieces(tokens: int, scale: int) -> int:
    """How many pieces so many tokens say."""
    return 1 + -(-(tokens - 1) // scale)


def _tokens(pieces: int, scale: int) -> int:
    """How many tokens so many pieces are said by; none has none."""
    return max(0, 1 + (pieces - 1) * scale)


def _limit(wish: Wish, max_model_len: int) -> int:
    wanted, name, prompt = wish.max_tokens, wish.max_tokens_name, wish.prompt_tokens
    if wanted is not None and wanted > max_model_len:
        raise Refused(
            f"{name}={wanted} cannot be greater than max_model_len={max_model_len}."
            f" Please request fewer output tokens. (parameter={name}, value={wanted})",
            name,
        )
    if prompt + (wanted or 1) > max_model_len:
        raise Refused(
            f"This model's maximum context length is {max_model_len} tokens. However, you requested"
            f" {wanted or 1} output tokens and your prompt contains {prompt} input tokens."
            f" (parameter=input_tokens, value={prompt})",
            "input_tokens",
        )
    return max_model_len - prompt if wanted is None else wanted


def _stopped(found: Answer, wish: Wish) -> Answer:
    """Cut the answer before the first of its stop strings, past ``min_tokens``."""
    said = "".join(found.pieces)
    skip = len("".join(found.pieces[: wish.min_tokens]))
    places = [(said.find(stop, skip), stop) for stop in wish.stop if stop]
    hits = sorted((place, stop) for place, stop in places if place >= 0)
    if not hits:
        return found
    place, stop = hits[0]
    pieces, length = [], 0
    for piece in found.pieces:
        # The token that completes the stop string is still computed, though nothing of it is said.
        pieces.append(piece[: max(0, place - length)])
        length += len(piece)
        if length >= place + len(stop):
            break
    return Answer(pieces, "stop", stop, found.limit, _tokens(len(pieces), wish.scale))


def number(body: Mapping[str, Any], name: str, least: int = 1) -> int | None:
    """
    A whole number of the request, or None.

    Raises:
        Refused: it is something else, or too small.

    """
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise invalid("int_type", name, "Input should be a valid integer")
    if value < least:
        raise Refused(
            f"{name} must be at least {least}, got {value}. (parameter={name}, value={value})", name
        )
    return value


def invalid(kind: str, place: str, message: str) -> Refused:
    """A field that is missing or of the wrong type, as vLLM reports what pydantic found."""
    return Refused(
        f"1 validation error:\n  {{'type': '{kind}', 'loc': ('body', '{place}'),"
        f" 'msg': '{message}'}}",
        f"body.{place}",
        kind="Bad Request",
    )
