"""
Requests to replay: what a recorded trace says of arrivals, sizes and shared prefixes, and how such
files are read. What is made up instead of recorded is in ``synthetic``.
"""

import csv
import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import TextIO

from headrace.errors import ConfigError

# Mooncake's blocks; traces without prefixes use the same size, where it means nothing.
BLOCK_TOKENS = 512
# Mooncake's conversation trace tells arrivals in steps of 3 s. Unspread they are bursts that nobody
# sent: every router would be judged by how it takes 10 requests in the same millisecond.
QUANTUM_S = 3.0
GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Request:
    """
    One request of a trace.

    ``blocks`` names the whole blocks of the prompt, from its beginning: equal names mean equal
    prompts up to there. ``session`` is what a client's session header would say. The first token
    of one that is not ``streamed`` is seen by nobody but its client, at the end. ``tenant``,
    ``rank`` and ``weight`` are as in routing.
    """

    number: int
    arrival_s: float
    prompt_tokens: int
    output_tokens: int
    blocks: tuple[int, ...]
    session: int
    streamed: bool = True
    tenant: str = ""
    rank: int = 0
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Trace:
    """Requests in the order of their arrival, and the tokens that one of their blocks has."""

    name: str
    block_tokens: int
    requests: tuple[Request, ...]

    @property
    def shared(self) -> float:
        """The share of prompt tokens that a cache without limits would have held, 0 to 1."""
        seen: set[int] = set()
        held = total = 0
        for request in self.requests:
            total += request.prompt_tokens
            for block in request.blocks:
                if block not in seen:
                    break
                held += self.block_tokens
            seen.update(request.blocks)
        return held / total if total else 0.0


@dataclass(frozen=True, slots=True)
class Row:
    """What a file says of one request; ``blocks`` is empty where it knows of no prefixes."""

    arrival_s: float
    prompt_tokens: int
    output_tokens: int
    blocks: tuple[int, ...] | None


def read(path: Path, limit: int | None = None) -> list[Row]:
    """
    The rows of a trace: Mooncake's JSON lines or Azure's CSV, plain or gzipped.

    Raises:
        ConfigError: there is no such file, or a line of it is neither.

    """
    try:
        with _open(path) as lines:
            first = lines.readline()
            lines.seek(0)
            rows = _mooncake(lines, path) if first.startswith("{") else _azure(lines, path)
            found = [row for row, _ in zip(rows, _numbers(limit), strict=False)]
    except (OSError, UnicodeDecodeError) as error:
        why = "it is no text in UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise ConfigError(f"The trace {path} cannot be read: {why}.") from error
    if not found:
        raise ConfigError(f"The trace {path} has no requests.")
    return found


def replay(name: str, rows: Sequence[Row], rate: float, seed: int) -> Trace:
    """
    The rows as requests that arrive ``rate`` times faster than recorded.

    Arrivals that were recorded in steps of 3 s are spread within their step; the seed says how.
    """
    random = Random(seed)
    spread = QUANTUM_S if _quantised(rows) else 0.0
    timed = [((row.arrival_s + random.random() * spread) / rate, row) for row in rows]
    timed.sort(key=lambda pair: pair[0])
    fresh = -1  # names of blocks that nobody shares: recorded ones are not negative
    requests = []
    for number, (arrival_s, row) in enumerate(timed):
        whole = row.prompt_tokens // BLOCK_TOKENS
        if row.blocks is None:
            blocks = tuple(range(fresh, fresh - whole, -1))
            fresh -= whole
            session = number
        else:
            blocks = row.blocks[:whole]  # the last one that a file names may not be whole
            # Block 0 is the same for all in Mooncake's traces: the second tells users apart.
            session = row.blocks[min(1, len(row.blocks) - 1)] if row.blocks else number
        requests.append(
            Request(number, arrival_s, row.prompt_tokens, row.output_tokens, blocks, session)
        )
    return Trace(name, BLOCK_TOKENS, tuple(requests))


def hushed(trace: Trace, share: float, seed: int) -> Trace:
    """The same requests, of which so many (0 to 1) are not streamed; the seed says which."""
    random = Random(f"quiet {seed}")
    requests = [replace(each, streamed=random.random() >= share) for each in trace.requests]
    return replace(trace, requests=tuple(requests))


# --- below -------------------------------------------------------------------------------------


def _open(path: Path) -> TextIO:
    with path.open("rb") as file:
        zipped = file.read(2) == GZIP
    return gzip.open(path, "rt", encoding="utf-8") if zipped else path.open(encoding="utf-8")


def _numbers(limit: int | None) -> Iterator[int]:
    number = 0
    while limit is None or number < limit:
        yield number
        number += 1


def _quantised(rows: Sequence[Row]) -> bool:
    """Whether all arrivals are whole steps, but for a few ms of rounding that the file has."""
    steps = {row.arrival_s / QUANTUM_S for row in rows}
    return len(rows) > len(steps) and all(abs(step - round(step)) < 0.01 for step in steps)


def _mooncake(lines: TextIO, path: Path) -> Iterator[Row]:
    """https://github.com/kvcache-ai/Mooncake/tree/main/FAST25-release: JSON lines, ms, chained."""
    for number, line in enumerate(lines, 1):
        try:
            found = json.loads(line)
            yield Row(
                float(found["timestamp"]) / 1000,
                max(1, int(found["input_length"])),
                max(1, int(found["output_length"])),
                tuple(int(name) for name in found["hash_ids"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{path}:{number} is no line of a Mooncake trace; it has timestamp (ms),"
                " input_length, output_length and hash_ids."
            ) from error


def _azure(lines: TextIO, path: Path) -> Iterator[Row]:
    """https://github.com/Azure/AzurePublicDataset: CSV, 100 ns in text, nothing about content."""
    begin: float | None = None
    for number, found in enumerate(csv.DictReader(lines), 2):
        try:
            # The seventh digit of the fraction is more than Python's clock has.
            moment = datetime.fromisoformat(found["TIMESTAMP"][:26]).replace(tzinfo=UTC)
            arrival_s = moment.timestamp()
            begin = arrival_s if begin is None else begin
            yield Row(
                arrival_s - begin,
                max(1, int(found["ContextTokens"])),
                max(1, int(found["GeneratedTokens"])),
                None,
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{path}:{number} is no line of a trace: neither Mooncake's JSON nor Azure's CSV"
                " with TIMESTAMP, ContextTokens and GeneratedTokens."
            ) from error
