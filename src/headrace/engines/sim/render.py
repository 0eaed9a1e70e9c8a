"""
What `/v1/completions/render` and its chat form answer: the prompt as the engine would see it.

Routers ask every replica for the tokens of every request, so replicas of one process share what
they have rendered. The answer has the fields of vLLM 0.32's ``GenerateRequest``.
"""

from collections import OrderedDict
from collections.abc import Callable

from headrace.engines.sim import requests
from headrace.engines.sim.ask import Wish
from headrace.engines.sim.vocabulary import Vocabulary
from headrace.engines.sim.voice import encode

KEPT = 64  # prompts; as many as are on their way through a router at one time
Read = Callable[[requests.Body], Wish]


class Renderer:
    """Turns requests into numbers of tokens; the same for all replicas of a process."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self._kept: OrderedDict[tuple[Read, bytes], tuple[Wish, bytes]] = OrderedDict()

    def render(self, read: Read, body: bytes) -> tuple[Wish, bytes]:
        """
        The request, and its tokens' numbers as JSON.

        Raises:
            Refused: it is not a request that the engine would take.

        """
        key = (read, body)
        found = self._kept.get(key)
        if found is None:
            wish = read(requests.parse(body))
            found = self._kept[key] = (wish, encode(self.vocabulary.numbers(wish.prompt)))
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return found


def rendered(id_: str, model: str, wish: Wish, numbers: bytes) -> bytes:
    """The answer for one prompt, as JSON; ``numbers`` are its tokens', encoded."""
    sampling = {
        "n": 1,
        "seed": wish.seed,
        "stop": list(wish.stop),
        "ignore_eos": wish.ignore_eos,
        "max_tokens": wish.max_tokens,
        "min_tokens": wish.min_tokens,
    }
    rest = {
        "token_offsets": None,
        "features": None,
        "content_parts": None,
        "sampling_params": sampling,
        "model": model,
        "reasoning_ended": None,
        "reasoning_parser_kwargs": None,
        "return_token_ids": None,
        "output_mode": "tokens",
        "stream": wish.stream,
        "stream_options": None,
        "cache_salt": wish.salt or None,
        "priority": 0,
        "kv_transfer_params": None,
        "ec_transfer_params": None,
    }
    head = b'{"request_id":' + encode(id_) + b',"token_ids":' + numbers
    return head + b"," + encode(rest)[1:]
