"""
What an engine has done so far, in vLLM's metrics: the same names, types, labels and buckets.

The text format is Prometheus' (version 0.0.4). Nothing here measures; whoever does calls in.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

_ITL = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40,
        80)  # fmt: skip
_TTFT = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20,
         40, 80, 160, 640, 2560)  # fmt: skip
_LATENCY = (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920,
            7680)  # fmt: skip
_ITERATION = tuple(2**power for power in (0, *range(3, 15)))
_N = (1, 2, 5, 10, 20)
_PREEMPTIONS = (1, 2, 3, 4, 5, 10, 20)
_DECADES = (1, 2, 5)

# Family (after ``vllm:``), help, kind; in the order of vLLM's own page.
_GAUGES = {
    "num_requests_running": "Requests in the batch.",
    "num_requests_waiting": "Requests in the queue.",
    "num_requests_waiting_by_reason": "Requests in the queue, by what they wait for.",
    "engine_sleep_state": "Engine sleep state: awake, weights_offloaded (1), discard_all (2).",
    "kv_cache_usage_perc": "Share of the KV cache in use, 0 to 1.",
    "cache_config_info": "How the KV cache is set up.",
}
_COUNTERS = {
    "prefix_cache_queries": "Prompt tokens looked up in the prefix cache.",
    "prefix_cache_hits": "Prompt tokens found in the prefix cache.",
    "num_preemptions": "Preemptions so far.",
    "prompt_tokens": "Prompt tokens.",
    "prompt_tokens_by_source": "Prompt tokens, by where they came from.",
    "prompt_tokens_cached": "Prompt tokens that were cached.",
    "generation_tokens": "Generated tokens.",
    "request_success": "Requests that ended, by how.",
    "admission_rejections": "Requests refused by a limit of the queue, by which.",
}
FINISHED = ("stop", "length", "abort", "error", "repetition")
REFUSALS = ("max_num_queued_reqs", "max_num_queued_tokens")


def decades(limit: int) -> tuple[int, ...]:
    """1, 2, 5, 10, 20, 50, … up to a limit: how vLLM buckets tokens of a request."""
    values = (step * 10**power for power in range(len(str(limit))) for step in _DECADES)
    return tuple(value for value in values if value <= limit)


class Histogram:
    """Counts by bucket."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self, name: str, labels: str) -> Iterator[str]:
        """Its samples."""
        bounds = (*(repr(float(bound)) for bound in self._bounds), "+Inf")
        count = 0
        for bound, count in zip(bounds, accumulate(self._counts), strict=True):
            yield f'{name}_bucket{{{labels},le="{bound}"}} {count:.1f}'
        yield f"{name}_count{{{labels}}} {count:.1f}"
        yield f"{name}_sum{{{labels}}} {self._sum!r}"


