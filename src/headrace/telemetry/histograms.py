"""
The histograms of requests: waits, first tokens, pauses, sizes, by model and by replica.

The metrics library's own histogram takes three locks and a search from the front for each value,
which is 3 % of what a request costs; these are only ever fed by one thread.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.samples import Exemplar

from headrace.telemetry.columns import Column, Columnar
from headrace.telemetry.records import Record

# From a request that found room at once (1 ms) to a cold start.
QUEUE_S = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
# From a cached prompt on a fast GPU (10 ms) to a queue behind a cold start (minutes).
TTFT_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120)
# From speculative decoding (2 ms) to a stalled batch.
ITL_S = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 5)
TOTAL_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
TOKENS = (16, 64, 256, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536, 131_072)

# Classes of prompts by their tokens, so that nobody's long prompts wait unseen behind a mean.
PROMPTS = (2_000, 8_000, 32_000)
PROMPT_CLASSES = ("<2k", "2k-8k", "8k-32k", ">32k")

# Replicas with series of their own; more of them share one.
MAX_REPLICAS = 1024
OTHERS = "other"
# An exemplar may have 128 characters, names and values together; an id that is longer has none.
MAX_ID = 100
TRACE_ID = len("trace_id") + 32


class _Kept(NamedTuple):
    """An exemplar: the latest request in a bucket."""

    labels: dict[str, str]
    value: float
    at_s: float


class Histogram(Columnar):
    """Seconds, or tokens, by one label."""

    def __init__(self, name: str, text: str, bounds: Sequence[float], label: str = "model") -> None:
        self._name = name
        self._text = text
        self._label = label
        self._bounds = bounds
        self._labels = [*(str(float(bound)) for bound in bounds), "+Inf"]
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}
        self._exemplars: dict[str, dict[int, _Kept]] = {}

    def count(self, key: str, values: Sequence[float]) -> None:
        """Count values; none of them only makes sure that the key is shown."""
        key = self._shown(key)
        counts, bounds = self._counts[key], self._bounds
        for value in values:
            counts[bisect_left(bounds, value)] += 1
        self._sums[key] += sum(values)

    def exemplify(self, key: str, value: float, record: Record) -> None:
        """Count a value whose request is its bucket's exemplar from now on."""
        key = self._shown(key)
        bucket = bisect_left(self._bounds, value)
        self._counts[key][bucket] += 1
        self._sums[key] += value
        if len(record.request_id) <= MAX_ID:
            labels = {"request_id": record.request_id}
            if record.trace_id and len(record.request_id) <= MAX_ID - TRACE_ID:
                labels["trace_id"] = record.trace_id
            self._exemplars[key][bucket] = _Kept(labels, value, record.time.timestamp())

    def _shown(self, key: str) -> str:
        """The key that counts for this one: its own, or that of all for whom there is no room."""
        if key not in self._counts:
            if len(self._counts) >= MAX_REPLICAS and key != OTHERS:
                return self._shown(OTHERS)
            self._counts[key] = [0] * len(self._labels)
            self._sums[key] = 0.0
            self._exemplars[key] = {}
        return key

    def forget(self, key: str) -> None:
        """Drop a series."""
        for kept in (self._counts, self._sums, self._exemplars):
            kept.pop(key, None)

    def collect(self) -> list[HistogramMetricFamily]:
        family = HistogramMetricFamily(self._name, self._text, labels=[self._label])
        for key, counts in [*self._counts.items()]:
            exemplars = self._exemplars.get(key, {})
            buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = [
                (label, count, Exemplar(*exemplars[index]))
                if index in exemplars
                else (label, count)
                for index, (label, count) in enumerate(
                    zip(self._labels, accumulate(counts), strict=True)
                )
            ]
            family.add_metric([key], buckets, self._sums.get(key, 0.0))
        return [family]

    def columns(self) -> Iterator[Column]:
        label = (self._label,)
        sums: dict[tuple[str, ...], float]
        sums = {(key,): total for key, total in self._sums.copy().items()}
        yield Column(f"{self._name}_sum", label, sums)
        counts: dict[tuple[str, ...], float]
        counts = {(key,): float(sum(each)) for key, each in self._counts.copy().items()}
        yield Column(f"{self._name}_count", label, counts)


