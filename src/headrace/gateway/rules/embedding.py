"""
Texts into vectors: by a small table of token vectors on this CPU, or by any ``/v1/embeddings``.

What vectors are good for is routing/classify.py's; when they are asked for is classifier.py's.
"""

import asyncio
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from tokenizers import Tokenizer

from headrace.config.classes import Embedding
from headrace.errors import StartError
from headrace.routing.head import Rows
from headrace.upstream.endpoint import Endpoint, Unanswered

# The package ships data that we read ourselves; its code is never imported.
PACKAGE = "wordllama"
WEIGHTS = "weights/l2_supercat_256.safetensors"
TOKENS = "tokenizers/l2_supercat_tokenizer_config.json"
TABLE = "embedding.weight"

BATCH = 64  # examples in one request to an embeddings endpoint
MAX_BYTES = 32 * 1024 * 1024  # of its answer


class NotEmbedded(Exception):
    """The endpoint gave no vectors; the text says why."""


class Builtin:
    """
    The mean of 256 numbers for each token, from a table of 32,000 tokens that was distilled from
    the embeddings of large models (https://github.com/dleemiller/WordLlama, MIT).
    """

    def __init__(self) -> None:
        """
        Load the table: 16 MB from disk.

        Raises:
            StartError: the package that ships it is not installed.

        """
        folder = _folder()
        self._tokens: Tokenizer = Tokenizer.from_file(str(folder / TOKENS))
        self._tokens.no_padding()
        self._tokens.no_truncation()
        self._table = _tensor(folder / WEIGHTS, TABLE)

    def embed(self, texts: Sequence[str]) -> Rows:
        """One row of length 1 for each text; zeros for a text without tokens."""
        found = np.zeros((len(texts), self._table.shape[1]), np.float32)
        for row, text in enumerate(texts):
            ids = self._tokens.encode(text, add_special_tokens=False).ids
            if ids:
                found[row] = self._table[ids].mean(axis=0, dtype=np.float32)
        return _of_length_one(found)


class Remote:
    """An embeddings endpoint, asked with our own HTTP client."""

    def __init__(self, config: Embedding) -> None:
        """``config`` has a url."""
        self._url = config.url or ""
        self._model = config.model
        self._endpoint = Endpoint(self._url, config.api_key, MAX_BYTES)

    async def embed(self, texts: Sequence[str], timeout_s: float) -> Rows:
        """
        One row of length 1 for each text.

        Raises:
            NotEmbedded: no vectors came within ``timeout_s`` for each batch, or not as many as
                there are texts.

        """
        batches = [texts[start : start + BATCH] for start in range(0, len(texts), BATCH)]
        found = [await self._batch(batch, timeout_s) for batch in batches]
        return _of_length_one(np.concatenate(found))

    def close(self) -> None:
        """Close its connections."""
        self._endpoint.close()

    async def _batch(self, texts: Sequence[str], timeout_s: float) -> Rows:
        body = msgspec.json.encode({"model": self._model, "input": texts})
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._endpoint.ask(body)
        except TimeoutError:
            raise NotEmbedded(f"{self._url} did not answer within {timeout_s:g} s") from None
        except Unanswered as why:
            raise NotEmbedded(f"{self._url}: {why}") from None
        return _vectors(answer, len(texts), self._url)


class _Entry(msgspec.Struct):
    embedding: list[float]
    index: int = 0


class _Answer(msgspec.Struct):
    data: list[_Entry]


def _vectors(answer: bytes, count: int, url: str) -> Rows:
    try:
        entries = msgspec.json.decode(answer, type=_Answer).data
    except msgspec.MsgspecError as error:
        raise NotEmbedded(f"{url} answered something else than embeddings: {error}") from None
    rows = [entry.embedding for entry in sorted(entries, key=lambda entry: entry.index)]
    if len(rows) != count or len({len(row) for row in rows}) != 1 or not rows[0]:
        raise NotEmbedded(f"{url} answered {len(rows)} embeddings for {count} texts")
    return np.array(rows, np.float32)


def _folder() -> Path:
    """Where the package with the table is; finding it does not import it."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise StartError(
            f"Classes need the package {PACKAGE}; install it with `pip install"
            " 'headrace[classify]'`, or set `classes.embedding.url`."
        )
    return Path(found.origin).parent


def _tensor(file: Path, name: str) -> Rows:
    """
    One tensor of a safetensors file, kept in half precision: the size of a JSON header (8 bytes,
    little-endian), the header, then the tensors. https://github.com/huggingface/safetensors
    """
    content = file.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])[name]
    kinds = {"F16": "<f2", "F32": "<f4"}
    begin, end = header["data_offsets"]
    flat = np.frombuffer(content, kinds[header["dtype"]], offset=start + begin, count=-1)
    size = (end - begin) // flat.itemsize
    table: Rows = flat[:size].reshape(header["shape"])
    return table


def _of_length_one(rows: Rows) -> Rows:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Rows = (rows / np.maximum(lengths, 1e-9)).astype(np.float32)
    return unit
