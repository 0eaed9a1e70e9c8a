"""When requests are due, and what they say."""

import json
from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev

import pytest

from headrace.bench.plan import Arrivals, Shape, Step, due, jobs, recorded
from headrace.bench.sizes import sizes
from headrace.errors import ConfigError

SHAPE = Shape(sizes("uniform:50-100", "-"), sizes("fixed:16", "-"), prefix=20, seed=3)


@pytest.mark.parametrize("arrivals", ["poisson", "constant", "gamma"])
def test_the_rate_is_kept(arrivals: Arrivals) -> None:
    """Whatever the spacing, so many requests come in the time that the rate says."""
    times = due(10.0, 500, arrivals, 0.5, 1)

    assert 0.0 == times[0]
    assert times == sorted(times)
    assert 50.0 == pytest.approx(times[-1], rel=0.02)


def test_gamma_below_one_comes_in_bursts() -> None:
    """Gaps of a Poisson process spread as much as their mean; bursts more, a clock not at all."""

    def variation(arrivals: Arrivals) -> float:
        gaps = [b - a for a, b in pairwise(due(10.0, 2000, arrivals, 0.25, 1))]
        return stdev(gaps) / fmean(gaps)

    assert 1.0 == pytest.approx(variation("poisson"), rel=0.1)
    assert 2.0 == pytest.approx(variation("gamma"), rel=0.15)
    assert variation("constant") < 0.001


def test_equal_seeds_send_equal_requests() -> None:
    """A run can be repeated; another seed is another run."""
    times = [0.0] * 20

    assert jobs(SHAPE, times) == jobs(SHAPE, times)
    other = Shape(SHAPE.prompts, SHAPE.outputs, SHAPE.prefix, seed=4)
    assert [job.prompt for job in jobs(SHAPE, times)] != [job.prompt for job in jobs(other, times)]


def test_a_prefix_is_shared_and_the_rest_is_not() -> None:
    """All prompts begin with the same tokens, and none is another's repetition."""
    found = jobs(SHAPE, [0.0] * 20)
    words = [job.prompt.split() for job in found]

    assert 1 == len({tuple(each[:20]) for each in words})
    assert 20 == len({tuple(each) for each in words})
    assert all(50 <= len(each) <= 100 for each in words)


def test_a_trace_keeps_its_prefixes_sizes_and_times(tmp_path: Path) -> None:
    """Equal blocks are equal text, sizes are kept, and twice as fast is half the time."""
    rows = [
        {"timestamp": 0, "input_length": 1100, "output_length": 30, "hash_ids": [1, 2, 3]},
        {"timestamp": 4000, "input_length": 1024, "output_length": 40, "hash_ids": [1, 9]},
    ]
    file = tmp_path / "trace.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    first, second = recorded(file, 2.0, None, 0)

    assert 0.0 == first.due_s
    assert second.due_s == pytest.approx(2.0, abs=1.6)  # Mooncake tells times in steps of 3 s
    assert [30, 40] == [first.output_tokens, second.output_tokens]
    assert 1100 == len(first.prompt.split())
    assert first.prompt.split()[:512] == second.prompt.split()[:512]
    assert first.prompt.split()[512:1024] != second.prompt.split()[512:1024]


def test_a_trace_that_is_none_is_told(tmp_path: Path) -> None:
    """A missing file is an error for people."""
    with pytest.raises(ConfigError, match="cannot be read"):
        recorded(tmp_path / "none.jsonl", 1.0, None, 0)


def test_steps_have_names() -> None:
    """Tables call a step by its load."""
    assert ["4/s", "8 at a time", "trace"] == [
        Step(4.0, None, []).name, Step(None, 8, []).name, Step(None, None, []).name
    ]  # fmt: skip
