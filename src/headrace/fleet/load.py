"""
What an engine says about itself in /metrics: the numbers that states, people and policies read.

Routing's truth is what this gateway has in flight; this is seconds old, and its age is kept.
Several engines behind one address (data parallel) are summed; KV usage is that of the fullest.
"""

import math
from collections.abc import Iterable

from msgspec import Struct

from headrace.telemetry.exposition import Reader, Sample

# Sample name -> field. vLLM's names are those of 0.32, llama.cpp's those of its --metrics.
NAMES = {
    "vllm:num_requests_running": "running",
    "vllm:num_requests_waiting": "waiting",
    "vllm:kv_cache_usage_perc": "kv_usage",
    "vllm:prefix_cache_queries_total": "prefix_queries",
    "vllm:prefix_cache_hits_total": "prefix_hits",
    "vllm:prompt_tokens_total": "prompt_tokens",
    "vllm:generation_tokens_total": "generation_tokens",
    "vllm:iteration_tokens_total_count": "iterations",
    "vllm:num_preemptions_total": "preemptions",
    "vllm:request_success_total": "finished",
    "vllm:time_to_first_token_seconds_sum": "first_token_s",
    "vllm:time_to_first_token_seconds_count": "first_tokens",
    "vllm:request_queue_time_seconds_sum": "queue_s",
    "vllm:request_prefill_time_seconds_sum": "prefill_s",
    "vllm:request_decode_time_seconds_sum": "decode_s",
    "llamacpp:requests_processing": "running",
    "llamacpp:requests_deferred": "waiting",
    "llamacpp:kv_cache_usage_ratio": "kv_usage",
    "llamacpp:prompt_tokens_total": "prompt_tokens",
    "llamacpp:tokens_predicted_total": "generation_tokens",
    "llamacpp:n_decode_total": "iterations",
}
CACHE = "vllm:cache_config_info"
LORA = "vllm:lora_requests_info"

_reader = Reader([*NAMES, CACHE, LORA])


class Lora(Struct, frozen=True, gc=False):
    """Adapters that an engine has requests of, and how many fit at one time."""

    running: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    max_adapters: int = 0


class LoadView(Struct, frozen=True, gc=False):
    """
    One reading. Token counts are totals since the engine's start, and so are the seconds of all
    its requests together; ``kv_usage`` is 0 to 1, ``block_size`` is in tokens; None is what the
    engine does not tell.
    """

    running: float = 0.0
    waiting: float = 0.0
    kv_usage: float = 0.0
    prefix_queries: float = 0.0
    prefix_hits: float = 0.0
    prompt_tokens: float = 0.0
    generation_tokens: float = 0.0
    iterations: float = 0.0
    preemptions: float = 0.0
    finished: float = 0.0
    first_token_s: float = 0.0
    first_tokens: float = 0.0
    queue_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    block_size: int | None = None
    blocks: int | None = None
    lora: Lora | None = None

    @property
    def lora_running(self) -> float | None:
        """Adapters that the batch has requests of; None without LoRA."""
        return float(len(self.lora.running)) if self.lora is not None else None

    @property
    def lora_waiting(self) -> float | None:
        """Adapters whose requests wait for a place."""
        return float(len(self.lora.waiting)) if self.lora is not None else None

    @property
    def lora_places(self) -> float | None:
        """Adapters that fit into one batch."""
        return float(self.lora.max_adapters) if self.lora is not None else None

    @property
    def pulse(self) -> tuple[float, ...]:
        """
        The numbers that only the engine's own loop moves.

        Used KV blocks are among them, since vLLM counts a prompt's tokens when its prefill ends,
        but takes its blocks chunk for chunk. Running and waiting are not: a front end may count
        what its engine never sees.
        """
        return (
            self.prompt_tokens,
            self.generation_tokens,
            self.iterations,
            self.preemptions,
            self.finished,
            self.kv_usage,
            self.prefix_queries,
        )


def read(text: bytes) -> LoadView | None:
    """
    The view from an engine's /metrics; None when it has no number that we know.

    Raises:
        ValueError: it is not Prometheus text.

    """
    samples = _reader.read(text)
    return view(samples) if samples else None


def view(samples: Iterable[Sample]) -> LoadView:
    """The view from the wanted samples."""
    numbers: dict[str, float] = {}
    block_size = blocks = lora = None
    for name, labels, value in samples:
        if name == CACHE:
            block_size = _whole(labels.get("block_size"))
            blocks = _whole(labels.get("num_gpu_blocks"))
        elif name == LORA:
            lora = Lora(
                _listed(labels.get("running_lora_adapters")),
                _listed(labels.get("waiting_lora_adapters")),
                _whole(labels.get("max_lora")) or 0,
            )
        elif not 0 <= value < math.inf:  # no number, and never equal to itself: no sign of life
            continue
        elif NAMES[name] == "kv_usage":
            numbers["kv_usage"] = max(value, numbers.get("kv_usage", 0.0))
        else:
            numbers[NAMES[name]] = numbers.get(NAMES[name], 0.0) + value
    return LoadView(block_size=block_size, blocks=blocks, lora=lora, **numbers)


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())
