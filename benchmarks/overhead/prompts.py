"""
The requests that are sent: reproducible prompts of a given size, encoded before the clock runs.
Pure; the same seed gives the same bytes on every machine.
"""

import random

from .jobs import END_MARK, MODEL

# What `headrace keys create` would make, if it threw dice this way; no gateway in use has it.
KEY = "hr-Overhead-" + "0" * 43 + "49xARQ"

_SEED = 20_261_121
_POOL_BYTES = 20_000_000
_POOL_MOST = 512
_SHARED_SHARE = 0.25
_WORDS = (
    *("water", "head", "race", "wheel", "gate", "flow", "sluice", "weir", "mill", "stone"),
    *("power", "turn", "level", "stream", "bank", "rain", "river", "channel", "drop", "force"),
)


def _words(chance: random.Random, size: int) -> str:
    # 4 kB of distinct text, then repeated: what a proxy does with text does not depend on its wit.
    text = ""
    while len(text) < min(size, 4_096):
        text += chance.choice(_WORDS) + " "
    return (text * (size // len(text) + 1))[:size]


def bodies(size: int, *, stream: bool, tokens: int) -> list[bytes]:
    """
    JSON bodies with prompts of `size` bytes: as many different ones as 20 MB allow, 512 at most.

    The first quarter of every prompt is the same, as with a shared system prompt.
    """
    chance = random.Random(_SEED)
    shared = _words(chance, int(size * _SHARED_SHARE))
    rest = size - len(shared) - len(END_MARK)
    count = max(1, min(_POOL_MOST, _POOL_BYTES // size))
    pool = []
    for _ in range(count):
        prompt = shared + _words(chance, rest) + END_MARK
        pool.append(
            (
                f'{{"model":"{MODEL}","messages":[{{"role":"user","content":"{prompt}"}}],'
                f'"max_tokens":{tokens},"stream":{"true" if stream else "false"}}}'
            ).encode()
        )
    return pool


def request(port: int, body: bytes) -> bytes:
    """The whole HTTP request, as the openai library shapes it."""
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\naccept: */*\r\n"
        f"user-agent: headrace-bench/1\r\nauthorization: Bearer {KEY}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
