"""
One replica of the simulated fleet, with what can go wrong in it. Its engine is the simulation's,
iteration for iteration; the counters are those that vLLM tells in /metrics.
"""

from collections import deque
from random import Random

from headrace.engines.sim.cost import Preset
from headrace.fleet.load import LoadView, Lora
from headrace.simulate.engine import NEVER, Engine, Job

SLOTS = 6  # adapters in one batch, as vLLM's --max-loras
AGAIN_S = 1.0  # until a packet that was lost is sent again, as TCP's first (RFC 6298)
LOAD_S = 0.03  # to bring an adapter into the GPU's memory: 50 MB and the way through the host


class Node:
    """A replica. Faults are plain attributes that a scenario sets; times are seconds."""

    def __init__(self, number: int, name: str, preset: Preset, block_tokens: int) -> None:
        self.number = number
        self.name = name
        self.engine = Engine(number, preset, block_tokens)
        self.ready = True
        self.starting = False
        # what is wrong with it
        self.slow = 1.0  # times as long takes an iteration
        self.prefill_slow = 1.0  # times as long take prompts
        self.decode_slow = 1.0  # times as long takes the rest of an iteration
        self.hung = False
        self.errors = 0.0  # share of requests that it answers with 500
        self.down = False  # nothing listens
        self.latency_s = 0.0  # each way
        self.jitter_s = 0.0
        self.lossy = 0.0  # share of ways on which a packet is sent again, a second later
        self.forgetful = False  # its prefix cache is emptied again and again
        self.unread = False  # its metrics cannot be read
        self.most = 0  # jobs, beyond which it answers 503; 0: no limit
        self.empty = 0.0  # share of requests that it answers with one token
        self.cut = 0.0  # share of streams that break off behind their first token
        self.skew_s = 0.0  # of its clock
        # adapters of its batch, how many jobs use each, and jobs that wait for a place of one
        self.adapters: dict[int, int] = {}
        self.parked: deque[tuple[int, Job]] = deque()
        self.worn: dict[int, int] = {}  # adapters of requests in the batch or its queue
        self.loads = 0  # adapters that have not been loaded yet
        # what it has told
        self.sent = self.failures = self.inflight = self.unwell = 0
        self.moved_s = 0.0  # the last sign of life
        self.first_s = self.queue_s = self.prefill_s = self.decode_s = 0.0
        self.firsts = self.finished = self.queries = self.hits = self.prompts = 0
        self.made = 0.0
        self.view = LoadView()
        self.view_at_s = -1.0
        self.steps: deque[tuple[float, float]] = deque(maxlen=4000)  # iterations: end, seconds

    def gap_s(self, since_s: float) -> float:
        """The median iteration since then: the median pause of a stream that began there."""
        found = []
        for at_s, took in reversed(self.steps):  # the latest first: most of them are long past
            if at_s <= since_s:
                break
            found.append(took)
        found.sort()
        return found[len(found) // 2] if found else 0.0

    def plan(self) -> float:
        """Begin an iteration; its seconds, 0 when there is nothing to do or nothing moves."""
        if self.hung:
            return 0.0
        engine = self.engine
        if self.forgetful:
            engine.idle.clear()
        before = engine.prompt_tokens
        ms = engine.plan()
        if not ms:
            return 0.0
        self.made += engine.decoding
        loading, self.loads = self.loads * LOAD_S, 0
        extra = (engine.prompt_tokens - before) * engine.preset.cost.per_token
        if self.decode_slow > 1 and engine.decoding:
            ms += max(0.0, ms - extra) * (self.decode_slow - 1)
        return (ms + extra * (self.prefill_slow - 1)) * self.slow / 1000 + loading

    def take(self, job: Job, adapter: int) -> None:
        """A request arrives at the engine; it waits while its adapter has no place."""
        if adapter < 0:
            self.engine.waiting.append(job)
            return
        if adapter not in self.adapters:
            if len(self.adapters) >= SLOTS:
                self.parked.append((adapter, job))
                return
            self.loads += 1
        self.adapters[adapter] = self.adapters.get(adapter, 0) + 1
        self.worn[job.request.number] = adapter
        self.engine.waiting.append(job)

    def release(self, job: Job) -> None:
        """A request has ended; those that wait for its adapter's place may have it now."""
        adapter = self.worn.pop(job.request.number, None)
        if adapter is None:
            return
        self.adapters[adapter] -= 1
        if self.adapters[adapter]:
            return
        del self.adapters[adapter]
        parked, self.parked = self.parked, deque()
        for wanted, waiting in parked:
            self.take(waiting, wanted)

    def read(self, now_s: float) -> None:
        """A reading of its metrics, as the gateway's keeper makes one."""
        if self.unread or self.down:
            return
        engine = self.engine
        self.view_at_s = now_s
        self.view = LoadView(
            running=float(len(engine.running)),
            waiting=float(len(engine.waiting)),
            kv_usage=min(1.0, engine.kv_usage),
            prefix_queries=float(self.queries),
            prefix_hits=float(self.hits),
            prompt_tokens=float(self.prompts),
            generation_tokens=self.made,
            preemptions=float(engine.preemptions),
            finished=float(self.finished),
            first_token_s=self.first_s,
            first_tokens=float(self.firsts),
            queue_s=self.queue_s,
            prefill_s=self.prefill_s,
            decode_s=self.decode_s,
            lora=self._lora(),
        )

    def _lora(self) -> Lora:
        return Lora(
            tuple(str(name) for name in self.adapters),
            tuple(str(name) for name in {name for name, _ in self.parked}),
            SLOTS,
        )

    def abort(self, job: Job) -> None:
        """Its client has gone."""
        engine = self.engine
        self.parked = deque(each for each in self.parked if each[1] is not job)
        if job in engine.waiting:
            engine.waiting.remove(job)
        elif job in engine.running:
            if job.ends_at != NEVER:
                engine._stop_decoding(job)  # noqa: SLF001 - engines of the simulation abort nothing
            elif job in engine.prefilling:
                engine.prefilling.remove(job)
                if job in engine._last_chunk:  # noqa: SLF001 - likewise
                    engine._last_chunk.remove(job)  # noqa: SLF001 - likewise
            engine._forget(job)  # noqa: SLF001 - likewise
        self.release(job)

    def way(self, random: Random) -> float:
        """How long something takes to or from it."""
        lost_s = AGAIN_S if self.lossy and random.random() < self.lossy else 0.0
        return self.latency_s + lost_s + (random.random() * self.jitter_s if self.jitter_s else 0.0)
