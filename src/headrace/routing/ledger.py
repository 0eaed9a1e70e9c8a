"""
What one replica's cache holds as its engine tells it (KV events), in blocks of bytes. Pure.

An engine names its blocks by hashes of tokens, routing its own by hashes of bytes. Each request to
an engine with events bears a tag (vLLM's X-Session-ID), and the engine puts it into the events of
the blocks that the request brings into its cache: they are this prompt's, in this order, behind the
parent that they name. So much is exact. When the request has ended, the number of its tokens is
known: the block of bytes that ends at the share x of the prompt ends in the engine's block at the
share x of its tokens, give or take one where the text is denser than the rest. From then on it
leaves the index when the engine removes that block, and not before: the capacity that the index is
given is no guess of what is held any more, only a bound for what could not be related (prompts of
others, those from before the first event).

Other ways: to detokenize the events, or to ask /tokenize, needs the model's tokenizer and template
here, or milliseconds of the engine's CPU for each prompt. Matching requests and events by order and
counts errs as soon as two prompts are in one step.

When events are lost, removals are missed. Then the capacity is guessed again (``exact`` is False),
until as many blocks were stored as the cache has: most of what was there before has had to go.
Nothing here is needed for a right answer; a wrong belief costs a prefill.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from headrace.routing.blocks import BLOCK
from headrace.routing.index import Index
from headrace.routing.lane import Ask

# Blocks of the engine that are known at one time: 4 million tokens at 16 each, 90 B of memory each.
MOST_BLOCKS = 262_144
# Requests that have a tag; more than a replica runs at one time.
MOST_STORIES = 4096
# After a request's end its last events may still be under way.
SETTLE_S = 0.25

Name = int | bytes


@dataclass(slots=True)
class _Story:
    """One request: its blocks of bytes, and the engine's blocks from the prompt's first on."""

    ask: Ask
    names: list[Name] = field(default_factory=list)
    tokens: int = 0  # of the prompt; 0 until the engine has told
    block_tokens: int = 0
    broken: bool = False  # it begins behind a block that is not known


class Ledger:
    """
    Follows the events of one replica, and lets the index know what is gone.

    ``capacity`` is how many blocks the engine's cache has (0: not known); ``tags`` is what tags
    begin with, so that those of other gateways are told apart.
    """

    def __init__(self, index: Index, slot: int, tags: str, most: int = MOST_BLOCKS) -> None:
        self.capacity = 0
        self.exact = False
        self.overflows = 0
        self._index = index
        self._slot = slot
        self._tags = tags
        self._most = most
        self._count = 0
        self._since = 0  # blocks stored since events were lost
        self._parents: dict[Name, Name | None] = {}
        self._ends: dict[Name, list[int]] = {}  # blocks of bytes that end in a block
        self._homes: dict[int, Name] = {}  # and where each of them ends
        self._stories: dict[str, _Story] = {}
        self._ended: deque[tuple[float, str]] = deque()

    def __len__(self) -> int:
        """Blocks of the engine that are known to be held."""
        return len(self._parents)

    @property
    def related(self) -> int:
        """Blocks of bytes that are known to stand in blocks of the engine."""
        return len(self._homes)

    # --- requests ---------------------------------------------------------------------------

    def expect(self, ask: Ask) -> str:
        """The tag that the request shall bear; empty where there is nothing to learn from it."""
        if not ask.blocks or len(self._stories) >= MOST_STORIES:
            return ""
        self._count += 1
        tag = f"{self._tags}{self._slot}-{self._count}"
        self._stories[tag] = _Story(ask)
        return tag

    def end(self, tag: str, tokens: int, now: float) -> None:
        """A request has ended; its prompt had so many tokens, 0 where the engine did not say."""
        story = self._stories.get(tag)
        if story is None:
            return
        if not tokens:
            del self._stories[tag]
            return
        story.tokens = tokens
        self._ended.append((now + SETTLE_S, tag))

    def settle(self, now: float) -> None:
        """Relate the prompts that have ended a while ago."""
        ended = self._ended
        while ended and ended[0][0] <= now:
            story = self._stories.pop(ended.popleft()[1], None)
            if story is not None and story.names and not story.broken:
                self._relate(story)

    # --- events -----------------------------------------------------------------------------

    def stored(
        self, tag: str | None, names: Sequence[Name], parent: Name | None, tokens: int
    ) -> None:
        """Blocks of ``tokens`` each are held, one after the other behind ``parent``."""
        parents, before = self._parents, parent
        for name in names:
            parents[name] = before
            before = name
        if not self.exact:
            self._since += len(names)
            if 0 < self.capacity <= self._since:
                self.exact = True
        if len(parents) > self._most:
            self.overflows += 1
            self.lose()
            return
        story = self._stories.get(tag) if tag else None
        if story is not None:
            self._tell(story, names, parent, tokens)

    def removed(self, names: Iterable[Name]) -> None:
        """Blocks are gone, and with them the blocks of bytes that end there."""
        parents, ends, homes = self._parents, self._ends, self._homes
        gone: list[int] = []
        for name in names:
            parents.pop(name, None)
            if name in ends:
                gone += ends.pop(name)
        if gone:
            for block in gone:
                del homes[block]
            self._index.evict(self._slot, gone)

    def cleared(self) -> None:
        """The cache is empty: it was reset, or its engine has started anew."""
        self._forget()
        self._index.clear(self._slot)
        self.exact = True

    def lose(self) -> None:
        """Events were lost: what is held has to be guessed, until all of it must have changed."""
        self._forget()
        self.exact = False
        self._since = 0

    # --- below ------------------------------------------------------------------------------

    def _forget(self) -> None:
        for story in self._stories.values():
            story.broken = True
        self._parents.clear()
        self._ends.clear()
        self._homes.clear()

    def _tell(self, story: _Story, names: Sequence[Name], parent: Name | None, tokens: int) -> None:
        known = story.names
        story.block_tokens = tokens
        if known and known[-1] == parent:
            known += names
        else:  # its beginning was cached, or it was preempted and comes again
            before = self._up(parent)
            story.broken = before is None
            story.names = [*(before or ()), *names]

    def _up(self, name: Name | None) -> list[Name] | None:
        """All blocks down to this one, from the prompt's first on; None when some are unknown."""
        parents = self._parents
        found: list[Name] = []
        for _ in range(len(parents) + 1):
            if name is None:
                return found[::-1]
            if name not in parents:
                return None
            found.append(name)
            name = parents[name]
        return None  # in a circle: no engine's chain

    def _relate(self, story: _Story) -> None:
        """Find in which of the engine's blocks each block of bytes ends."""
        ask, names, parents = story.ask, story.names, self._parents
        each = BLOCK * story.tokens / ask.size if ask.size else ask.grain  # tokens
        homes, ends = self._homes, self._ends
        alive = 0
        for place, block in enumerate(ask.blocks):
            home = homes.get(block)
            if home is None:
                at = int(((place + 1) * each - 1) // story.block_tokens)
                if at >= len(names) or names[at] not in parents:
                    break  # the engine's last one is not full, or is gone already
                homes[block] = name = names[at]
                ends.setdefault(name, []).append(block)
            alive += 1
        self._index.mend(self._slot, ask.blocks[:alive])
        self._index.evict(self._slot, [each for each in ask.blocks[alive:] if each not in homes])
