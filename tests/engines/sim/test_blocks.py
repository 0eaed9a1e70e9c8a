"""The paged cache: blocks are neither lost nor made, and the least recently freed go first."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.engines.sim.blocks import Blocks

COUNT = 8
actions = st.lists(st.tuples(st.sampled_from(["take", "give", "share"]), st.integers(0, 20)))


class Naive:
    """The same pool in the plainest way: a list in the order of freeing, and a name per block."""

    def __init__(self) -> None:
        self.order = [*range(COUNT)]
        self.names: dict[int, int] = {}

    def take(self, count: int) -> list[int] | None:
        if count > len(self.order):
            return None
        taken, self.order = self.order[:count], self.order[count:]
        self.names = {b: name for b, name in self.names.items() if b not in taken}
        return taken


@given(actions)
def test_like_a_naive_pool(done: list[tuple[str, int]]) -> None:
    """Any takes, shares and gives leave the same free blocks, names and answers as a plain list."""
    blocks, naive = Blocks(COUNT), Naive()
    held: list[list[int]] = []
    names = iter(range(1, 10_000))
    for action, number in done:
        if action == "take":
            taken = blocks.take(number % (COUNT + 2))
            assert taken == naive.take(number % (COUNT + 2))
            for block in taken or ():
                name = next(names)
                blocks.name(block, name)
                naive.names[block] = name
            held.append(taken or [])
        elif action == "give" and held:
            given_back = held.pop(number % len(held))
            blocks.give(given_back)
            still = {block for group in held for block in group}
            naive.order += [b for b in reversed(given_back) if b not in still]
        elif action == "share" and naive.names:
            block, name = sorted(naive.names.items())[number % len(naive.names)]
            found = blocks.find([name])
            assert found == [block]
            blocks.share(found)
            held.append(found)
            naive.order = [b for b in naive.order if b != block]

        assert len(naive.order) == blocks.free
        assert COUNT - len(naive.order) == blocks.used
    for name in range(1, 50):
        assert blocks.find([name]) == [b for b, known in naive.names.items() if known == name]


def test_find_stops_at_the_first_gap() -> None:
    """A prefix is found from its beginning, never its middle."""
    blocks = Blocks(4)
    first, second = blocks.take(2) or []
    blocks.name(first, 1)
    blocks.name(second, 3)

    assert [first] == blocks.find([1, 2, 3])
    assert [] == blocks.find([2, 3])


def test_the_tail_is_forgotten_first() -> None:
    """Of a freed sequence the last block is taken first, so that its beginning lives longest."""
    blocks = Blocks(2)
    taken = blocks.take(2) or []
    for block in taken:
        blocks.name(block, block + 1)
    blocks.give(taken)
    blocks.take(1)

    assert [taken[0]] == blocks.find([1, 2])
    assert 1 == blocks.evictions


def test_reset_forgets_names_only() -> None:
    """After a reset nothing is found, and what is in use stays in use."""
    blocks = Blocks(2)
    (block,) = blocks.take(1) or []
    blocks.name(block, 7)
    blocks.reset()

    assert [] == blocks.find([7])
    assert 1 == blocks.used
    assert 1 == blocks.idle([1])
