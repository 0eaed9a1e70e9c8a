"""load.py: what an engine's /metrics says."""

import pytest

from headrace.fleet import load
from headrace.fleet.load import LoadView, Lora

# The form of vLLM 0.32, two engines behind one address.
VLLM = b"""\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 2.0
vllm:num_requests_running{engine="1",model_name="m"} 3.0
vllm:num_requests_waiting{engine="0",model_name="m"} 4.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 4.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.75
vllm:prefix_cache_queries_total{engine="0",model_name="m"} 100.0
vllm:prefix_cache_queries_created{engine="0",model_name="m"} 1.79e+09
vllm:prefix_cache_hits_total{engine="0",model_name="m"} 40.0
vllm:num_preemptions_total{engine="0",model_name="m"} 5.0
vllm:prompt_tokens_total{engine="0",model_name="m"} 100.0
vllm:generation_tokens_total{engine="0",model_name="m"} 27.0
vllm:request_success_total{engine="0",finished_reason="stop",model_name="m"} 1.0
vllm:request_success_total{engine="0",finished_reason="length",model_name="m"} 4.0
vllm:iteration_tokens_total_bucket{engine="0",le="1.0",model_name="m"} 23.0
vllm:iteration_tokens_total_count{engine="0",model_name="m"} 27.0
vllm:cache_config_info{block_size="128",cache_dtype="auto",num_gpu_blocks="728"} 1.0
vllm:lora_requests_info{max_lora="4",running_lora_adapters="a,b",waiting_lora_adapters=""} 1.7e9
"""


def test_vllm() -> None:
    """Engines are summed, KV usage is that of the fullest, and info is read from labels."""
    assert load.read(VLLM) == LoadView(
        running=5,
        waiting=4,
        kv_usage=0.75,
        prefix_queries=100,
        prefix_hits=40,
        prompt_tokens=100,
        generation_tokens=27,
        iterations=27,
        preemptions=5,
        finished=5,
        block_size=128,
        blocks=728,
        lora=Lora(running=("a", "b"), max_adapters=4),
    )


def test_adapters_are_counted() -> None:
    """Where an engine tells of LoRA; elsewhere they are unknown, not none."""
    view = LoadView(lora=Lora(running=("a", "b"), waiting=("c",), max_adapters=2))
    without = LoadView()

    assert (2.0, 1.0, 2.0) == (view.lora_running, view.lora_waiting, view.lora_places)
    assert (None, None, None) == (without.lora_running, without.lora_waiting, without.lora_places)


def test_llamacpp() -> None:
    """llama.cpp's own names are read, too."""
    text = b"llamacpp:requests_processing 1\nllamacpp:requests_deferred 2\n"

    assert LoadView(running=1, waiting=2) == load.read(text)


@pytest.mark.parametrize("text", [b"", b"ok", b"# HELP x y\nprocess_cpu_seconds_total 20.9\n"])
def test_no_metrics_that_we_know(text: bytes) -> None:
    """An engine without such metrics is no error."""
    assert load.read(text) is None


def test_block_count_before_it_is_known() -> None:
    """An engine of vLLM writes None while it measures its memory."""
    view = load.read(b'vllm:cache_config_info{block_size="16",num_gpu_blocks="None"} 1.0\n')

    assert view is not None
    assert (16, None) == (view.block_size, view.blocks)


def test_pulse_is_what_the_engine_moves() -> None:
    """Counters and used blocks are signs of life; requests that wait are none."""
    before = LoadView()

    assert before.pulse == LoadView(waiting=9, running=9).pulse
    for name in ("prompt_tokens", "generation_tokens", "iterations", "kv_usage", "preemptions"):
        assert before.pulse != LoadView(**{name: 0.5}).pulse  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [b"NaN", b"+Inf", b"-1"])
def test_no_numbers(value: bytes) -> None:
    """What is no count is not taken for one: NaN differs from itself, and so would seem alive."""
    text = b"vllm:num_requests_running %b\nvllm:kv_cache_usage_perc %b\n" % (value, value)

    assert LoadView() == load.read(text)
