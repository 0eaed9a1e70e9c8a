"""Models on disk that are small and whole: a config.json and weights of zeros."""

import json
import struct
from pathlib import Path
from typing import Any

LLAMA = {
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "hidden_size": 512,
    "max_position_embeddings": 4096,
    "dtype": "bfloat16",
}
KV_TOKEN_BYTES = 2 * 4 * 2 * (512 // 8) * 2


def model(folder: Path, tensor_bytes: int = 1000, **config: Any) -> Path:
    """A model's folder whose one tensor claims so many bytes; the file is sparse."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**LLAMA, **config}), encoding="utf-8")
    weights(folder / "model.safetensors", tensor_bytes)
    return folder


def weights(path: Path, tensor_bytes: int, missing_bytes: int = 0) -> None:
    """A safetensors file, or one of which the end is missing."""
    half = tensor_bytes // 2
    header = json.dumps(
        {
            "__metadata__": {"format": "pt"},
            "a": {"dtype": "U8", "shape": [half], "data_offsets": [0, half]},
            "b": {"dtype": "U8", "shape": [half], "data_offsets": [half, tensor_bytes]},
        }
    ).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + tensor_bytes - missing_bytes)
