"""
The fake engine's /metrics: as long as vLLM 0.32's (59 kB) and with its names, because a
router that scrapes its replicas pays for every line of it. Pure.
"""

from .jobs import MODEL

_LABELS = f'engine="0",model_name="{MODEL}"'

# Name -> number of buckets, as recorded from vLLM 0.32.
_HISTOGRAMS = {
    "vllm:time_to_first_token_seconds": 23,
    "vllm:request_queue_time_seconds": 22,
    "vllm:request_prefill_time_seconds": 22,
    "vllm:request_inference_time_seconds": 22,
    "vllm:request_decode_time_seconds": 22,
    "vllm:e2e_request_latency_seconds": 22,
    "http_request_duration_highr_seconds": 22,
    "vllm:request_time_per_output_token_seconds": 20,
    "vllm:inter_token_latency_seconds": 20,
    "http_request_duration_seconds": 16,
    "vllm:iteration_tokens_total": 14,
    "vllm:request_prompt_tokens": 12,
    "vllm:request_prefill_kv_computed_tokens": 12,
    "vllm:request_params_max_tokens": 12,
    "vllm:request_max_num_generation_tokens": 12,
    "vllm:request_generation_tokens": 12,
    "vllm:request_num_preemptions": 8,
    "vllm:request_params_n": 6,
}
_COUNTERS = (
    "vllm:prompt_tokens",
    "vllm:generation_tokens",
    "vllm:prefix_cache_queries",
    "vllm:prefix_cache_hits",
    "vllm:num_preemptions",
    *(f"vllm:bench_filler_{number}" for number in range(104)),
)


def _gauge(name: str, value: str) -> list[str]:
    return [f"# HELP {name} A gauge.", f"# TYPE {name} gauge", f"{name}{{{_LABELS}}} {value}"]


def _counter(name: str) -> list[str]:
    return [
        f"# HELP {name}_total Number of things counted since the engine started.",
        f"# TYPE {name}_total counter",
        f"{name}_total{{{_LABELS}}} 0.0",
        f"{name}_created{{{_LABELS}}} 1.7952505e+09",
    ]


def _histogram(name: str, buckets: int) -> list[str]:
    lines = [f"# HELP {name} Histogram of it, in seconds.", f"# TYPE {name} histogram"]
    bounds = [f"{0.001 * 2**step}" for step in range(buckets - 1)] + ["+Inf"]
    lines += [f'{name}_bucket{{{_LABELS},le="{bound}"}} 4096.0' for bound in bounds]
    return [*lines, f"{name}_count{{{_LABELS}}} 4096.0", f"{name}_sum{{{_LABELS}}} 123.456"]


def _template() -> str:
    lines = _gauge("vllm:num_requests_running", "RUNNING")
    lines += _gauge("vllm:num_requests_waiting", "0.0")
    lines += _gauge("vllm:kv_cache_usage_perc", "0.25")
    for name, buckets in _HISTOGRAMS.items():
        lines += _histogram(name, buckets)
    for name in _COUNTERS:
        lines += _counter(name)
    return "\n".join(lines) + "\n"


_BEFORE, _AFTER = _template().encode().split(b"RUNNING")


def render(running: int) -> bytes:
    """The whole text, with the one number that moves."""
    return _BEFORE + b"%d.0" % running + _AFTER
