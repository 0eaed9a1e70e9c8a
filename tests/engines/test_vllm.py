"""vLLM's command line and its output, as vLLM 0.32 takes and writes them."""

from typing import Any

import pytest

from headrace.config.engines import LocalEngine
from headrace.engines import vllm
from headrace.engines.vllm import Line


def engine(**settings: Any) -> LocalEngine:
    entry = {"type": "vllm", "model": "/m/qwen", "serves": ["qwen", "default"], "vllm": settings}
    return LocalEngine.model_validate(entry)


def after(argv: tuple[str, ...], option: str, count: int = 1) -> tuple[str, ...]:
    place = argv.index(option) + 1
    return argv[place : place + count]


class TestEvents:
    """Where a vLLM of ours publishes what its cache holds."""

    @pytest.mark.parametrize(
        ("config", "expected"),
        [
            ({"enable_kv_cache_events": True}, ("tcp://127.0.0.1:5557", None)),
            (
                {
                    "enable_kv_cache_events": True, "publisher": "zmq",
                    "endpoint": "tcp://0.0.0.0:6000", "replay_endpoint": "tcp://*:6001",
                },
                ("tcp://127.0.0.1:6000", "tcp://127.0.0.1:6001"),
            ),
            ({"enable_kv_cache_events": True, "publisher": "null"}, (None, None)),
            ({"enable_kv_cache_events": True, "endpoint": "tcp://*:0"}, (None, None)),
            ({"endpoint": "tcp://*:5557"}, (None, None)),
            ({}, (None, None)),
        ],
    )  # fmt: skip
    def test_address(self, config: dict[str, Any], expected: tuple[str | None, str | None]) -> None:
        """It is vLLM's own default, or what is configured, as seen from this machine."""
        assert expected == vllm.events(engine(kv_events_config=config))

    def test_several_replicas(self) -> None:
        """They would publish at one address: none of them is followed."""
        several = engine(kv_events_config={"enable_kv_cache_events": True}).model_copy(
            update={"replicas": 2}
        )

        assert (None, None) == vllm.events(several)


class TestArguments:
    """From settings to argv."""

    def test_nothing_given(self) -> None:
        """Everything is left to vLLM but where it listens, its names, and what it need not log."""
        assert vllm.arguments(engine()) == (
            "vllm", "serve", "/m/qwen", "--host", "127.0.0.1", "--port", "{port}",
            "--served-model-name", "qwen", "default",
            "--disable-access-log-for-endpoints", "/health,/metrics",
        )  # fmt: skip

    def test_the_module_takes_the_model_as_an_option(self) -> None:
        """``python -m vllm...`` knows no positional model."""
        command = ("python", "-m", "vllm.entrypoints.openai.api_server")

        argv = vllm.arguments(engine(command=command))

        assert argv[:5] == (*command, "--model", "/m/qwen")

    def test_every_setting(self) -> None:
        """Each setting becomes its option; what is false where vLLM says yes gets its `--no-`."""
        argv = vllm.arguments(
            engine(
                dtype="half",
                quantization="awq_marlin",
                load_format="runai_streamer",
                max_model_len=4096,
                max_num_seqs=8,
                max_num_batched_tokens=2048,
                gpu_memory_utilization=0.5,
                kv_cache_dtype="fp8",
                tensor_parallel_size=2,
                pipeline_parallel_size=3,
                enable_prefix_caching=False,
                enable_chunked_prefill=True,
                enforce_eager=True,
                enable_sleep_mode=True,
                speculative_config={"method": "ngram"},
                kv_events_config={"publisher": "zmq"},
                lora_modules={"a": "/l/a", "b": "/l/b"},
                max_lora_rank=16,
                enable_auto_tool_choice=True,
                tool_call_parser="hermes",
                reasoning_parser="qwen3",
                extra_args=["--seed", "1"],
            )
        )

        values = {
            "--dtype": "half",
            "--quantization": "awq_marlin",
            "--load-format": "runai_streamer",
            "--max-model-len": "4096",
            "--max-num-seqs": "8",
            "--max-num-batched-tokens": "2048",
            "--gpu-memory-utilization": "0.5",
            "--kv-cache-dtype": "fp8",
            "--tensor-parallel-size": "2",
            "--pipeline-parallel-size": "3",
            "--speculative-config": '{"method": "ngram"}',
            "--kv-events-config": '{"publisher": "zmq"}',
            "--max-lora-rank": "16",
            "--tool-call-parser": "hermes",
            "--reasoning-parser": "qwen3",
        }
        switches = {
            "--no-enable-prefix-caching", "--enable-chunked-prefill", "--enforce-eager",
            "--enable-sleep-mode", "--enable-auto-tool-choice", "--enable-lora",
        }  # fmt: skip
        assert {name: after(argv, name)[0] for name in values} == values
        assert switches <= {*argv}
        assert after(argv, "--lora-modules", 2) == ("a=/l/a", "b=/l/b")
        assert argv[-2:] == ("--seed", "1")


