"""
Other routers that follow the engines' caches by KV events: these are given without any delay, which
is more than they have in reality. Those without such events are in ``rivals``.
"""

from collections.abc import Mapping, Sequence

from headrace.simulate.engine import Engine, Job
from headrace.simulate.policy import Immediate


class Informed(Immediate):
    """
    A router that hears of every block that engines store and evict, remembers what it has just sent
    where, and counts the prompt tokens that are on their way to a first token.
    """

    def begin(self, fleet: Mapping[int, Engine], block_tokens: int, seed: int) -> None:
        super().begin(fleet, block_tokens, seed)
        self.prefill: dict[int, int] = {}  # tokens to compute, by replica
        self._pending: dict[int, dict[int, int]] = {}
        self._booked: dict[int, int] = {}  # by request

    def joined(self, number: int, now_s: float) -> None:
        super().joined(number, now_s)
        self.prefill[number] = 0
        self._pending[number] = {}

    def left(self, number: int, now_s: float) -> None:
        super().left(number, now_s)
        del self.prefill[number], self._pending[number]

    def hit(self, job: Job, number: int) -> int:
        """Tokens of the prompt that this replica has, or is about to have."""
        engine, pending = self.fleet[number], self._pending[number]
        shared, idle = engine.shared, engine.idle
        found = 0
        for block in job.blocks:
            if block not in pending and block not in shared and block not in idle:
                break
            found += 1
        return min(found * self.block_tokens, job.request.prompt_tokens - 1)

    def sent(self, job: Job, number: int) -> None:
        tokens = job.request.prompt_tokens - self.hit(job, number)
        self._booked[job.request.number] = tokens
        self.prefill[number] += tokens
        pending = self._pending[number]
        for block in job.blocks:
            pending[block] = pending.get(block, 0) + 1

    def first(self, job: Job, now_s: float) -> None:
        number = job.replica
        self.prefill[number] -= self._booked.pop(job.request.number)
        pending = self._pending[number]
        for block in job.blocks:
            pending[block] -= 1
            if not pending[block]:
                del pending[block]


class Product(Informed):
    """
    vllm-router's ``kv_aware``, which is LMetric: (new prefill + active prefill) times (requests in
    flight + 1), the smallest wins. https://arxiv.org/abs/2603.15202
    """

    def choose(self, job: Job) -> int:
        tokens = job.request.prompt_tokens

        def product(number: int) -> int:
            prefill = tokens - self.hit(job, number) + self.prefill[number]
            return prefill * (self.inflight[number] + 1)

        return min(self.inflight, key=product)


class Sticky(Informed):
    """
    llm-d's default since August 2026, "sticky until saturated": those with at least 80 % of the
    prompt, unless they would answer 18 s later than the others; of those the one with the fewest
    tokens to compute. https://github.com/llm-d/llm-d-router
    """

    MATCH = 0.8
    LATER_MS = 18_000

    def choose(self, job: Job) -> int:
        tokens = job.request.prompt_tokens
        hits = {number: self.hit(job, number) for number in self.inflight}
        holders = [number for number, hit in hits.items() if hit >= self.MATCH * tokens]
        others = [number for number in hits if number not in holders]
        candidates: Sequence[int] = [*hits]
        if holders and (not others or self._later_ms(holders, others) <= self.LATER_MS):
            candidates = holders
        return min(
            candidates,
            key=lambda each: (self.prefill[each] + tokens - hits[each], self.random.random()),
        )

    def _later_ms(self, holders: Sequence[int], others: Sequence[int]) -> float:
        """One throughput for the whole fleet: that of the first replica, at a full batch."""
        preset = self.fleet[min(self.inflight)].preset
        size = preset.max_num_batched_tokens
        pace = size / preset.cost.iteration_ms(((0, size),), ())
        ahead = min(self.prefill[each] for each in holders)
        return (ahead - min(self.prefill[each] for each in others)) / pace


class Blocks(Informed):
    """
    NVIDIA Dynamo's KV router with its defaults: tokens to compute, this prompt's among them, plus
    tokens that are active, each shared block once. https://github.com/ai-dynamo/dynamo
    """

    def begin(self, fleet: Mapping[int, Engine], block_tokens: int, seed: int) -> None:
        super().begin(fleet, block_tokens, seed)
        self._active: dict[int, dict[int, int]] = {}
        self._tokens: dict[int, int] = {}

    def joined(self, number: int, now_s: float) -> None:
        super().joined(number, now_s)
        self._active[number] = {}
        self._tokens[number] = 0

    def left(self, number: int, now_s: float) -> None:
        super().left(number, now_s)
        del self._active[number], self._tokens[number]

    def choose(self, job: Job) -> int:
        def cost(number: int) -> tuple[int, float]:
            prefill = self.prefill[number] + job.request.prompt_tokens - self.hit(job, number)
            return prefill + self._tokens[number] + self._more(job, number), self.random.random()

        return min(self.inflight, key=cost)

    def sent(self, job: Job, number: int) -> None:
        super().sent(job, number)
        self._tokens[number] += self._more(job, number)
        active = self._active[number]
        for block in job.blocks:
            active[block] = active.get(block, 0) + 1

    def ended(self, job: Job, now_s: float) -> None:
        super().ended(job, now_s)
        active = self._active[job.replica]
        for block in job.blocks:
            active[block] -= 1
            if not active[block]:
                del active[block]
        self._tokens[job.replica] -= self._more(job, job.replica)

    def _more(self, job: Job, number: int) -> int:
        """Tokens that become active with this request."""
        active = self._active[number]
        known = sum(block in active for block in job.blocks)
        return job.request.prompt_tokens - known * self.block_tokens
