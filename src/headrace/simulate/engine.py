"""
One vLLM replica, iteration by iteration, kept lean: a million iterations take seconds.

The rules and the times are those of ``engines.sim.scheduler``, which the HTTP simulator runs and
which tests hold this one to. Left out for speed are vLLM's blocks of 16 tokens: what prompts share
is counted in the trace's own blocks, the rest of the KV cache in tokens. An answer is never found
by a later prompt, since no trace says which of its blocks have it.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence
from heapq import heappop, heappush

from headrace.engines.sim.cost import Preset
from headrace.simulate.trace import Request

NEVER = -1  # in the place of an iteration: it does not decode
# Names below this are those of blocks that nobody can ask for: ends of prompts, and answers.
NAMELESS = -(1 << 60)


class Job:
    """A request in the fleet: when what happened to it, and where an engine is with it."""

    __slots__ = (
        "base", "blocks", "cached", "dispatched_s", "end_s", "ends_at", "filled", "first_s",
        "position", "preemptions", "private", "produced", "remaining", "replica", "request",
        "retries", "started_at",
    )  # fmt: skip

    def __init__(self, request: Request) -> None:
        self.request = request
        self.blocks = request.blocks
        self.dispatched_s = self.first_s = self.end_s = -1.0  # not yet
        self.replica = -1
        self.retries = 0
        self.preemptions = 0
        self.reset()

    def reset(self) -> None:
        """Forget what an engine has computed of it."""
        self.cached = -1  # tokens found in the cache when it was first scheduled; -1: not yet
        self.produced = 0  # tokens of the answer, up to the last time it began to decode
        self.position = self.remaining = 0  # tokens of the prompt: computed, and not
        self.filled = 0  # blocks of the prompt that are in the cache by name
        self.private = 0  # tokens in the cache that nobody else can find
        self.ends_at = NEVER  # the iteration in which the answer is complete
        self.started_at = 0  # the iteration before the first in which it decodes
        self.base = 0  # tokens of the answer at that moment


class Engine:
    """The queue, batch and cache of one replica. Who drives it lets the time pass."""

    def __init__(self, number: int, preset: Preset, block_tokens: int) -> None:
        self.number = number
        self.preset = preset
        self.block_tokens = block_tokens
        self.capacity = preset.kv_tokens
        self.used = 0  # tokens of the cache that running requests hold
        self.shared: dict[int, int] = {}  # blocks in use: how many requests use each
        self.idle: OrderedDict[int, None] = OrderedDict()  # blocks only kept, oldest first
        self.waiting: deque[Job] = deque()
        self.running: list[Job] = []  # in the order of admission
        self.prefilling: list[Job] = []
        self.decoding = 0
        self.context = 0  # tokens that the decoding requests read in each iteration
        self.busy = False
        self.ready_s = 0.0  # the end of this iteration; set by who lets the time pass
        self.busy_ms = 0.0
        self.iterations = 0
        self.preemptions = 0
        self.prompt_tokens = 0  # computed, not found
        self._ends: list[tuple[int, int, Job]] = []
        self._order = 0
        self._nameless = NAMELESS
        self._loose = 0  # tokens of such blocks, until they fill one
        self._last_chunk: list[Job] = []  # their prompt is complete after this iteration
        self._decoders = 0  # of this iteration

    # --- what a router may ask -------------------------------------------------------------

    def held(self, blocks: Sequence[int]) -> int:
        """How many blocks, from the first on, the cache has."""
        shared, idle = self.shared, self.idle
        found = 0
        for block in blocks:
            if block not in shared and block not in idle:
                break
            found += 1
        return found

    @property
    def kv_usage(self) -> float:
        """The share of the cache that running requests hold, 0 to 1."""
        return self.used / self.capacity

    @property
    def jobs(self) -> list[Job]:
        """All that it has, running first."""
        return [*self.running, *self.waiting]

    def fits(self, request: Request) -> bool:
        """Whether the request can ever be computed here, even alone."""
        return request.prompt_tokens + request.output_tokens <= self.capacity

    # --- the iteration ---------------------------------------------------------------------

    def plan(self) -> float:
        """Begin an iteration; the time that it takes, in ms. 0: there is nothing to do."""
        preempted = self._grow()
        decoders = self._decoders = self.decoding
        budget = room = self.preset.max_num_batched_tokens - decoders
        pairs = 0.0
        self._last_chunk = []
        for job in self.prefilling:
            if budget <= 0:
                break
            start, count = job.position, min(job.remaining, budget)
            self._compute(job, count)
            pairs += count * (start + count / 2)
            budget -= count
        if self.waiting and not preempted:
            budget, pairs = self._admit(budget, pairs)
        computed = room - budget
        tokens = computed + decoders
        self.busy = tokens > 0
        if not tokens:
            return 0.0
        cost = self.preset.cost
        ms = (
            max(cost.weights, cost.base + cost.per_token * tokens)
            + cost.per_pair * pairs
            + cost.per_sequence * decoders
            + cost.per_kv_token * self.context
            + cost.host
        )
        self.busy_ms += ms
        self.prompt_tokens += computed
        return ms

    def finish(self) -> tuple[list[Job], list[Job]]:
        """
        The iteration's time is over.

        The jobs whose prompt is complete and who have one token more, and those whose answer is.
        """
        self.iterations += 1
        self.context += self._decoders
        now = self.iterations
        ended = []
        ends = self._ends
        while ends and ends[0][0] <= now:
            at, _, job = heappop(ends)
            if job.ends_at == at:
                self._leave_batch(job)
                ended.append(job)
        first = self._last_chunk
        self._last_chunk = []
        for job in first:
            self.prefilling.remove(job)
            job.produced += 1
            if job.produced >= job.request.output_tokens:
                self._forget(job)
                ended.append(job)
            else:
                self._decode(job)
        return first, ended

    # --- below -----------------------------------------------------------------------------

    def _grow(self) -> bool:
        """Room for a token of each that decodes, at the cost of the last one; was there a cost?"""
        preempted = False
        while self.decoding and not self._room(self.decoding):
            self._preempt(self.running[-1])
            preempted = True
        self.used += self.decoding
        return preempted

    def _room(self, tokens: int) -> bool:
        """Whether so many tokens fit; what is only kept makes way for them."""
        free = self.capacity - self.used - tokens
        if free < 0:
            return False
        size = self.block_tokens
        excess = len(self.idle) * size - free
        while excess > 0:
            self.idle.popitem(last=False)
            excess -= size
        return True

    def _admit(self, budget: int, pairs: float) -> tuple[int, float]:
        waiting = self.waiting
        size, limit = self.block_tokens, self.preset.max_num_seqs
        while budget > 0 and waiting and len(self.running) < limit:
            job = waiting[0]
            length = job.request.prompt_tokens + job.produced
            # The last token is always computed, for its logits.
            found = min(self.held(job.blocks), (length - 1) // size)
            needed = length - found * size
            if not self._fits_now(job, found, needed):
                break  # the whole prompt must fit; nobody overtakes
            waiting.popleft()
            self._take(job, found, needed)
            self.running.append(job)
            self.prefilling.append(job)
            start, count = job.position, min(needed, budget)
            self._compute(job, count)
            pairs += count * (start + count / 2)
            budget -= count
        return budget, pairs

    def _fits_now(self, job: Job, found: int, needed: int) -> bool:
        size = self.block_tokens
        room = self.capacity - self.used - needed
        if room < 0:
            return False
        if room >= found * size:
            return True
        idle = self.idle
        return room >= size * sum(block in idle for block in job.blocks[:found])

    def _take(self, job: Job, found: int, needed: int) -> None:
        shared, idle = self.shared, self.idle
        for block in job.blocks[:found]:
            users = shared.get(block)
            if users is None:
                del idle[block]
                shared[block] = 1
                self.used += self.block_tokens
            else:
                shared[block] = users + 1
        self._room(needed)
        self.used += needed
        job.private = job.remaining = needed
        job.filled = found
        job.position = found * self.block_tokens
        if job.cached < 0:
            job.cached = job.position

    def _compute(self, job: Job, count: int) -> None:
        """A chunk of the prompt; whole blocks can be found by others at once, as in vLLM."""
        job.position += count
        job.remaining -= count
        size, shared, idle = self.block_tokens, self.shared, self.idle
        whole = min(len(job.blocks), job.position // size)
        for block in job.blocks[job.filled : whole]:
            users = shared.get(block)
            if users is None:
                idle.pop(block, None)  # the newer copy counts
                shared[block] = 1
            else:
                shared[block] = users + 1
                self.used -= size  # computed twice at the same time, kept once
            job.private -= size
        job.filled = max(job.filled, whole)
        if not job.remaining:
            self._last_chunk.append(job)

    def _decode(self, job: Job) -> None:
        job.base = job.produced
        job.started_at = self.iterations
        job.ends_at = self.iterations + job.request.output_tokens - job.produced
        self.decoding += 1
        self.context += job.request.prompt_tokens + job.produced
        self._order += 1
        heappush(self._ends, (job.ends_at, self._order, job))

    def _stop_decoding(self, job: Job) -> None:
        grown = self.iterations - job.started_at
        self.decoding -= 1
        self.context -= job.request.prompt_tokens + job.base + grown
        job.produced = job.base + grown
        job.private += grown
        job.ends_at = NEVER

    def _leave_batch(self, job: Job) -> None:
        self._stop_decoding(job)
        self._forget(job)

    def _forget(self, job: Job) -> None:
        self.running.remove(job)
        shared, size = self.shared, self.block_tokens
        self._loose += job.private
        while self._loose >= size:  # kept like all others, until the room is needed
            self._loose -= size
            self._nameless -= 1
            self.idle[self._nameless] = None
        for block in reversed(job.blocks[: job.filled]):  # the tail is evicted before the head
            users = shared[block]
            if users == 1:
                del shared[block]
                self.idle[block] = None
                self.used -= size
            else:
                shared[block] = users - 1
        self.used -= job.private
        job.private = job.filled = 0

    def _preempt(self, job: Job) -> None:
        if job.ends_at != NEVER:
            self._stop_decoding(job)
        else:
            self.prefilling.remove(job)
        self._forget(job)
        job.preemptions += 1
        self.preemptions += 1
        self.waiting.appendleft(job)
