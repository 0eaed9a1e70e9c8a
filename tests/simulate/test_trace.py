"""Traces: what files say, spread and scaled, and what is told of files that are none."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from headrace.errors import ConfigError
from headrace.simulate.trace import BLOCK_TOKENS, Row, hushed, read, replay
from tests.simulate.fleets import request, trace

AZURE = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    "2023-11-16 18:17:03.9799600,4808,10\n"
    "2023-11-16 18:17:05.0319600,3180,0\n"
)


def mooncake(path: Path, *rows: tuple[int, int, int, list[int]]) -> Path:
    keys = ("timestamp", "input_length", "output_length", "hash_ids")
    lines = [json.dumps(dict(zip(keys, row, strict=True))) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_mooncake_is_read(tmp_path: Path) -> None:
    """Milliseconds become seconds; all else is kept."""
    path = mooncake(tmp_path / "m.jsonl", (1500, 700, 5, [0, 7]), (2000, 10, 0, [3]))

    assert [Row(1.5, 700, 5, (0, 7)), Row(2.0, 10, 1, (3,))] == read(path)


def test_azure_is_read(tmp_path: Path) -> None:
    """Times count from the first row; at least one token is generated; blocks are unknown."""
    path = tmp_path / "a.csv"
    path.write_text(AZURE, encoding="utf-8")

    first, second = read(path)

    assert Row(0.0, 4808, 10, None) == first
    assert (3180, 1, None) == (second.prompt_tokens, second.output_tokens, second.blocks)
    assert 1.052 == pytest.approx(second.arrival_s)


def test_gzip_is_read(tmp_path: Path) -> None:
    """A file is unpacked by what is in it, not by its name."""
    path = tmp_path / "a.csv"
    path.write_bytes(gzip.compress(AZURE.encode()))

    assert 2 == len(read(path))


def test_limit_stops_early(tmp_path: Path) -> None:
    """Only the first rows are read."""
    path = mooncake(tmp_path / "m.jsonl", *((each, 10, 1, [0]) for each in range(9)))

    assert 4 == len(read(path, 4))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"timestamp": 1}\n', ":1 is no line of a Mooncake trace"),
        ("TIMESTAMP,Tokens\n2023-11-16 18:17:03,5\n", ":2 is no line of a trace"),
        ("hello\nworld\n", ":2 is no line of a trace"),
        ("", "has no requests"),
    ],
)
def test_what_is_no_trace_is_told(tmp_path: Path, text: str, told: str) -> None:
    """The error names file and line, and what would be right."""
    path = tmp_path / "t"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(ConfigError, match=told):
        read(path)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """It names the file."""
    with pytest.raises(ConfigError, match=r"absent.* cannot be read"):
        read(tmp_path / "absent")


def test_quantised_arrivals_are_spread() -> None:
    """Arrivals in steps of 3 s are spread within them, by the seed, and then scaled."""
    rows = [Row(3.0 * (each // 50), 1000, 5, (0,)) for each in range(200)]

    one, same, other = (replay("t", rows, 2.0, seed).requests for seed in (1, 1, 2))

    assert one == same
    assert one != other
    assert 200 == len({each.arrival_s for each in one})
    assert all(1.5 * (each.number // 50) <= each.arrival_s <= 1.5 * (each.number // 50 + 1)
               for each in one)  # fmt: skip


def test_exact_arrivals_stay() -> None:
    """Times that are not in steps are only scaled."""
    rows = [Row(0.5, 10, 1, None), Row(1.25, 10, 1, None), Row(9.0, 10, 1, None)]

    assert [0.25, 0.625, 4.5] == [each.arrival_s for each in replay("t", rows, 2, 0).requests]


def test_only_whole_blocks_count() -> None:
    """A block that the prompt does not fill is nobody's prefix."""
    (found,) = replay("t", [Row(0.1, 1100, 1, (0, 5, 6))], 1, 0).requests

    assert (0, 5) == found.blocks
    assert 5 == found.session


def test_without_prefixes_nothing_is_shared() -> None:
    """Where a trace tells no blocks each request has its own."""
    made = replay("t", [Row(each + 0.1, 2000, 1, None) for each in range(9)], 1, 0)

    assert 0.0 == made.shared
    assert [3] * 9 == [len(each.blocks) for each in made.requests]
    assert 27 == len({block for each in made.requests for block in each.blocks})


def test_shared_is_what_an_endless_cache_would_hold() -> None:
    """Tokens of prefixes that came before, of all prompt tokens."""
    made = trace(request(0, 0, 2048, 1, [1, 2]), request(1, 1, 2048, 1, [1, 9]))

    assert BLOCK_TOKENS / 4096 == made.shared


def test_a_part_is_not_streamed() -> None:
    """About so many requests as asked, the same by the same seed, and nothing else changes."""
    rows = [Row(float(number), 100, 10, None) for number in range(1000)]
    loud = replay("t", rows, 1.0, seed=1)

    found = hushed(loud, 0.3, seed=1)

    assert 250 <= sum(not each.streamed for each in found.requests) <= 350
    assert found == hushed(loud, 0.3, seed=1)
    assert loud == replace(
        found, requests=tuple(replace(each, streamed=True) for each in found.requests)
    )