class Histograms:
    """All of them, fed with records."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._queue = Histogram(
            "headrace_queue_wait_seconds",
            "From the request to its place at a replica.",
            QUEUE_S,
        )
        self._ttft = Histogram(
            "headrace_time_to_first_token_seconds",
            "From the request to the first byte of a streamed answer.",
            TTFT_S,
        )
        self._prompt_ttft = Histogram(
            "headrace_prompt_time_to_first_token_seconds",
            "The same by the tokens of the prompt, of all models: <2k, 2k-8k, 8k-32k, >32k.",
            TTFT_S,
            "prompt",
        )
        self._itl = Histogram(
            "headrace_inter_token_latency_seconds",
            "Median pause between the chunks of one streamed answer.",
            ITL_S,
        )
        self._total = Histogram(
            "headrace_request_duration_seconds",
            "From the request to the end of its answer.",
            TOTAL_S,
        )
        self._prompt = Histogram(
            "headrace_request_input_tokens", "Prompt tokens of a request.", TOKENS
        )
        self._output = Histogram(
            "headrace_request_output_tokens", "Tokens of an answer that was completed.", TOKENS
        )
        self._replica_ttft = Histogram(
            "headrace_replica_time_to_first_token_seconds",
            "From a request's place at a replica to the first byte of its streamed answer.",
            TTFT_S,
            "replica",
        )
        self._replica_itl = Histogram(
            "headrace_replica_inter_token_latency_seconds",
            "Median pause between the chunks of one streamed answer of a replica.",
            ITL_S,
            "replica",
        )
        for each in (
            self._queue, self._ttft, self._prompt_ttft, self._itl, self._total, self._prompt,
            self._output, self._replica_ttft, self._replica_itl,
        ):  # fmt: skip
            registry.register(each)

    def observe(self, model: str, records: Sequence[Record]) -> None:
        """Count requests for a model; many at once, since each call costs more than a value."""
        self._total.count(model, [each.total_ms / 1000 for each in records if not each.trace_id])
        self._queue.count(
            model, [each.queue_ms / 1000 for each in records if each.queue_ms is not None]
        )
        self._itl.count(
            model, [each.itl_p50_ms / 1000 for each in records if each.itl_p50_ms is not None]
        )
        self._ttft.count(model, ())
        if prompts := [each.tokens_in for each in records if each.attempts]:
            self._prompt.count(model, prompts)
        if answers := [each.tokens_out for each in records if each.outcome == "completed"]:
            self._output.count(model, answers)
        for record in records:
            # Without a trace the exemplar of the first token is enough; a second one would cost.
            if record.trace_id:
                self._total.exemplify(model, record.total_ms / 1000, record)
            if record.ttft_ms is not None:
                self._began(model, record, record.ttft_ms / 1000)
            if record.replica and record.itl_p50_ms is not None:
                self._replica_itl.count(record.replica, (record.itl_p50_ms / 1000,))

    def _began(self, model: str, record: Record, ttft_s: float) -> None:
        """A streamed answer."""
        self._ttft.exemplify(model, ttft_s, record)
        size = PROMPT_CLASSES[bisect_right(PROMPTS, record.tokens_in)]
        self._prompt_ttft.exemplify(size, ttft_s, record)
        if record.replica:
            queue_s = (record.queue_ms or 0.0) / 1000
            self._replica_ttft.exemplify(record.replica, ttft_s - queue_s, record)

    def forget(self, replica: str) -> None:
        """Drop a replica's series."""
        self._replica_ttft.forget(replica)
        self._replica_itl.forget(replica)
