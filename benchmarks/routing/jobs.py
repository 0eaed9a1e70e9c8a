"""
What the harness and the load client say to each other: scripts of requests in, one outcome for each
request out. All times are seconds of the wall clock; how many simulated ones they are, only the
harness knows.
"""

import msgspec

MODEL = "sim"


class Turn(msgspec.Struct, frozen=True, array_like=True):
    """
    One request: named blocks of text that others may have too, then words that nobody else has.

    ``think_s`` passes between the end of the answer before it and this turn.
    """

    blocks: tuple[int, ...]
    tail: int  # tokens of text
    output_tokens: int
    think_s: float = 0.0


class Script(msgspec.Struct, frozen=True, array_like=True):
    """
    What one user does. Without ``chat`` every turn is a text completion; with it, each is a chat
    completion that brings all turns and answers before it.
    """

    number: int
    due_s: float
    session: str
    turns: tuple[Turn, ...]
    chat: bool = False


class Job(msgspec.Struct, frozen=True):
    """A load: ``block_words`` are the tokens of text in a named block."""

    port: int
    block_words: int
    scripts: tuple[Script, ...]
    max_s: float


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """
    What became of one request.

    ``due_s`` is when it should have been sent, counted from the beginning of the load; ``late_s``
    how much later it was; first token and end are counted from when it was due.
    """

    script: int
    turn: int
    due_s: float
    late_s: float
    first_s: float
    end_s: float
    gap_s: float  # longest between two chunks
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int
    chunks: int
    failure: str = ""


class Outcome(msgspec.Struct, frozen=True):
    """What became of a job; ``began_s`` is on the clock of ``time.monotonic``."""

    began_s: float
    elapsed_s: float
    cpu_s: float
    asks: list[Ask]
