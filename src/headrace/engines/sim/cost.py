"""
How long one iteration of an engine takes: a formula, and the numbers of real hardware.

Pure: no clock, no I/O. All times are milliseconds.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

BLOCK_SIZE = 16  # tokens; vLLM's own on GPUs


@dataclass(frozen=True, slots=True)
class Cost:
    """
    The coefficients of an iteration's time for one model on one kind of GPU.

    ``t = max(weights, base + per_token * n) + attention + per_sequence * decodes
    + per_kv_token * kv + host``, where ``n`` are the tokens of the batch, ``kv`` the tokens whose
    keys and values decoding reads, and the attention of a prefill chunk of ``c`` tokens behind
    ``p`` computed ones is ``per_pair * c * (p + c / 2)``.

    The first term is the roofline: below some batch size an iteration takes as long as reading the
    weights does, whatever it computes.
    """

    weights: float
    base: float
    per_token: float
    per_pair: float
    per_sequence: float
    per_kv_token: float
    host: float = 0.5

    def iteration_ms(self, chunks: Iterable[tuple[int, int]], contexts: Iterable[float]) -> float:
        """
        The time of one iteration.

        ``chunks`` are its prefills, each as (tokens computed before, tokens in this iteration);
        ``contexts`` are the lengths, in tokens, of the sequences that decode one token each.
        """
        batch = pairs = 0.0
        for before, count in chunks:
            batch += count
            pairs += count * (before + count / 2)
        lengths = [*contexts]
        batch += len(lengths)
        return (
            max(self.weights, self.base + self.per_token * batch)
            + self.per_pair * pairs
            + self.per_sequence * len(lengths)
            + self.per_kv_token * sum(lengths)
            + self.host
        )


@dataclass(frozen=True, slots=True)
class Preset:
    """
    An engine on a GPU: its costs, how much its KV cache holds (tokens), vLLM's defaults.

    ``request_ms`` is what a request takes beside iterations before its first token: its way through
    the API server, and the tokenizer. ``start_s`` is the time to get ready.
    """

    name: str
    cost: Cost
    kv_tokens: int
    max_num_batched_tokens: int
    max_num_seqs: int
    start_s: float
    source: str
    request_ms: float = 0.0
    block_size: int = BLOCK_SIZE

    @property
    def step_ms(self) -> float:
        """An iteration of one sequence of 1,000 tokens."""
        return self.cost.iteration_ms((), (1000,))

    def prefill_ms(self, tokens: int) -> float:
        """A prompt alone on the engine, in the chunks that its batch allows."""
        size = self.max_num_batched_tokens
        return sum(
            self.cost.iteration_ms(((start, min(size, tokens - start)),), ())
            for start in range(0, tokens, size)
        )

    def scaled(self, name: str, compute: float, kv_tokens: int, source: str) -> "Preset":
        """The same GPU with a model that takes ``compute`` times the work, weights included."""
        cost = self.cost
        scaled = Cost(
            weights=cost.weights * compute,
            base=cost.base * compute,
            per_token=cost.per_token * compute,
            per_pair=cost.per_pair,
            per_sequence=cost.per_sequence,
            per_kv_token=cost.per_kv_token,
            host=cost.host,
        )
        return replace(self, name=name, cost=scaled, kv_tokens=kv_tokens, source=source)