class Tally:
    """One engine's counters and histograms."""

    def __init__(self, model: str, max_model_len: int) -> None:
        self._model = f'model_name="{escape(model)}"'
        self._labels = f'engine="0",{self._model}'
        lengths = decades(max_model_len)
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.generation_tokens = 0
        self.finished = dict.fromkeys(FINISHED, 0)
        self.refused = dict.fromkeys(REFUSALS, 0)
        self.histograms = {
            "request_prompt_tokens": (Histogram(lengths), "Prompt tokens."),
            "request_generation_tokens": (
                Histogram(lengths), "Generated tokens."),
            "iteration_tokens_total": (
                Histogram(_ITERATION), "Tokens per iteration."),
            "request_max_num_generation_tokens": (
                Histogram(lengths), "Generated tokens of the longest answer."),
            "request_params_n": (Histogram(_N), "Answers asked for."),
            "request_params_max_tokens": (
                Histogram(lengths), "Tokens asked for at most."),
            "time_to_first_token_seconds": (
                Histogram(_TTFT), "From arrival to the first token."),
            "inter_token_latency_seconds": (
                Histogram(_ITL), "Between two tokens."),
            "request_time_per_output_token_seconds": (
                Histogram(_ITL), "Mean time between tokens of a request."),
            "e2e_request_latency_seconds": (
                Histogram(_LATENCY), "From arrival to the last token."),
            "request_queue_time_seconds": (
                Histogram(_LATENCY), "In the queue."),
            "request_inference_time_seconds": (
                Histogram(_LATENCY), "From the queue's end to the last token."),
            "request_prefill_time_seconds": (
                Histogram(_LATENCY), "From the queue's end to the first token."),
            "request_decode_time_seconds": (
                Histogram(_LATENCY), "From the first token to the last."),
            "request_num_preemptions": (
                Histogram(_PREEMPTIONS),
                "Preemptions of a request."),
            "request_prefill_kv_computed_tokens": (
                Histogram(lengths),
                "Prompt tokens computed, not cached."),
        }  # fmt: skip

    def observe(self, name: str, value: float) -> None:
        """Add to a histogram, by its name after ``vllm:``."""
        self.histograms[name][0].observe(value)

    def text(
        self, gauges: Mapping[str, float], counters: Mapping[str, float], cache: Mapping[str, str]
    ) -> str:
        """
        The page. ``gauges`` and ``counters`` are what the engine knows at this moment: names as in
        the page, a label behind a blank (``engine_sleep_state sleep_state=awake``).
        """
        found: dict[str, list[str]] = {}
        for name, value in (*gauges.items(), *counters.items(), *self._counters()):
            family, _, label = name.partition(" ")
            suffix = "_total" if family in _COUNTERS else ""
            found.setdefault(family, []).append(
                f"vllm:{family}{suffix}{{{self._label(label)}}} {float(value)!r}"
            )
        # Counted in the API server, which is in front of all engines.
        found["admission_rejections"] = [
            f'vllm:admission_rejections_total{{{self._model},reason="{reason}"}} {float(count)!r}'
            for reason, count in self.refused.items()
        ]
        info = ",".join(f'{key}="{escape(value)}"' for key, value in sorted(cache.items()))
        found["cache_config_info"] = [f"vllm:cache_config_info{{{info}}} 1.0"]
        lines: list[str] = []
        for family, meaning in _GAUGES.items():
            lines += _described(f"vllm:{family}", meaning, "gauge")
            lines += found.get(family, [])
        for family, meaning in _COUNTERS.items():
            lines += _described(f"vllm:{family}_total", meaning, "counter")
            lines += found.get(family, [])
        for family, (histogram, meaning) in self.histograms.items():
            lines += _described(f"vllm:{family}", meaning, "histogram")
            lines += histogram.lines(f"vllm:{family}", self._labels)
        return "\n".join([*lines, ""])

    def _counters(self) -> Iterator[tuple[str, float]]:
        yield "prompt_tokens", self.prompt_tokens
        yield (
            "prompt_tokens_by_source source=local_compute",
            self.prompt_tokens - self.cached_tokens,
        )
        yield "prompt_tokens_by_source source=local_cache_hit", self.cached_tokens
        yield "prompt_tokens_by_source source=external_kv_transfer", 0
        yield "prompt_tokens_cached", self.cached_tokens
        yield "generation_tokens", self.generation_tokens
        for reason, count in self.finished.items():
            yield f"request_success finished_reason={reason}", count

    def _label(self, label: str) -> str:
        name, _, value = label.partition("=")
        return f'{self._labels},{name}="{value}"' if name else self._labels


def described(name: str, meaning: str, kind: str, value: float) -> str:
    """A family with one sample and no labels, such as those of the process."""
    return "\n".join([*_described(name, meaning, kind), f"{name} {float(value)!r}", ""])


def escape(value: str) -> str:
    """A label's value, as the text format wants it."""
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _described(name: str, meaning: str, kind: str) -> tuple[str, str]:
    return f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"
