"""What a model's folder says about the memory that it needs, and what is wrong with it."""

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.engines import checkpoint
from headrace.engines.checkpoint import Checkpoint, Unreadable
from tests.engines.folders import KV_TOKEN_BYTES, model, weights


def test_reads_headers_only(tmp_path: Path) -> None:
    """Terabytes of weights would be read as fast: only the header's end offsets count."""
    folder = model(tmp_path / "m", tensor_bytes=3 * 1024**4)

    assert checkpoint.read(folder) == Checkpoint(3 * 1024**4, KV_TOKEN_BYTES, 4096, "")


@pytest.mark.parametrize(
    ("config", "kv_dtype", "dtype", "factor"),
    [
        ({}, "fp8", None, 0.5),
        ({"dtype": "float32"}, None, None, 2),
        ({"dtype": "float32"}, None, "half", 1),
        ({"dtype": None, "torch_dtype": "float16"}, "auto", "auto", 1),
        ({"head_dim": 128}, None, None, 2),
        ({"num_key_value_heads": None}, None, None, 4),
        ({"num_hidden_layers": None}, None, None, 0),
    ],
)
def test_kv_of_a_token(
    tmp_path: Path, config: dict[str, Any], kv_dtype: str | None, dtype: str | None, factor: float
) -> None:
    """Layers x heads x head size x bytes of the type, as given or as the model says; or unknown."""
    found = checkpoint.read(model(tmp_path / "m", **config), kv_dtype, dtype)

    assert found.kv_token_bytes == KV_TOKEN_BYTES * factor


def test_a_model_that_sees(tmp_path: Path) -> None:
    """Its text model's settings stand one level deeper."""
    text = {"num_hidden_layers": 8, "num_attention_heads": 2, "hidden_size": 64}
    quantized = {"quant_method": "awq"}
    folder = model(tmp_path / "m", text_config=text, quantization_config=quantized)

    found = checkpoint.read(folder)

    assert (found.kv_token_bytes, found.context) == (2 * 8 * 2 * 32 * 2, 0)
    assert found.quantization == "awq"


def test_several_shards(tmp_path: Path) -> None:
    """They add up; one that the index names and that is not there is told."""
    folder = model(tmp_path / "m", tensor_bytes=10)
    weights(folder / "more.safetensors", 20)
    index = {"weight_map": {"a": "model.safetensors", "b": "more.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")

    assert checkpoint.read(folder).weight_bytes == 30
    (folder / "more.safetensors").unlink()
    with pytest.raises(Unreadable, match=r"lacks more\.safetensors, which its index names"):
        checkpoint.read(folder)


def test_other_formats(tmp_path: Path) -> None:
    """Without a header to read, a file counts as it is."""
    folder = model(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"x" * 77)

    assert checkpoint.read(folder).weight_bytes == 77


def broken(folder: Path, what: str) -> None:
    if what == "no config":
        (folder / "config.json").unlink()
    elif what == "no json":
        (folder / "config.json").write_text("{", encoding="utf-8")
    elif what == "a list":
        (folder / "config.json").write_text("[]", encoding="utf-8")
    elif what == "no weights":
        (folder / "model.safetensors").unlink()
    elif what == "cut off":
        weights(folder / "model.safetensors", 1000, missing_bytes=1)
    elif what == "no header":
        (folder / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    elif what == "index":
        (folder / "model.safetensors.index.json").write_text("{}", encoding="utf-8")


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("no config", "has no config.json"),
        ("no json", "config.json cannot be read"),
        ("a list", "holds no mapping"),
        ("no weights", "holds no weights"),
        ("cut off", "is cut off"),
        ("no header", "is not a safetensors file"),
        ("index", "index.json cannot be read"),
    ],
)
def test_what_is_wrong(tmp_path: Path, what: str, told: str) -> None:
    """One sentence names the file; a pointer of Git LFS instead of weights is found, too."""
    folder = model(tmp_path / "m")
    broken(folder, what)

    with pytest.raises(Unreadable, match=told):
        checkpoint.read(folder)
