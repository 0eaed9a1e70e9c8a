"""
vLLM's scheduler, one iteration at a time, without a clock: who computes how many tokens, and for
how long.

The rules are those of vLLM's V1 scheduler (v1/core/sched/scheduler.py, 0.32): running sequences
first, then the waiting ones in order until the token budget or the sequence limit is reached;
prompts are computed in chunks; a waiting sequence that does not fit blocks those behind it; when a
running one cannot grow, the last of them is preempted and computed again later. Whoever drives it
(the server with a clock, a discrete-event simulation without) calls ``plan``, lets the iteration's
time pass, and calls ``finish``.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from headrace.engines.sim.blocks import Blocks, Watcher
from headrace.engines.sim.cost import Cost


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds a batch, named as vLLM's options are."""

    max_num_seqs: int = 256
    max_num_batched_tokens: int = 2048
    block_size: int = 16
    num_gpu_blocks: int = 8192
    max_model_len: int = 8192
    enable_prefix_caching: bool = True


@dataclass(slots=True, eq=False)
class Sequence:
    """
    A request inside the engine.

    ``name_of(i)`` is the chained hash of its block ``i``, of prompt and answer alike. Once that is
    asked for, all tokens of the block are known; ``tokens_of(i)`` are their numbers, which only
    those need who watch the cache.
    """

    prompt_tokens: int
    answer_tokens: int
    name_of: Callable[[int], int]
    tokens_of: Callable[[int], list[int]] | None = None
    session: str | None = None  # the client's name for it, which events bear
    computed: int = 0
    produced: int = 0
    cached: int = 0  # found in the prefix cache when it was first scheduled
    preemptions: int = 0
    admitted: bool = False  # has been scheduled at least once
    blocks: list[int] = field(default_factory=list)
    named: int = 0

    @property
    def length(self) -> int:
        """Tokens that are known so far."""
        return self.prompt_tokens + self.produced

    @property
    def done(self) -> bool:
        """Whether the answer is complete."""
        return self.produced >= self.answer_tokens


@dataclass(frozen=True, slots=True)
class Iteration:
    """One step: what is computed in it (tokens by sequence), and how long it takes."""

    ms: float
    tokens: list[tuple[Sequence, int]]
    admitted: list[Sequence]
    preempted: list[Sequence]

    @property
    def size(self) -> int:
        """Tokens in the batch."""
        return sum(count for _, count in self.tokens)


