"""What is said before an engine starts: each problem that would end the start, and no other."""

import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.config.engines import LocalEngine
from headrace.engines import llamacpp
from headrace.engines.gpus import Gpu
from headrace.engines.preflight import inspect
from tests.engines.folders import KV_TOKEN_BYTES, model

L4 = Gpu("NVIDIA L4", 24 * 1024**3)
GIB = 1024**3

Make = Callable[..., LocalEngine]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """An engine that nothing is wrong with, but for what is said otherwise."""

    def make(tensor_bytes: int = 1000, **values: Any) -> LocalEngine:
        settings = {"command": [sys.executable, "serve"], **values.pop("vllm", {})}
        entry = {"type": "vllm", "name": "e", "model": str(model(tmp_path / "m", tensor_bytes))}
        return LocalEngine.model_validate({**entry, "vllm": settings, **values})

    return make


def problems(engine: LocalEngine, gpus: tuple[Gpu, ...] | None = None) -> list[str]:
    return [finding.text for finding in inspect([engine], gpus) if finding.problem]


def notes(engine: LocalEngine, gpus: tuple[Gpu, ...] | None = None) -> list[str]:
    return [finding.text for finding in inspect([engine], gpus) if not finding.problem]


def test_nothing_is_wrong(make: Make) -> None:
    """Then what was found out is told, for information."""
    assert problems(make(), (L4,)) == []
    (note,) = notes(make(), (L4,))
    usable = L4.memory_bytes * (0.92 - 0.05)
    tokens = int((usable - 1000) / KV_TOKEN_BYTES)
    assert note == f"the weights take 0.0 GiB; about {tokens} tokens of KV cache fit beside them"


def test_everything_is_told_at_once(make: Make) -> None:
    """Two engines, four problems: one start tells them all, each with its engine."""
    first = make(model="/no/such", vllm={"command": ["no-such-vllm"]})
    second = make(name="f", replicas=3, vllm={"max_model_len": 9999})

    found = [str(finding) for finding in inspect([first, second], (L4,)) if finding.problem]

    assert [text.partition(": ")[0] for text in found] == ["engine e"] * 2 + ["engine f"] * 2
    assert "there is no program no-such-vllm" in found[0]
    assert "there is no folder /no/such" in found[1]
    assert "3 GPUs are needed" in found[2]
    assert "max_model_len is 9999, and the model was made for 4096" in found[3]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"model": __file__}, "is a file; name the folder"),
        ({"vllm": {"lora_modules": {"a": "/no"}}}, "no folder /no of the LoRA adapter a"),
        ({"vllm": {"gpus": [0, 1], "tensor_parallel_size": 4}}, "`gpus` names 2, and 1 x 4"),
        ({"vllm": {"gpus": [7]}}, "there is no GPU 7; this machine shows 1"),
        ({"vllm": {"tensor_parallel_size": 2}}, "2 GPUs are needed"),
        ({"tensor_bytes": 22 * GIB}, "the weights take 22.0 GiB, and 1 x 24 GiB at 0.92 leave"),
        (
            {"tensor_bytes": int(24 * GIB * 0.87) - 2**20},
            "lower max_model_len or raise gpu_memory_utilization",
        ),
    ],
)
def test_one_problem(make: Make, values: dict[str, Any], told: str) -> None:
    """The sentence says what is missing and how much of it."""
    assert any(told in text for text in problems(make(**values), (L4,)))


def test_a_contradiction_of_quantizations(make: Make, tmp_path: Path) -> None:
    """awq_marlin reads awq; gptq does not."""
    engine = make(vllm={"quantization": "awq_marlin"})
    for method, wrong in (("awq", False), ("gptq", True), ("compressed-tensors", True)):
        model(tmp_path / "m", quantization_config={"quant_method": method})

        assert bool(problems(engine)) is wrong


def test_two_gpus_hold_more_than_one(make: Make) -> None:
    """Parallel GPUs share the weights."""
    engine = make(30 * GIB, vllm={"tensor_parallel_size": 2})

    assert problems(engine, (L4, L4)) == []


def test_unknown_is_said_to_be_unknown(make: Make) -> None:
    """Without a GPU in sight nothing is promised and nothing is refused."""
    for shown in (None, ()):
        assert problems(make(tensor_bytes=999 * GIB), shown) == []
        assert "whether they fit is unknown" in notes(make(tensor_bytes=999 * GIB), shown)[0]


@pytest.mark.parametrize("name", ["s3://bucket/m", "Qwen/Qwen3-8B"])
def test_what_lies_elsewhere_is_not_looked_at(make: Make, name: str) -> None:
    """An address or a hub's name is vLLM's business."""
    engine = make(model=name)

    assert problems(engine, (L4,)) == []
    assert notes(engine, (L4,)) == [f"{name} is not on this disk, and is not checked"]


def test_a_port_that_somebody_has(make: Make) -> None:
    """Each replica has its own port, and each is tried."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        found = problems(make(port=port - 1, replicas=2))
        assert any(text.startswith(f"port {port} is in use") for text in found)


def test_a_llamacpp_without_its_files(tmp_path: Path) -> None:
    """Model and mmproj must be GGUF files."""
    (tmp_path / "x.gguf").write_bytes(b"no")
    entry = {"type": "llamacpp", "model": "/no.gguf", "llamacpp": {"mmproj": tmp_path / "x.gguf"}}
    right = LocalEngine.model_validate(
        {"type": "llamacpp", "model": str(llamacpp.weights(None).path)}
    )

    first, second = problems(LocalEngine.model_validate(entry))

    assert first == "There is no model file /no.gguf"
    assert "is not a GGUF file" in second
    assert problems(right) == []
