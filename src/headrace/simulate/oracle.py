"""
A router that knows what no router can: the true caches, queues and lengths of answers. It says how
much there is to gain; the distance to it is what better prediction could still bring.
"""

from collections.abc import Iterable, Iterator, Mapping
from math import ceil

from headrace.engines.sim.cost import Preset
from headrace.simulate.engine import Engine, Job
from headrace.simulate.informed import Informed

KAPPA = 3.0  # a prompt's own work counts so often again: it is in the way of those that come next
LAMBDA = 0.02  # what a millisecond of slower decoding counts
AGE = 1.0  # milliseconds of head start for each millisecond of waiting
LOOKAHEAD = 8  # waiting requests that are considered, from the first on
RESIDENCE_MS = 5000.0  # how long a request decodes, until the first ones have ended
EWMA = 0.02


class Oracle(Informed):
    """
    Headrace's own score and late binding with true values in the place of every estimate.

    ``J = wait + KV wait + (1 + kappa) prefill + lambda * output * slowdown``, milliseconds.
    """

    def begin(self, fleet: Mapping[int, Engine], block_tokens: int, seed: int) -> None:
        super().begin(fleet, block_tokens, seed)
        self._queue: list[tuple[float, int, Job]] = []  # by what goes first
        self._residence_ms = RESIDENCE_MS

    def offer(self, job: Job, now_s: float) -> None:
        cheapest = min(self._prefill_ms(job, each) for each in self.inflight)
        key = cheapest + AGE * job.request.arrival_s * 1000
        self._queue.append((key, job.request.number, job))
        self._queue.sort()

    def ended(self, job: Job, now_s: float) -> None:
        super().ended(job, now_s)
        self._residence_ms += EWMA * ((job.end_s - job.first_s) * 1000 - self._residence_ms)

    def due(self, now_s: float) -> Iterable[tuple[Job, int]]:
        while self._queue:
            found = next(self._matches(now_s), None)
            if found is None:
                return
            place, number = found
            _, _, job = self._queue.pop(place)
            self.inflight[number] += 1
            self.sent(job, number)
            yield job, number

    # --- below -----------------------------------------------------------------------------

    def _matches(self, now_s: float) -> Iterator[tuple[int, int]]:
        """The first of the waiting requests that should not wait any longer, and where it goes."""
        open_to = [each for each in self.inflight if self._open(each)]
        if not open_to:
            return
        waits = {each: self._wait_ms(self.fleet[each], now_s) for each in self.inflight}
        usage = {each: _usage(self.fleet[each]) for each in self.inflight}
        for place, (_, _, job) in enumerate(self._queue[:LOOKAHEAD]):
            first = {
                each: self._first_ms(job, each, waits[each], usage[each]) for each in self.inflight
            }
            best = min(open_to, key=lambda each: first[each] + self._slowdown_ms(job, each))
            if first[best] <= min(first.values()):
                yield place, best
                continue
            fastest = min(first, key=first.__getitem__)
            if fastest in open_to:
                yield place, best
            # Else: the one that would answer first is full now, and worth the wait.

    def _open(self, number: int) -> bool:
        """Whether the replica has work for less than two iterations (three of small batches)."""
        size = self.fleet[number].preset.max_num_batched_tokens
        return self.prefill[number] < size * (3 if size <= 2048 else 2)

    def _prefill_ms(self, job: Job, number: int) -> float:
        hit = self.hit(job, number)
        preset = self.fleet[number].preset
        return preset.cost.base + compute_ms(preset, hit, job.request.prompt_tokens - hit)

    def _first_ms(self, job: Job, number: int, wait_ms: float, usage: float) -> float:
        engine = self.fleet[number]
        needed = job.request.prompt_tokens - engine.held(job.blocks) * self.block_tokens
        missing = usage + needed - engine.capacity
        if missing > 0 and usage:
            wait_ms += self._residence_ms * min(1.5, missing / usage)
        return wait_ms + (1 + KAPPA) * self._prefill_ms(job, number)

    def _slowdown_ms(self, job: Job, number: int) -> float:
        engine = self.fleet[number]
        cost, request = engine.preset.cost, job.request
        step = (
            cost.weights
            + cost.per_sequence * engine.decoding
            + cost.per_kv_token * engine.context
            + engine.decoding * (cost.per_kv_token * request.prompt_tokens + cost.per_sequence)
        )
        return LAMBDA * request.output_tokens * step

    def _wait_ms(self, engine: Engine, now_s: float) -> float:
        """Until all prompts that are there have their first token."""
        if not engine.busy:
            return 0.0
        preset, cost = engine.preset, engine.preset.cost
        work = tokens = 0.0
        for job in engine.prefilling:
            tokens += job.remaining
            work += compute_ms(preset, job.position, job.remaining)
        for job in engine.waiting:
            hit = engine.held(job.blocks) * self.block_tokens
            tokens += job.request.prompt_tokens - hit
            work += compute_ms(preset, hit, job.request.prompt_tokens - hit)
        iterations = ceil(tokens / preset.max_num_batched_tokens)
        each = cost.base + cost.host + cost.per_sequence * engine.decoding
        each += cost.per_kv_token * engine.context
        return (engine.ready_s - now_s) * 1000 + work + iterations * each


def _usage(engine: Engine) -> float:
    """Tokens of KV that are or will be in use: half of what is left of the answers, on average."""
    growth = sum(job.request.output_tokens for job in engine.running)
    return engine.used + growth / 2 + sum(job.request.prompt_tokens for job in engine.waiting)


def compute_ms(preset: Preset, before: int, tokens: int) -> float:
    """What so many tokens of a prompt behind others add to the iterations that compute them."""
    cost = preset.cost
    return cost.per_token * tokens + cost.per_pair * tokens * (before + tokens / 2)
