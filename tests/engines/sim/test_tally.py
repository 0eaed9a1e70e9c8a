"""The metrics page against the one that a real vLLM gave."""

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from headrace.engines.sim.tally import Histogram, Tally, decades, described, escape
from tests.engines.sim.rig import RECORDED, ask, simulator

# What a simulated engine has nothing to say about.
LEFT_OUT = {
    "vllm:estimated_flops_per_gpu",
    "vllm:estimated_read_bytes_per_gpu",
    "vllm:estimated_write_bytes_per_gpu",
    "vllm:external_prefix_cache_queries",
    "vllm:external_prefix_cache_hits",
    "vllm:mm_cache_queries",
    "vllm:mm_cache_hits",
    "vllm:prompt_tokens_cached_by_source",
    "vllm:tool_call_parser_invocations",
}


def families(page: str) -> dict[str, Metric]:
    return {found.name: found for found in text_string_to_metric_families(page)}


async def pages() -> tuple[dict[str, Metric], dict[str, Metric]]:
    """The simulator's families and the recorded ones."""
    async with simulator(max_model_len=4096) as server:
        found = await ask(server.urls[0], "/metrics")
    return (
        families(found.body.decode()),
        families((RECORDED / "metrics.txt").read_text(encoding="utf-8")),
    )


async def test_families_are_vllms() -> None:
    """All of vLLM's families are there but those listed above; none that it does not have."""
    ours, theirs = await pages()

    assert theirs.keys() - LEFT_OUT == ours.keys()
    assert {name: theirs[name].type for name in ours} == {n: f.type for n, f in ours.items()}


async def test_samples_are_vllms() -> None:
    """The same samples with the same labels, buckets too; of cache_config_info a part of them."""
    ours, theirs = await pages()
    for name, family in ours.items():
        if name == "vllm:cache_config_info":
            assert theirs[name].samples[0].labels.keys() >= family.samples[0].labels.keys()
            continue
        expected = [
            (s.name, {**s.labels, **({"model_name": "sim"} if "model_name" in s.labels else {})})
            for s in theirs[name].samples
        ]
        assert sorted(map(repr, expected_sorted(expected))) == sorted(
            map(repr, expected_sorted([(s.name, s.labels) for s in family.samples]))
        )


def expected_sorted(
    samples: list[tuple[str, dict[str, str]]],
) -> list[tuple[str, list[tuple[str, str]]]]:
    return [(name, sorted(labels.items())) for name, labels in samples]


def test_histogram_counts_up() -> None:
    """Buckets include their bound and all below it."""
    histogram = Histogram((1, 5))
    for value in (0.5, 1, 3, 9):
        histogram.observe(value)

    assert [
        'x_bucket{a="b",le="1.0"} 2.0',
        'x_bucket{a="b",le="5.0"} 3.0',
        'x_bucket{a="b",le="+Inf"} 4.0',
        'x_count{a="b"} 4.0',
        'x_sum{a="b"} 13.5',
    ] == [*histogram.lines("x", 'a="b"')]


def test_buckets_of_lengths_end_with_the_longest() -> None:
    """1, 2, 5, 10, … up to the context length, as vLLM's."""
    assert (1, 2, 5, 10, 20, 50, 100) == decades(199)
    assert (1, 2, 5, 10, 20, 50, 100, 200) == decades(200)


def test_names_of_models_are_escaped() -> None:
    """Any model name gives a page that can be read."""
    name = 'a"b\\c\nd'
    found = families(Tally(name, 100).text({"num_requests_running": 1}, {}, {"x": name}))

    assert name == found["vllm:num_requests_running"].samples[0].labels["model_name"]
    assert name == found["vllm:cache_config_info"].samples[0].labels["x"]
    assert r"\"" == escape('"')


def test_described() -> None:
    """A family of the process has help, type and value."""
    assert "# HELP a b\n# TYPE a gauge\na 3.0\n" == described("a", "b", "gauge", 3)
