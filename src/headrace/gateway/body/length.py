"""
How long an answer may be, as a body says it and as limits want it. What that costs somebody is
quota.py's.

Each endpoint has its own names for the length; engines read numbers in texts as numbers, and answer
several times where a request asks for several choices. None of it may be a way around a limit.
"""

from functools import lru_cache

import msgspec

from headrace.config.rules import Limit
from headrace.errors import BadRequest, TooLong
from headrace.gateway.body.edits import LENGTHS, Edits
from headrace.gateway.body.scan import NOTHING, Body, insert

# Where an answer is made up by a model, and the names of its length there; the first counts.
NAMES = {
    "/v1/chat/completions": ("max_completion_tokens", "max_tokens"),
    "/v1/completions": ("max_tokens",),
    "/v1/messages": ("max_tokens",),
    "/v1/responses": ("max_output_tokens",),
}
# The name that is written where none is given: all engines know it.
WRITTEN = {path: names[-1] for path, names in NAMES.items()}


class Lengths(msgspec.Struct):
    """What a body says about the length and the number of its answers."""

    max_tokens: object = None
    max_completion_tokens: object = None
    max_output_tokens: object = None
    n: object = None
    best_of: object = None
    prompt: msgspec.Raw = NOTHING


_decoder = msgspec.json.Decoder(Lengths)
_prompts = msgspec.json.Decoder(list[msgspec.Raw])


def choices(said: Body | Lengths, endpoint: str) -> int:
    """
    How many answers a request asks for.

    Raises:
        BadRequest: what it says is no number of answers.

    """
    count = 1
    if said.n is not None or said.best_of is not None:
        count = max(1, _whole("n", said.n) or 1, _whole("best_of", said.best_of) or 1)
    return count * _several(said.prompt) if endpoint == "/v1/completions" else count


def asked(said: Body | Lengths, endpoint: str) -> int:
    """
    The longest answer that a request allows, in tokens; 0 when it does not say.

    Raises:
        BadRequest: what it says is no whole number.

    """
    for name in NAMES[endpoint]:
        value = _whole(name, getattr(said, name))
        if value:
            return max(0, value)
    return 0


def bounded(
    body: bytes, said: Body | Lengths, endpoint: str, most: int, *, refuse: bool
) -> tuple[bytes, int]:
    """
    The body, of which this is ``said``, with an answer of at most so many tokens, and how many it
    may have now.

    Raises:
        TooLong: it asks for more, and is to be refused then.
        BadRequest: its length is no whole number.

    """
    given = {name: _whole(name, getattr(said, name)) for name in LENGTHS}
    length = asked(said, endpoint)
    largest = max((length for length in given.values() if length), default=0)
    if largest > most and refuse:
        name = next(name for name, length in given.items() if length and length > most)
        raise TooLong(f"`{name}` is {given[name]:,}; at most {most:,} is allowed.", param=name)
    if largest > most or not length:
        body = _edits(most).apply(body, endpoint)
        if not asked(read(body), endpoint):
            body = insert(body, b'"%b":%d' % (WRITTEN[endpoint].encode("ascii"), most))
    return body, min(length or most, most)


def read(body: bytes) -> Lengths:
    """
    What the body says.

    Raises:
        BadRequest: it cannot be decoded.

    """
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"The body is not valid JSON: {error}.", code="invalid_json") from None


@lru_cache(maxsize=256)
def _edits(most: int) -> Edits:
    return Edits({"max_tokens": Limit(max=most, default=most)})


def _whole(name: str, value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadRequest(f"`{name}` must be a whole number.", param=name)
    return value


def _several(prompt: msgspec.Raw) -> int:
    """How many prompts there are: a list of texts or of lists of tokens; one of tokens is one."""
    raw = bytes(prompt)
    if not raw.startswith(b"["):
        return 1
    try:
        each = _prompts.decode(raw)
    except msgspec.MsgspecError:
        return 1  # the engine says what it thinks of it
    return len(each) if each and bytes(each[0])[:1] in {b'"', b"["} else 1