class TestEnvironment:
    """Which GPUs a replica sees."""

    def test_replicas_share_out_the_gpus(self) -> None:
        """In the order in which they are named, tensor x pipeline of them each."""
        settings = engine(gpus=[4, 5, 6, 7], tensor_parallel_size=2)

        given = [vllm.environment(settings, replica, 8) for replica in (0, 1)]

        assert given == [{"CUDA_VISIBLE_DEVICES": "4,5"}, {"CUDA_VISIBLE_DEVICES": "6,7"}]

    def test_without_names_they_are_numbered(self) -> None:
        """Every replica gets the next ones that the machine shows."""
        settings = engine()

        given = [vllm.environment(settings, replica, 2) for replica in (0, 1)]

        assert given == [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]

    def test_what_is_configured_wins(self) -> None:
        """Also over our own choice; where no GPU is known nothing is chosen."""
        settings = engine(env={"CUDA_VISIBLE_DEVICES": "GPU-uuid", "A": "b"})

        assert vllm.environment(settings, 0, 4) == {"CUDA_VISIBLE_DEVICES": "GPU-uuid", "A": "b"}
        assert vllm.environment(engine(), 1, 0) == {}

    def test_development_mode_only_where_it_sleeps(self) -> None:
        """It opens more than /sleep, so an engine that we do not put to sleep goes without it."""
        asleep = LocalEngine.model_validate(
            {"type": "vllm", "model": "m", "min": 0, "vllm": {"enable_sleep_mode": True}}
        )

        assert {"VLLM_SERVER_DEV_MODE": "1"} == vllm.environment(asleep, 0, 0)
        assert {} == vllm.environment(engine(enable_sleep_mode=True), 0, 0)


@pytest.mark.parametrize(
    ("line", "read"),
    [
        (
            "(EngineCore pid=7) WARNING 11-21 16:16:08 [cpu.py:12] no triton",
            Line("warning", "no triton"),
        ),
        ("INFO 11-21 16:16:08 [api_server.py:3] ready", Line("info", "ready")),
        (
            "\x1b[0;36m(APIServer pid=7)\x1b[0;0m ERROR 11-21 16:16:08 [a.py:1] \x1b[31mno\x1b[0m",
            Line("error", "no"),
        ),
        ("(APIServer pid=7) INFO:     Application startup complete.",
         Line("info", "Application startup complete.")),
        ('  File "a.py", line 1', Line("info", '  File "a.py", line 1', told=False)),
    ],
)  # fmt: skip
def test_lines_are_taken_apart(line: str, read: Line) -> None:
    """Process, date and place go; the level is its own; what has none is kept as it is."""
    assert vllm.read(line) == read


class TestExplain:
    """Why it ended."""

    def test_the_first_cause(self) -> None:
        """The engine's own process fails first; what the others say follows from it."""
        log = [
            "(EngineCore pid=7) ERROR 11-21 16:16:08 [core.py:1] ValueError: no memory left",
            "(EngineCore pid=7) Traceback (most recent call last):",
            "(APIServer pid=5) RuntimeError: Engine core initialization failed.",
        ]

        assert vllm.explain(log) == "ValueError: no memory left"

    def test_a_wrong_option(self) -> None:
        """What the parser of options says is the cause."""
        log = ["usage: vllm serve", "vllm serve: error: unrecognized arguments: --foo"]

        assert vllm.explain(log) == log[1]

    def test_chatter_is_no_cause(self) -> None:
        """A healthy engine that is killed did not end because of its last request."""
        log = ['(APIServer pid=7) INFO:     127.0.0.1:1 - "POST /v1 HTTP/1.1" 200 OK']

        assert vllm.explain(log) == ""
