"""blocks.py: equal beginnings give equal blocks, different ones do not, and bytes become tokens."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.routing.blocks import BLOCK, FEWEST_BYTES, MOST_BYTES, Density, chain, hash_of, join

texts = st.text(max_size=200)
messages = st.lists(st.fixed_dictionaries({"role": texts, "content": texts}), min_size=1)


def raw(value: Any) -> bytes:
    return json.dumps(value).encode()


@given(messages, messages)
def test_a_conversation_that_grows_keeps_its_blocks(
    first: list[dict[str, str]], more: list[dict[str, str]]
) -> None:
    """All full blocks of a conversation are the first blocks of the next turn's."""
    before = chain(join([raw(first)]), 1, 16)
    after = chain(join([raw([*first, *more])]), 1, 16)

    assert before == after[: len(before)]


@given(st.binary(max_size=400), st.binary(max_size=400), st.integers(1, 64))
def test_blocks_are_equal_as_far_as_bytes_are(one: bytes, other: bytes, size: int) -> None:
    """Two prompts share as many blocks as full blocks of their common beginning."""
    same = 0
    while same < min(len(one), len(other)) and one[same] == other[same]:
        same += 1
    shared = 0
    for mine, theirs in zip(chain(one, 5, size), chain(other, 5, size), strict=False):
        if mine != theirs:
            break
        shared += 1

    assert same // size == shared


def test_a_block_stands_for_all_before_it() -> None:
    """Equal bytes behind different ones are another block."""
    one, other = b"a" * BLOCK + b"x" * BLOCK, b"b" * BLOCK + b"x" * BLOCK

    assert not set(chain(one, 1)) & set(chain(other, 1))


def test_whose_cache_it_is() -> None:
    """The same prompt of another model or with another salt shares nothing."""
    text = b"a" * (4 * BLOCK)

    assert not set(chain(text, hash_of("m"))) & set(chain(text, hash_of("m" + "salt")))


@pytest.mark.parametrize("size", [600, 5_000])
def test_media_count_by_their_digest(size: int) -> None:
    """However long an image is, it takes a few bytes, and another image is another prompt."""
    prompts = [
        raw([{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{letter * size}"}}])
        for letter in "AAB"
    ]

    first, again, other = (join([prompt], media=True) for prompt in prompts)

    assert len(first) < 100
    assert first == again
    assert first != other


def test_density_is_learned() -> None:
    """After some reports bytes per token are what they are, and a wild one moves little."""
    density = Density()
    for _ in range(100):
        density.learn(3000, 1000)
    density.learn(10**9, 1)

    assert 2.5 < density.bytes_per_token < 5


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)), max_size=50))
def test_density_stays_possible(reports: list[tuple[int, int]]) -> None:
    """Whatever engines report, it stays within what a token can be."""
    density = Density()
    for size, tokens in reports:
        density.learn(size, tokens)

    assert FEWEST_BYTES <= density.bytes_per_token <= MOST_BYTES
