"""ledger.py: what an engine tells of its cache reaches the index, and only what it tells."""

import pytest

from headrace.routing.blocks import BLOCK
from headrace.routing.index import Index
from headrace.routing.lane import Ask
from headrace.routing.ledger import MOST_STORIES, Ledger

# A token is 4 bytes, so that a block of bytes is 128 tokens: 8 blocks of the engine, of 16 each.
EACH = 8
TOKENS = BLOCK // 4


class Rig:
    """A ledger of one replica, and what was sent to it."""

    def __init__(self, most: int = 10_000) -> None:
        self.index = Index()
        self.slot = self.index.open(100_000)
        self.ledger = Ledger(self.index, self.slot, "t-", most)
        self.ledger.cleared()  # as with an engine's first event
        self.now = 0.0

    def sent(self, blocks: list[int]) -> str:
        """The tag of a prompt that routing has placed."""
        ask = Ask(len(blocks) * TOKENS, blocks, TOKENS)
        ask.size = len(blocks) * BLOCK
        self.index.hold(self.slot, blocks)
        return self.ledger.expect(ask)

    def done(self, tag: str, blocks: list[int]) -> None:
        """Its answer is there, and the last events have come."""
        self.ledger.end(tag, len(blocks) * TOKENS, self.now)
        self.now += 1.0
        self.ledger.settle(self.now)

    def serve(self, blocks: list[int], names: list[int], parent: int | None = None) -> None:
        """A whole request that brings these blocks of the engine."""
        tag = self.sent(blocks)
        self.ledger.stored(tag, names, parent, 16)
        self.done(tag, blocks)

    def depth(self, blocks: list[int]) -> int:
        return self.index.match(blocks).get(self.slot, 0)


def names(first: int, blocks: int) -> list[int]:
    """The engine's names for so many blocks of bytes."""
    return [first + place for place in range(blocks * EACH)]


def test_a_removed_block_takes_the_block_of_bytes_that_ends_in_it() -> None:
    """Whatever the capacity says, exactly what the engine removes is not predicted any more."""
    rig = Rig()
    prompt, brought = [1, 2, 3, 4], names(100, 4)
    rig.serve(prompt, brought)
    before = rig.depth(prompt)
    rig.ledger.removed(brought[-1:])
    one_less = rig.depth(prompt)
    rig.ledger.removed(reversed(brought[EACH:-1]))

    assert (4, 3, 1) == (before, one_less, rig.depth(prompt))


def test_a_block_within_a_block_of_bytes_is_not_its_end() -> None:
    """Engines remove from the tail; until the end of a block of bytes goes, it is believed in."""
    rig = Rig()
    brought = names(100, 2)
    rig.serve([1, 2], brought)
    rig.ledger.removed([brought[EACH]])

    assert 2 == rig.depth([1, 2])


def test_what_is_shared_is_related_once() -> None:
    """A second turn stands behind the first: each goes with its own blocks."""
    rig = Rig()
    first, more = names(100, 2), names(500, 2)
    rig.serve([1, 2], first)
    rig.serve([1, 2, 3, 4], more, parent=first[-1])
    rig.ledger.removed(reversed(more))
    left = rig.depth([1, 2, 3, 4])
    rig.ledger.removed(reversed(first))

    assert (2, 0) == (left, rig.depth([1, 2]))
    assert (0, 0) == (len(rig.ledger), rig.ledger.related)


def test_prompts_of_one_step_are_told_apart() -> None:
    """Events of two requests come mixed; the tags say whose they are."""
    rig = Rig()
    one, two = rig.sent([1, 2]), rig.sent([11, 12])
    mine, other = names(100, 2), names(900, 2)
    rig.ledger.stored(one, mine[:5], None, 16)
    rig.ledger.stored(two, other, None, 16)
    rig.ledger.stored(one, mine[5:], mine[4], 16)
    rig.done(two, [11, 12])
    rig.done(one, [1, 2])
    rig.ledger.removed(other)

    assert (2, 0) == (rig.depth([1, 2]), rig.depth([11, 12]))


def test_the_open_end_of_a_prompt_is_not_held() -> None:
    """Engines cache whole blocks only: a last one that is not full is not predicted."""
    rig = Rig()
    rig.serve([1, 2], names(100, 2)[:-1])

    assert 1 == rig.depth([1, 2])