class Scheduler:
    """One engine's queue, batch and cache."""

    def __init__(self, limits: Limits, cost: Cost) -> None:
        self.limits = limits
        self.cost = cost
        self.blocks = Blocks(limits.num_gpu_blocks)
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.prefix_queries = 0
        self.prefix_hits = 0
        self.preemptions = 0

    @property
    def kv_usage(self) -> float:
        """The share of the KV cache that is in use, 0 to 1."""
        return self.blocks.used / self.blocks.count

    def fits(self, sequence: Sequence) -> bool:
        """Whether the sequence can ever be computed here, even alone."""
        return self._blocks_for(sequence.prompt_tokens + 1) <= self.blocks.count

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence."""
        self.waiting.append(sequence)

    def abort(self, sequence: Sequence) -> None:
        """Forget a sequence, wherever it is; unknown ones are fine."""
        if sequence in self.running:
            self.running.remove(sequence)
            self._free(sequence)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)

    def plan(self) -> Iteration | None:
        """The next iteration; None when there is nothing to compute."""
        budget = self.limits.max_num_batched_tokens
        planned: list[tuple[Sequence, int]] = []
        preempted: list[Sequence] = []
        position = 0
        while position < len(self.running) and budget > 0:
            sequence = self.running[position]
            count = min(sequence.length - sequence.computed, budget)
            if not self._grow(sequence, sequence.computed + count, preempted):
                break
            planned.append((sequence, count))
            self._name(sequence, ahead=count)  # hashed when scheduled: followers hit at once
            budget -= count
            position += 1
        admitted = [] if preempted else [*self._admit(planned, budget)]
        if not planned:
            return None
        chunks = [(s.computed, n) for s, n in planned if n > 1 or s.computed < s.prompt_tokens]
        contexts = [s.length for s, n in planned if n == 1 and s.computed >= s.prompt_tokens]
        ms = self.cost.iteration_ms(chunks, contexts)
        return Iteration(ms, planned, admitted, preempted)

    def finish(self, iteration: Iteration) -> list[Sequence]:
        """The iteration's time is over: the sequences that have one more token, in batch order."""
        advanced = []
        for sequence, count in iteration.tokens:
            if not sequence.blocks:
                continue  # aborted or preempted meanwhile
            sequence.computed += count
            if sequence.computed == sequence.length:
                sequence.produced += 1
                advanced.append(sequence)
            if sequence.done:
                self.running.remove(sequence)
                self._free(sequence)
        return advanced

    # --- below -----------------------------------------------------------------------------

    def _admit(self, planned: list[tuple[Sequence, int]], budget: int) -> Iterator[Sequence]:
        while self.waiting and budget > 0 and len(self.running) < self.limits.max_num_seqs:
            sequence = self.waiting[0]
            found = self._cached(sequence)
            new = self._blocks_for(sequence.length) - len(found)
            if new + self.blocks.idle(found) > self.blocks.free:
                return  # the whole prompt must fit; nobody overtakes
            self.waiting.popleft()
            self.blocks.share(found)
            hit = len(found) * self.limits.block_size
            count = min(sequence.length - hit, budget)
            more = self._blocks_for(hit + count) - len(found)
            sequence.blocks = [*found, *(self.blocks.take(more) or ())]
            sequence.computed, sequence.named = hit, len(found)
            if not sequence.admitted:
                sequence.admitted, sequence.cached = True, hit
                self.prefix_queries += sequence.prompt_tokens
                self.prefix_hits += hit
            self.running.append(sequence)
            planned.append((sequence, count))
            budget -= count
            self._name(sequence, ahead=count)
            yield sequence

    def _cached(self, sequence: Sequence) -> list[int]:
        if not self.limits.enable_prefix_caching:
            return []
        # The last token is always computed, for its logits.
        whole = (sequence.length - 1) // self.limits.block_size
        return self.blocks.find(sequence.name_of(index) for index in range(whole))

    def _grow(self, sequence: Sequence, tokens: int, preempted: list[Sequence]) -> bool:
        """Make room for so many tokens, at others' cost; False: the sequence itself had to go."""
        while True:
            more = self._blocks_for(tokens) - len(sequence.blocks)
            taken = self.blocks.take(more) if more > 0 else []
            if taken is not None:
                sequence.blocks += taken
                return True
            last = self.running.pop()
            self._free(last)
            last.computed = 0
            last.preemptions += 1
            self.preemptions += 1
            self.waiting.appendleft(last)
            preempted.append(last)
            if last is sequence:
                return False

    def _name(self, sequence: Sequence, ahead: int) -> None:
        if not self.limits.enable_prefix_caching:
            return
        whole = min((sequence.computed + ahead) // self.limits.block_size, len(sequence.blocks))
        stored = [
            index
            for index in range(sequence.named, whole)
            if self.blocks.name(sequence.blocks[index], sequence.name_of(index))
        ]
        if stored and self.blocks.watcher is not None:
            self._tell(self.blocks.watcher, sequence, stored)
        sequence.named = max(sequence.named, whole)

    def _tell(self, watcher: Watcher, sequence: Sequence, indexes: list[int]) -> None:
        """One message for each run of blocks that follow one another."""
        runs: list[list[int]] = []
        for index in indexes:
            if runs and runs[-1][-1] == index - 1:
                runs[-1].append(index)
            else:
                runs.append([index])
        tokens_of = sequence.tokens_of or (lambda _: [])
        for run in runs:
            parent = sequence.name_of(run[0] - 1) if run[0] else None
            names = [sequence.name_of(index) for index in run]
            tokens = [token for index in run for token in tokens_of(index)]
            watcher.stored(parent, names, tokens, sequence.session)

    def _free(self, sequence: Sequence) -> None:
        self.blocks.give(sequence.blocks)
        sequence.blocks = []
        sequence.named = 0

    def _blocks_for(self, tokens: int) -> int:
        return -(-tokens // self.limits.block_size)
