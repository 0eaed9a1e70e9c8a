"""histograms.py: values land in their buckets, exemplars name a request, series are bounded."""

from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from headrace.telemetry.histograms import MAX_REPLICAS, OTHERS, Histogram, Histograms
from headrace.telemetry.metrics import Metrics
from tests.telemetry.test_metrics import record


def counts(histogram: Histogram, key: str) -> dict[str, float]:
    """The cumulated buckets of one series."""
    (family,) = histogram.collect()
    return {
        sample.labels["le"]: sample.value
        for sample in family.samples
        if sample.name.endswith("_bucket") and sample.labels["model"] == key
    }


def test_buckets() -> None:
    """A bound belongs to its bucket; what is above all of them is in +Inf."""
    histogram = Histogram("h", "H.", (1, 2))
    histogram.count("m", (0.5, 1.0, 1.5, 9.0))

    assert {"1.0": 2, "2.0": 3, "+Inf": 4} == counts(histogram, "m")


def test_exemplars() -> None:
    """A bucket names its latest request; an id that is too long has none."""
    histogram = Histogram("h", "H.", (1, 2))
    for name in ("a", "b", "x" * 101):
        histogram.exemplify("m", 0.5, record(request_id=name))
    (family,) = histogram.collect()
    found = [sample.exemplar for sample in family.samples if sample.exemplar is not None]

    assert [({"request_id": "b"}, 0.5)] == [(each.labels, each.value) for each in found]


def test_series_are_bounded() -> None:
    """Beyond the most series, new names share one."""
    histogram = Histogram("h", "H.", (1,))
    for number in range(MAX_REPLICAS + 5):
        histogram.count(f"r{number}", (0.5,))

    assert {"1.0": 5, "+Inf": 5} == counts(histogram, OTHERS)


@pytest.mark.parametrize(
    ("fields", "name", "expected"),
    [
        ({"queue_ms": 1500.0}, "headrace_queue_wait_seconds", 1.5),
        ({"tokens_in": 70}, "headrace_request_input_tokens", 70.0),
        ({"tokens_out": 9}, "headrace_request_output_tokens", 9.0),
        ({"ttft_ms": 250.0, "queue_ms": 50.0, "replica": "r"},
         "headrace_replica_time_to_first_token_seconds", 0.2),
        ({"itl_p50_ms": 20.0, "replica": "r"},
         "headrace_replica_inter_token_latency_seconds", 0.02),
    ],
)  # fmt: skip
def test_what_a_record_adds(fields: dict[str, Any], name: str, expected: float) -> None:
    """Each number of a record is in its histogram; a replica's first byte counts from its place."""
    registry = CollectorRegistry()
    histograms = Histograms(registry)
    histograms.observe("m", [record(**fields)])
    sums = {sample.name: sample.value for family in registry.collect() for sample in family.samples}

    assert expected == pytest.approx(sums[f"{name}_sum"])
    assert 1 == sums[f"{name}_count"]


@pytest.mark.parametrize(
    ("tokens", "size"),
    [(0, "<2k"), (1999, "<2k"), (2000, "2k-8k"), (8000, "8k-32k"), (32_000, ">32k")],
)  # fmt: skip
def test_prompts_by_size(tokens: int, size: str) -> None:
    """First tokens of long prompts are counted apart from those of short ones."""
    registry = CollectorRegistry()
    Histograms(registry).observe("m", [record(ttft_ms=10.0, tokens_in=tokens)])
    name = "headrace_prompt_time_to_first_token_seconds_count"

    assert 1 == registry.get_sample_value(name, {"prompt": size})


def test_replicas_that_left_are_forgotten() -> None:
    """Their series go; those of models stay."""
    registry = CollectorRegistry()
    histograms = Histograms(registry)
    histograms.observe("m", [record(ttft_ms=10.0, itl_p50_ms=1.0, replica="r")])
    histograms.forget("r")
    left = {
        label
        for family in registry.collect()
        for sample in family.samples
        for label in sample.labels
    }

    assert {"model", "prompt", "le"} == left


def test_what_was_not_understood_is_left_out() -> None:
    """A request without a model has no times; that it came is counted."""
    metrics = Metrics([], [])
    metrics.observe([record(served="")])
    counts = {sample.name: sample.value for family in metrics.registry.collect()
              for sample in family.samples}  # fmt: skip

    assert 1 == counts["headrace_requests_total"]
    assert not any(name.startswith("headrace_request_duration") for name in counts)


@pytest.mark.parametrize(("name", "known"), [("r-1", True), ("r" * 80, False)])
def test_exemplars_lead_to_traces(name: str, known: bool) -> None:
    """With its id an exemplar has the request's trace, where both fit into 128 characters."""
    traced = record(request_id=name, trace_id="1" * 32)
    histogram = Histogram("h", "Text.", (1.0,))
    histogram.exemplify("m", 0.5, traced)
    [family] = histogram.collect()
    [found] = [sample.exemplar for sample in family.samples if sample.exemplar is not None]

    assert known is ("trace_id" in found.labels)
    assert 128 >= sum(len(key) + len(value) for key, value in found.labels.items())


def test_whole_requests_lead_to_traces() -> None:
    """A duration names the request that has a trace; all are counted, those without one, too."""
    metrics = Metrics(["m"], [])
    untraced = record(served="m", request_id="r-1", total_ms=400.0, ttft_ms=None)
    traced = record(served="m", request_id="r-2", total_ms=700.0, ttft_ms=None, trace_id="a" * 32)
    metrics.observe([untraced, traced, untraced])
    samples = [sample for family in metrics.registry.collect() for sample in family.samples
               if sample.name.startswith("headrace_request_duration_seconds")]  # fmt: skip
    [found] = [sample.exemplar for sample in samples if sample.exemplar is not None]
    [count] = [sample.value for sample in samples if sample.name.endswith("_count")]
    [total_s] = [sample.value for sample in samples if sample.name.endswith("_sum")]

    assert {"request_id": "r-2", "trace_id": "a" * 32} == found.labels
    assert 0.7 == found.value
    assert 3 == count
    assert 1.5 == pytest.approx(total_s)
