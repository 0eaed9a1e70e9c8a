"""Contests: where requests come from, who takes part, and how runs are put together."""

import json
from pathlib import Path

import pytest

from headrace.errors import ConfigError
from headrace.simulate.contest import (
    Run,
    play,
    policies,
    policy,
    results,
    runs,
    sequential,
    source,
)
from headrace.simulate.ours import Ours
from headrace.simulate.report import Spread
from headrace.simulate.rivals import RIVALS
from headrace.simulate.world import Fleet
from tests.simulate.fleets import H100

SAMPLES = Path(__file__).parents[2] / "benchmarks" / "routing" / "traces"


@pytest.mark.parametrize(
    ("file", "requests", "shared"),
    [
        ("conversation_trace.jsonl.gz", 2200, 0.2),
        ("AzureLLMInferenceTrace_conv.csv.gz", 5000, 0.0),
        ("AzureLLMInferenceTrace_code.csv.gz", 4000, 0.0),
    ],
)
def test_the_samples_can_be_replayed(file: str, requests: int, shared: float) -> None:
    """The shipped beginnings of public traces are whole, and share prefixes as theirs do."""
    found = source(str(SAMPLES / file), None, None)

    assert requests == found.requests
    assert found.trace(1.0, 1).shared >= shared


def test_a_generator_makes_as_many_as_wanted() -> None:
    """By its name, with a number or the usual one."""
    assert 70 == len(source("chat", 70, None).trace(10, 1).requests)
    assert 5000 == source("chat", None, None).requests


def test_long_requests_can_be_left_out(tmp_path: Path) -> None:
    """Prompt and answer together are at most so many tokens."""
    path = tmp_path / "t.jsonl"
    row = {"timestamp": 7, "output_length": 10, "hash_ids": [0]}
    path.write_text(
        "\n".join(json.dumps({**row, "input_length": each}) for each in (90, 91)), encoding="utf-8"
    )

    assert [90] == [
        each.prompt_tokens for each in source(str(path), None, 100).trace(1, 1).requests
    ]
    with pytest.raises(ConfigError, match="--max-tokens 50 leaves no request"):
        source(str(path), None, 50)


@pytest.mark.parametrize(
    ("name", "tokens", "told"),
    [("absent", None, "no file 'absent', and no generator"), ("chat", 5, "is for recorded traces")],
)
def test_what_is_no_source_is_told(name: str, tokens: int | None, told: str) -> None:
    """The error says what would be right."""
    with pytest.raises(ConfigError, match=told):
        source(name, None, tokens)


def test_policies_are_named_apart() -> None:
    """Ours have a prefix, since rivals have some of the same names; nobody takes part twice."""
    assert ["headrace:least_requests", "least_requests"] == policies(
        ["least_requests"], ["least_requests", "least_requests"]
    )
    assert [*RIVALS] == policies([], ["all", "sticky"])
    assert isinstance(policy("headrace:lowest_cost:fair"), Ours)
    assert isinstance(policy("sticky"), type(RIVALS["sticky"]()))


@pytest.mark.parametrize(("own", "rivals"), [(["sticky"], []), ([], ["lowest_cost"])])
def test_unknown_policies_are_told(own: list[str], rivals: list[str]) -> None:
    """The error lists those that there are."""
    with pytest.raises(ConfigError, match=r"is unknown; use .*least_requests"):
        policies(own, rivals)


def test_every_policy_runs_at_every_rate_and_seed() -> None:
    """Seeds count from 1."""
    assert [Run("a", 1, 1), Run("a", 1, 2), Run("a", 2, 1), Run("a", 2, 2)] == runs(
        ["a"], [1, 2], 2
    )


def test_results_are_over_seeds() -> None:
    """By rate and policy, with mean and deviation."""
    wanted = runs(["round_robin", "headrace:lowest_cost"], [20.0], 2)
    told: list[Run] = []
    requests, fleet = source("b2b", 120, None), Fleet((H100,) * 2)
    found = sequential(wanted, requests, fleet, told.append)

    assert wanted == told
    assert found[wanted[0]] == play(wanted[0], requests, fleet)
    table = results(found)
    assert [20.0] == [*table]
    assert ["round_robin", "headrace:lowest_cost"] == [*table[20.0]]
    mean = table[20.0]["round_robin"]["ttft_mean_ms"]
    assert isinstance(mean, Spread)
    assert mean.deviation > 0
