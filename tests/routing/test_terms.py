"""terms.py: the least cost, and how equals are told apart."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.routing.blocks import hash_of
from headrace.routing.terms import COST, FEW, INFLIGHT, TIE_MS, Terms, heaviest, pick, rendezvous

NAMES = [f"gpu-{number}" for number in range(8)]
SEEDS = [hash_of(each) for each in NAMES]


def terms(cost: float, inflight: int = 0) -> Terms:
    return (cost, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, inflight)


@given(
    st.lists(st.tuples(st.floats(0, 1e5), st.integers(0, 9)), min_size=8, max_size=8),
    st.sets(st.integers(0, 7), min_size=1),
    st.integers(),
)
def test_nobody_is_better(given_: list[tuple[float, int]], among: set[int], number: int) -> None:
    """Of those that may be chosen none costs less, or as much with fewer requests."""
    found = [terms(*each) for each in given_]
    chosen = pick(found, SEEDS, number, sorted(among))
    least = min(found[index][COST] for index in among)
    alike = [index for index in among if found[index][COST] <= least + TIE_MS]

    assert chosen in alike
    assert min(found[index][INFLIGHT] for index in alike) == found[chosen][INFLIGHT]


def test_equals_are_told_apart_by_the_prompt() -> None:
    """A prompt always finds the same of equals, and many prompts find all of them evenly."""
    equals = [terms(5.0)] * 8
    once, again = (
        [pick(equals, SEEDS, hash_of(str(number)), range(8)) for number in range(4000)]
        for _ in range(2)
    )

    assert once == again
    assert all(400 < count < 600 for count in Counter(once).values())


def test_only_what_was_there_moves_when_one_leaves() -> None:
    """When a replica leaves, the prompts of the others stay where they are (rendezvous)."""
    equals = [terms(5.0)] * 8
    for number in range(500):
        key = hash_of(str(number))
        before = pick(equals, SEEDS, key, range(8))
        after = pick(equals, SEEDS, key, range(7))

        assert before in {after, 7}


def test_those_without_a_prompt_take_turns() -> None:
    """A number below 0 walks over the equals."""
    equals = [terms(5.0)] * 4

    assert [2] * 4 == list(
        Counter(pick(equals, SEEDS, -turn, range(4)) for turn in range(1, 9)).values()
    )


@pytest.mark.parametrize(
    ("number", "name", "weight"),
    [(1, "gpu-0", 9139618771470948915), (2, "gpu-7", 3475680184576839173)],
)
def test_every_process_weighs_alike(number: int, name: str, weight: int) -> None:
    """Gateways that do not talk agree: weights depend on no process, hash seed or version."""
    assert weight == rendezvous(number, hash_of(name))


@given(
    st.integers(),
    st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=3 * FEW),
    st.integers(0, 2**64 - 1),
)
def test_all_at_once_finds_the_same(number: int, seeds: list[int], chance: int) -> None:
    """However many replicas there are, the rendezvous finds whom it finds one by one."""
    among = [place for place in range(len(seeds)) if chance >> place % 64 & 1] or [0]
    for places in (among, range(len(seeds))):
        expected = max(places, key=lambda place: rendezvous(number, seeds[place]))

        assert expected == heaviest(number, seeds, places)
