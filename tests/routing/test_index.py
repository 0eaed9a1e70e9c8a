"""index.py: who holds what, what is given up first, and that nothing is left behind."""

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.routing.index import AHEAD, BLOCK_BYTES, FEW, SLACK, Index

# Chains: a prompt is a family and a length, its blocks are (family, place) as one number.
prompts = st.tuples(st.integers(0, 5), st.integers(1, 12))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("hold"), st.integers(0, 3), prompts),
        st.tuples(st.just("forget"), st.integers(0, 3), prompts),
        st.tuples(st.just("clear"), st.integers(0, 3), prompts),
        st.tuples(st.just("resize"), st.integers(0, 3), prompts),
    ),
    max_size=60,
)


def blocks_of(family: int, length: int) -> list[int]:
    return [family * 1000 + place + 1 for place in range(length)]


class TestMatch:
    def test_depths(self) -> None:
        """Each replica's depth is how much of the beginning it holds."""
        index = Index()
        slots = [index.open(100) for _ in range(4)]
        index.hold(slots[0], [1, 2, 3])
        index.hold(slots[1], [1])
        index.hold(slots[2], [7, 8])

        assert {slots[0]: 3, slots[1]: 1} == index.match([1, 2, 3, 4])
        assert {} == index.match([9])
        assert {} == index.match([])

    @given(steps)
    @settings(max_examples=200)
    def test_as_counted_by_hand(self, made: list[tuple[str, int, tuple[int, int]]]) -> None:
        """After any steps, a match is what counting block by block on each replica gives."""
        index = Index()
        slots = [index.open(20) for _ in range(4)]
        stamps: dict[tuple[int, tuple[int, int]], int] = {}
        for what, slot, prompt in made:
            blocks = blocks_of(*prompt)
            if what == "hold":
                known = index.match(blocks).get(slot, 0)
                stamps[slot, prompt] = index.hold(slot, blocks, known)
            elif what == "forget" and (slot, prompt) in stamps:
                index.forget(slot, blocks, stamps.pop((slot, prompt)))
            elif what == "clear":
                index.clear(slot)
            elif what == "resize":
                index.resize(slot, prompt[1])
        for family in range(6):
            blocks = blocks_of(family, 12)
            shelves = {slot: index._shelves[slot].stamps for slot in slots}
            held = {
                slot: next((n for n, b in enumerate(blocks) if b not in stamps_), len(blocks))
                for slot, stamps_ in shelves.items()
            }

            assert {slot: depth for slot, depth in held.items() if depth} == index.match(blocks)
        everything = set().union(*(index._shelves[slot].stamps for slot in slots))

        assert everything == set(index._holders)


class TestAge:
    def test_the_oldest_go_first_and_tails_before_heads(self) -> None:
        """Beyond the capacity the least recently used prompt loses its last blocks."""
        index = Index()
        slot = index.open(10)
        index.hold(slot, [1, 2, 3, 4])
        index.hold(slot, [11, 12, 13, 14])
        index.hold(slot, [1, 2, 3, 4])
        index.hold(slot, [21, 22, 23, 24])

        assert {slot: 4} == index.match([1, 2, 3, 4])
        assert {slot: 2} == index.match([11, 12, 13, 14])
        assert {slot: 4} == index.match([21, 22, 23, 24])

    def test_a_shared_beginning_stays(self) -> None:
        """What many prompts begin with is as young as the youngest of them."""
        index = Index()
        slot = index.open(12)
        for number in range(40):
            index.hold(slot, [1, 2, 3, 100 + 2 * number, 101 + 2 * number])

        assert {slot: 3} == index.match([1, 2, 3])

    @given(st.lists(prompts, min_size=1, max_size=300), st.integers(1, 30))
    def test_never_more_than_the_capacity(self, held: list[tuple[int, int]], capacity: int) -> None:
        """However much comes, blocks and references to them are bounded."""
        index = Index()
        slot = index.open(capacity)
        for family, length in held:
            index.hold(slot, blocks_of(family, length))

            assert index.held(slot) <= capacity
            assert index._shelves[slot].references <= SLACK * capacity + FEW + 12

    def test_bytes_are_bounded_over_all(self) -> None:
        """With a budget for a hundred blocks, four replicas have about a quarter of it each."""
        index = Index(100 * BLOCK_BYTES)
        slots = [index.open(10_000) for _ in range(4)]
        for slot in slots:
            for number in range(100):
                index.hold(slot, [slot * 10_000 + number * 10 + each for each in range(10)])

        assert index.bytes <= 100 * BLOCK_BYTES
        assert all(index.held(slot) >= 25 - 25 // AHEAD - 1 for slot in slots)


def test_what_never_came_to_be_is_forgotten() -> None:
    """A request that failed takes back what it added, but not what others added since."""
    index = Index()
    slot = index.open(100)
    index.hold(slot, [1, 2])
    stamp = index.hold(slot, [1, 2, 3, 4], 2)
    index.hold(slot, [1, 2, 3], 3)
    index.forget(slot, [3, 4], stamp)

    assert {slot: 3} == index.match([1, 2, 3, 4])


def test_a_slot_is_used_again() -> None:
    """What a replica held does not pass on to the one that gets its slot."""
    index = Index()
    first, second = index.open(10), index.open(10)
    index.hold(first, [1, 2])
    index.close(first)

    assert first == index.open(10)
    assert {} == index.match([1, 2])
    assert 0 == index.held(second)
    assert 0 == len(index)
