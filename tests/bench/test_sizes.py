"""Distributions of lengths: how they are written, what they draw, and text of a length."""

from random import Random
from statistics import fmean, median

import pytest

from headrace.bench.sizes import block, prose, sizes
from headrace.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "mean"),
    [
        ("fixed:512", 512),
        ("512", 512),
        ("uniform:100-300", 200),
        ("normal:400,50", 400),
        ("exponential:300", 300),
        ("lognormal:500,0.5", 566.6),
    ],
)
def test_draws_have_the_mean_that_is_told(text: str, mean: float) -> None:
    """What is drawn has the mean that the distribution says."""
    found, random = sizes(text, "--prompt-dist"), Random(1)
    drawn = [found.draw(random) for _ in range(4000)]

    assert mean == pytest.approx(found.mean, rel=0.001)
    assert mean == pytest.approx(fmean(drawn), rel=0.05)
    assert min(drawn) >= 1


def test_lognormal_is_written_by_its_median() -> None:
    """Half of lognormal:500,0.8 is below 500."""
    random, found = Random(2), sizes("lognormal:500,0.8", "--prompt-dist")

    assert 500 == pytest.approx(median(found.draw(random) for _ in range(4000)), rel=0.05)


@pytest.mark.parametrize(
    "text",
    ["", "fixed", "fixed:", "fixed:0", "uniform:100", "uniform:300-100", "zipf:2", "normal:5",
     "fixed:12,4", "fixed:ten"],
)  # fmt: skip
def test_what_is_no_distribution_is_told(text: str) -> None:
    """A wrong distribution names its option and says what would be right."""
    with pytest.raises(ConfigError, match=r"--prompt-dist: .*; write "):
        sizes(text, "--prompt-dist")


def test_text_has_its_length_and_blocks_are_equal() -> None:
    """A word is a token; a block with one name has one text."""
    assert 100 == len(prose(100, Random(1)).split())
    assert block(7, 512) == block(7, 512)
    assert block(7, 512) != block(8, 512)
