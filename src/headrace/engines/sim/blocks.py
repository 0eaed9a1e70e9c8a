"""
The paged KV cache of one engine: blocks, who uses them, and which prefixes they still hold.

Pure. The rules are vLLM's (v1/core/block_pool.py and kv_cache_manager.py, 0.32): blocks are shared
by the chained hash of all that stands before and in them; what nobody uses is kept, the least
recently freed is taken first, and the blocks of one sequence are freed from its tail.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Protocol

# Stands for a block whose content has no name yet: it is not full.
UNNAMED = 0


class Watcher(Protocol):
    """Whoever wants to know which named blocks the cache holds."""

    def stored(
        self, parent: int | None, names: list[int], tokens: list[int], session: str | None
    ) -> None:
        """
        Blocks one after the other, behind the block ``parent``, the tokens in them, and the
        client's name for what brought them.
        """

    def removed(self, name: int) -> None:
        """A block was taken for something else."""

    def cleared(self) -> None:
        """All blocks were forgotten."""


class Blocks:
    """
    A pool of ``count`` blocks. A block is a number; its name is the hash of its content, not 0.
    """

    __slots__ = (
        "_free",
        "_fresh",
        "_holders",
        "_names",
        "_places",
        "count",
        "evictions",
        "watcher",
    )

    def __init__(self, count: int) -> None:
        self.count = count
        self.evictions = 0
        self.watcher: Watcher | None = None
        self._fresh = 0  # blocks from here on were never used; they are taken before all others
        self._names = [UNNAMED] * count
        self._holders = [0] * count
        self._places: dict[int, int] = {}  # name -> block
        self._free: OrderedDict[int, None] = OrderedDict()

    @property
    def free(self) -> int:
        """Blocks that nobody uses; what they hold may still be found."""
        return self.count - self._fresh + len(self._free)

    @property
    def used(self) -> int:
        """Blocks in use."""
        return self.count - self.free

    def find(self, names: Iterable[int]) -> list[int]:
        """The blocks of the longest prefix that is held, in order. Takes nothing."""
        found = []
        for name in names:
            place = self._places.get(name)
            if place is None:
                break
            found.append(place)
        return found

    def idle(self, blocks: Sequence[int]) -> int:
        """How many of these nobody uses: taking them leaves so many fewer free."""
        return sum(not self._holders[block] for block in blocks)

    def share(self, blocks: Sequence[int]) -> None:
        """Use blocks that were found."""
        for block in blocks:
            if not self._holders[block]:
                del self._free[block]
            self._holders[block] += 1

    def take(self, count: int) -> list[int] | None:
        """New blocks; None, and nothing is taken, when so many are not free."""
        if count > self.free:
            return None
        taken = []
        for _ in range(count):
            if self._fresh < self.count:
                block = self._fresh
                self._fresh += 1
            else:
                block, _ = self._free.popitem(last=False)
                self._forget(block)
            self._holders[block] = 1
            taken.append(block)
        return taken

    def name(self, block: int, name: int) -> bool:
        """A block is full: from now on others can find it. False: another holds the same."""
        if self._names[block] != UNNAMED or name in self._places:
            return False
        self._names[block] = name
        self._places[name] = block
        return True

    def give(self, blocks: Sequence[int]) -> None:
        """Use them no more; the tail is forgotten before the head."""
        for block in reversed(blocks):
            self._holders[block] -= 1
            if not self._holders[block]:
                self._free[block] = None

    def reset(self) -> None:
        """Forget every prefix; blocks in use stay in use."""
        self._places.clear()
        self._names = [UNNAMED] * self.count
        if self.watcher is not None:
            self.watcher.cleared()

    def _forget(self, block: int) -> None:
        name = self._names[block]
        if name != UNNAMED:
            self.evictions += 1
            self._names[block] = UNNAMED
            if self._places.get(name) == block:
                del self._places[name]
                if self.watcher is not None:
                    self.watcher.removed(name)
