"""
Values that travel between rooms. Frozen, without behaviour; msgspec structs, since they are made
per request.
"""

from msgspec import Struct


class Usage(Struct, frozen=True, gc=False):
    """
    Tokens of one answer as the engine counted them; ``cached`` is the reused part of ``prompt``.
    """

    prompt: int = 0
    completion: int = 0
    cached: int = 0


class RequestFacts(Struct, frozen=True, gc=False):
    """
    What one scan tells about a request: everything that routing may look at.

    ``prompt_tokens`` is an estimate from the body's size; ``max_tokens`` is what the client
    allows the answer to be long, 0 when it does not say. ``sticky`` names the stored response
    or conversation that the request continues, "" for none.
    """

    model: str
    endpoint: str
    stream: bool
    prompt_tokens: int
    max_tokens: int = 0
    sticky: str = ""


class Class(Struct, frozen=True, gc=False):
    """
    What a request is by its meaning. ``confidence`` is from 0 to 1, 0 where nothing was judged.

    ``why``: ``meaning`` it was judged; ``unsure`` the best was below the threshold; ``script`` it
    is in a script that the examples do not have; ``empty`` there is no text; ``late``, ``busy``,
    ``starting`` and ``failed`` there was no judgement in time. All but the first are the default.
    """

    name: str
    confidence: float
    why: str
