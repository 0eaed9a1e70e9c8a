"""A model's folder as vLLM reads it: its size and its shape, from headers only. No weights."""

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.gguf")
HEADER_BYTES = 100 * 1024 * 1024  # the format's own limit
WIDTHS = {"float32": 4, "float16": 2, "bfloat16": 2, "half": 2, "float": 4}
CACHE_WIDTHS = {"fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1, "fp8_inc": 1}


class Unreadable(Exception):
    """The folder does not hold what it should; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """
    What memory a model needs. ``kv_token_bytes`` is keys and values of one token over all layers,
    0 where config.json does not tell; ``context`` likewise.
    """

    weight_bytes: int
    kv_token_bytes: int
    context: int
    quantization: str


def read(folder: Path, kv_dtype: str | None = None, dtype: str | None = None) -> Checkpoint:
    """
    The checkpoint in a folder.

    Raises:
        Unreadable: there is no config.json, no weights, or a file of the index is missing.

    """
    config = _config(folder)
    text = config.get("text_config", config)  # of models that see
    quantization = config.get("quantization_config") or {}
    return Checkpoint(
        weight_bytes=_weights(folder),
        kv_token_bytes=_kv_token_bytes(text, kv_dtype, dtype),
        context=_number(text, "max_position_embeddings"),
        quantization=str(quantization.get("quant_method") or ""),
    )


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Unreadable(f"{folder} has no config.json, so it is not a model's folder") from None
    except (OSError, ValueError) as error:
        raise Unreadable(f"{folder / 'config.json'} cannot be read: {error}") from None
    if not isinstance(config, dict):
        raise Unreadable(f"{folder / 'config.json'} holds no mapping")
    return config


def _weights(folder: Path) -> int:
    """Bytes of all tensors, or of the files where their format has no header that tells."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        try:
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise Unreadable(f"{index} cannot be read: {error}") from None
        missing = sorted(shard for shard in shards if not (folder / shard).exists())
        if missing:
            raise Unreadable(f"{folder} lacks {missing[0]}, which its index names")
    for pattern in WEIGHTS:
        files = sorted(folder.glob(pattern))
        if files and pattern == "*.safetensors":
            return sum(_tensors(file) for file in files)
        if files:
            return sum(file.stat().st_size for file in files)
    raise Unreadable(f"{folder} holds no weights ({', '.join(WEIGHTS)})")


def _tensors(file: Path) -> int:
    """
    Bytes of the tensors in a file.

    The header is JSON behind its length, 8 bytes, little endian:
    https://github.com/huggingface/safetensors#format
    """
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > min(HEADER_BYTES, size):
                raise Unreadable(f"{file} is not a safetensors file")
            header = json.loads(stream.read(length))
        ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
    except (OSError, struct.error, ValueError, KeyError, TypeError) as error:
        raise Unreadable(f"{file} is not a safetensors file: {error}") from None
    expected = 8 + int(length) + max(ends, default=0)
    if size < expected:
        raise Unreadable(f"{file} is cut off: {size} of {expected} bytes are there")
    return int(max(ends, default=0))


def _kv_token_bytes(config: dict[str, Any], kv_dtype: str | None, dtype: str | None) -> int:
    """2 (keys, values) x layers x KV heads x head size x bytes of the type."""
    layers = _number(config, "num_hidden_layers")
    heads = _number(config, "num_attention_heads")
    kv_heads = _number(config, "num_key_value_heads") or heads
    head = _number(config, "head_dim")
    if not head and heads:
        head = _number(config, "hidden_size") // heads
    # "auto" is what the checkpoint says; nothing but float32 is wider than 2 bytes.
    model_type = dtype if dtype in WIDTHS else config.get("dtype") or config.get("torch_dtype")
    width = CACHE_WIDTHS.get(kv_dtype or "") or min(WIDTHS.get(str(model_type), 2), 4)
    return 2 * layers * kv_heads * head * width


def _number(config: dict[str, Any], key: str) -> int:
    value = config.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