def test_removed_before_its_request_has_ended() -> None:
    """What goes while it cannot be related yet is not believed in after that."""
    rig = Rig()
    tag, brought = rig.sent([1, 2, 3]), names(100, 3)
    rig.ledger.stored(tag, brought, None, 16)
    rig.ledger.removed(brought[EACH:])
    rig.done(tag, [1, 2, 3])

    assert 1 == rig.depth([1, 2, 3])


def test_evicted_and_brought_again_while_it_ran() -> None:
    """A removal that crosses a new request of the same prompt does not outlast that request."""
    rig = Rig()
    brought = names(100, 2)
    rig.serve([1, 2], brought)
    tag = rig.sent([1, 2])
    rig.ledger.removed(brought)
    crossed = rig.depth([1, 2])
    rig.ledger.stored(tag, brought, None, 16)
    rig.done(tag, [1, 2])

    assert (0, 2) == (crossed, rig.depth([1, 2]))


def test_unknown_blocks_are_ignored() -> None:
    """Prompts of others, and removals of what was never told, change nothing."""
    rig = Rig()
    rig.serve([1, 2], names(100, 2))
    rig.ledger.stored("somebody-else", [7, 8], None, 16)
    rig.ledger.stored(None, [9], 424242, 16)
    rig.ledger.removed([7, 31337, b"\x00bytes"])

    assert 2 == rig.depth([1, 2])


def test_behind_an_unknown_parent_nothing_is_related() -> None:
    """Where a prompt's beginning was cached before anybody listened, only age can tell."""
    rig = Rig()
    rig.serve([1, 2, 3], names(100, 1), parent=424242)

    assert (0, 3) == (rig.ledger.related, rig.depth([1, 2, 3]))


def test_names_may_be_bytes() -> None:
    """Engines may be told to publish whole digests, not 64 bits of them."""
    rig = Rig()
    digests = [bytes([place]) * 32 for place in range(EACH)]
    tag = rig.sent([1])
    rig.ledger.stored(tag, digests, None, 16)
    rig.done(tag, [1])
    rig.ledger.removed(digests)

    assert 0 == rig.depth([1])


def test_a_reset_forgets_all() -> None:
    """After AllBlocksCleared nothing is predicted, and all that follows is exact."""
    rig = Rig()
    rig.serve([1, 2], names(100, 2))
    rig.ledger.lose()
    rig.ledger.cleared()

    assert (0, 0, True) == (rig.depth([1, 2]), len(rig.ledger), rig.ledger.exact)


def test_lost_events_fall_back_until_the_cache_has_turned_over() -> None:
    """A gap keeps what is believed, and ends exactness until as much was stored as fits in."""
    rig = Rig()
    rig.ledger.capacity = 2 * EACH
    rig.serve([1, 2], names(100, 2))
    rig.ledger.lose()
    after_gap = rig.ledger.exact, rig.depth([1, 2])
    rig.serve([5], names(500, 1))
    half = rig.ledger.exact
    rig.serve([6], names(600, 1))

    assert ((False, 2), False, True) == (after_gap, half, rig.ledger.exact)


def test_memory_is_bounded() -> None:
    """More blocks than are wanted: all is forgotten at once, and the mirror guesses again."""
    rig = Rig(most=100)
    for number in range(20):
        rig.serve([number + 1], names(1000 * number, 1))
        assert len(rig.ledger) <= 100

    assert (1, False) == (rig.ledger.overflows, rig.ledger.exact)


def test_tags_are_bounded_and_given_back() -> None:
    """Requests beyond those that a replica runs have no tag; ended ones leave nothing."""
    rig = Rig()
    tags = [rig.sent([1]) for _ in range(MOST_STORIES + 1)]
    for tag in tags:
        rig.ledger.end(tag, 0, 0.0)

    assert "" == tags[-1]
    assert MOST_STORIES == len({*tags[:-1]})
    assert rig.sent([1])


def test_a_prompt_without_blocks_has_no_tag() -> None:
    """There is nothing to learn from a short one."""
    assert "" == Rig().ledger.expect(Ask(10, [], 1.0))


@pytest.mark.parametrize("parent", [100, 101])
def test_circles_end(parent: int) -> None:
    """Nonsense of an engine (a block behind itself) is no endless loop."""
    rig = Rig()
    rig.ledger.stored(None, [100, 101], parent, 16)
    rig.serve([1, 2], names(500, 1), parent=101)

    assert 0 == rig.ledger.related
