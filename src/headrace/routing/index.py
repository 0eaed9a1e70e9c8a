"""
Which replica probably holds which blocks of prompts: an inverted index, and an order of age. Pure.

It mirrors what engines do with their KV caches: a block is held from the dispatch of a request that
needs it, the least recently used go first, and of one request its last ones. What engines report
about cached tokens corrects how much each replica is believed to hold.
"""

from array import array
from collections import deque
from collections.abc import Sequence

# What a block on one replica costs, measured with tracemalloc; benchmarks/routing/decision.py
# prints it.
BLOCK_BYTES = 208
# An order of age is written anew when it has so many references per block, and some more.
SLACK, FEW = 2, 256
# A share (1 / AHEAD) of the capacity is given up at once, so that not every request has to.
AHEAD = 64

Depths = dict[int, int]
NOWHERE: Depths = {}


class Index:
    """
    Blocks are 64-bit chained hashes, replicas are small numbers (slots).

    ``max_bytes`` bounds all of it; each slot gets an equal share at most.
    """

    def __init__(self, max_bytes: int = 256 * 1024 * 1024) -> None:
        self._holders: dict[int, int] = {}  # block -> a bit for each slot
        self._shelves: dict[int, _Shelf] = {}
        self._free: list[int] = []
        self._max_blocks = max(1, max_bytes // BLOCK_BYTES)

    def __len__(self) -> int:
        """Blocks held, each counted once per replica."""
        return sum(len(shelf.stamps) for shelf in self._shelves.values())

    @property
    def bytes(self) -> int:
        """Roughly what it takes in memory."""
        return len(self) * BLOCK_BYTES

    def open(self, capacity: int) -> int:
        """A slot for one more replica, which holds ``capacity`` blocks at most."""
        slot = self._free.pop() if self._free else len(self._shelves)
        self._shelves[slot] = _Shelf(capacity)
        return slot

    def close(self, slot: int) -> None:
        """The replica has left, and all that it held is gone."""
        self.clear(slot)
        del self._shelves[slot]
        self._free.append(slot)
        self._free.sort(reverse=True)  # the lowest first: masks stay small

    def clear(self, slot: int) -> None:
        """The replica holds nothing any more."""
        shelf = self._shelves[slot]
        self._unhold(slot, list(shelf.stamps))
        shelf.stamps.clear()
        shelf.touches.clear()
        shelf.references = 0

    def resize(self, slot: int, capacity: int) -> None:
        """The replica holds so many blocks at most from now on."""
        shelf = self._shelves[slot]
        shelf.capacity = capacity
        self._trim(slot, shelf)

    def held(self, slot: int) -> int:
        """How many blocks the replica holds."""
        return len(self._shelves[slot].stamps)

    def match(self, blocks: Sequence[int]) -> Depths:
        """
        How many of the first blocks each slot holds in a row; slots with none are absent.

        A prompt's first blocks are never older than its last ones, and of one age the last go
        first: so that whoever holds a block holds all before it.
        """
        holders = self._holders
        alive = holders.get(blocks[0], 0) if blocks else 0
        if not alive:
            return NOWHERE
        found: Depths = {}
        depth, count = 1, len(blocks)
        while alive:
            low, high = depth, count  # bisect: whoever holds a block holds those before it
            while low < high:
                middle = (low + high) // 2
                if holders.get(blocks[middle], 0) & alive == alive:
                    low = middle + 1
                else:
                    high = middle
            depth = low
            left = holders.get(blocks[depth], 0) & alive if depth < count else 0
            _note(alive ^ left, depth, found)
            alive = left
        return found

    def hold(self, slot: int, blocks: list[int], known: int = 0) -> int:
        """
        The replica holds these blocks now; of the first ``known`` it is known already. Returns the
        stamp under which they were added, for ``forget``.
        """
        shelf = self._shelves[slot]
        shelf.stamp += 1
        stamp = shelf.stamp
        shelf.stamps.update(dict.fromkeys(blocks, stamp))
        shelf.touches.append((stamp, array("Q", blocks)))  # not the numbers: 8 B instead of 44
        shelf.references += len(blocks)
        holders, bit = self._holders, 1 << slot
        held = holders.get
        for block in blocks[known:] if known else blocks:
            holders[block] = held(block, 0) | bit
        most = min(shelf.capacity, self._max_blocks // len(self._shelves))
        if len(shelf.stamps) > most or shelf.long:
            self._trim(slot, shelf)
        return stamp

    def forget(self, slot: int, blocks: Sequence[int], stamp: int) -> None:
        """Take back what was held under ``stamp`` and by nobody since: it never came to be."""
        shelf = self._shelves.get(slot)
        if shelf is None:
            return
        stamps = shelf.stamps
        gone = [block for block in blocks if stamps.get(block) == stamp]
        for block in gone:
            del stamps[block]
        self._unhold(slot, gone)

    def evict(self, slot: int, blocks: Sequence[int]) -> None:
        """The replica has told that it holds these no more."""
        shelf = self._shelves.get(slot)
        if shelf is not None:
            self._unhold(slot, [block for block in blocks if shelf.stamps.pop(block, 0)])

    def mend(self, slot: int, blocks: list[int]) -> None:
        """The replica has told that it holds these; they keep their age where that is known."""
        shelf = self._shelves.get(slot)
        if shelf is not None and any(block not in shelf.stamps for block in blocks):
            self.hold(slot, blocks)

    # --- below -----------------------------------------------------------------------------

    def _trim(self, slot: int, shelf: "_Shelf") -> None:
        """Give up the blocks that were not used for the longest time, of one prompt the last."""
        most = max(1, min(shelf.capacity, self._max_blocks // len(self._shelves)))
        most -= most // AHEAD
        if shelf.long:
            self._compact(shelf)
        stamps, touches = shelf.stamps, shelf.touches
        gone: list[int] = []
        while len(stamps) > most:
            stamp, blocks = touches.popleft()
            shelf.references -= len(blocks)
            mine = [block for block in blocks if stamps.get(block) == stamp]
            spare = len(stamps) - most
            if spare < len(mine):  # keep the head of the prompt in its place
                left = mine[:-spare]
                touches.appendleft((stamp, array("Q", left)))
                shelf.references += len(left)
                mine = mine[-spare:]
            for block in mine:
                del stamps[block]
            gone += mine
        self._unhold(slot, gone)

    @staticmethod
    def _compact(shelf: "_Shelf") -> None:
        """Write the order of age anew, with each block once."""
        stamps = shelf.stamps
        kept = [
            (stamp, array("Q", [block for block in blocks if stamps.get(block) == stamp]))
            for stamp, blocks in shelf.touches
        ]
        shelf.touches = deque((stamp, blocks) for stamp, blocks in kept if blocks)
        shelf.references = sum(len(blocks) for _, blocks in shelf.touches)

    def _unhold(self, slot: int, blocks: Sequence[int]) -> None:
        holders, others = self._holders, ~(1 << slot)
        for block in blocks:
            mask = holders.get(block, 0) & others
            if mask:
                holders[block] = mask
            else:
                holders.pop(block, None)


class _Shelf:
    """What one replica holds: the latest stamp of each block, and the touches in their order."""

    __slots__ = ("capacity", "references", "stamp", "stamps", "touches")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.stamp = 0
        self.stamps: dict[int, int] = {}
        self.touches: deque[tuple[int, array[int]]] = deque()
        self.references = 0  # blocks in touches, the outdated ones included

    @property
    def long(self) -> bool:
        """Whether the order has become much longer than what it orders."""
        return self.references > SLACK * len(self.stamps) + FEW


def _note(mask: int, depth: int, found: Depths) -> None:
    """Each slot of the mask holds so many blocks."""
    while mask:
        low = mask & -mask
        found[low.bit_length() - 1] = depth
        mask ^= low
