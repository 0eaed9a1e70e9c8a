"""
One simulated engine: the scheduler against a clock, its tokens to whoever listens, its tally.

It knows sequences and time, no HTTP and no dialect. Time is a line of its own: an iteration ends
when the one before it ended plus what it takes, so that late timers do not add up.
"""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from headrace.engines.sim.cost import Preset
from headrace.engines.sim.scheduler import Limits, Scheduler, Sequence
from headrace.engines.sim.tally import Tally

# When the process itself could not keep up for so long, the lost time is lost: no burst follows.
LATE_S = 0.25


class Clock(Protocol):
    """What the engine needs of the event loop."""

    def time(self) -> float: ...
    def call_at(self, when: float, callback: Callable[[], None], /) -> asyncio.TimerHandle: ...


class Troubles(Protocol):
    """What may be wrong with the engine itself; asked before each iteration."""

    def slowness(self) -> float:
        """How many times longer the iteration takes."""

    def hangs(self) -> bool:
        """Whether the engine stands still."""

    def full(self) -> bool:
        """Whether somebody else has taken all of the KV cache that was free."""


@dataclass(slots=True, eq=False)
class Job:
    """
    A sequence with its listener and its times, in seconds of the clock.

    ``listener(produced)`` is called after each token; 0 means that the engine has aborted it.
    """

    sequence: Sequence
    listener: Callable[[int], None]
    limit: int  # max_tokens, as asked for
    reason: str = "stop"
    arrived: float = 0.0
    admitted: float = 0.0
    first: float = 0.0
    last: float = 0.0


@dataclass(slots=True)
class Pace:
    """How well the engine keeps its own time; seconds of the clock."""

    iterations: int = 0
    busy_s: float = 0.0  # iterations together
    late_s: float = 0.0  # behind their ends, together
    late_most_s: float = 0.0
    lost_s: float = 0.0  # given up, because the process could not keep up at all

    def ended(self, took_s: float, late_s: float) -> None:
        """An iteration that was meant to take so long was noticed so late."""
        self.iterations += 1
        self.busy_s += took_s
        self.late_s += late_s
        self.late_most_s = max(self.late_most_s, late_s)
        if late_s >= LATE_S:
            self.lost_s += late_s


class Engine:
    """Runs jobs. Everything happens in callbacks of the event loop; nothing blocks or awaits."""

    def __init__(
        self, preset: Preset, limits: Limits, clock: Clock, troubles: Troubles, tally: Tally,
        speed: float = 1.0,
    ) -> None:  # fmt: skip
        self.preset = preset
        self.limits = limits
        self.scheduler = Scheduler(limits, preset.cost)
        self.tally = tally
        self.sleep_level: int | None = None
        self.pace = Pace()
        self.on_iteration: Callable[[], None] | None = None  # after each, before its tokens
        self.lost = 0  # requests that are taken for running, and will never be answered
        self._clock = clock
        self._troubles = troubles
        self._speed = speed
        self._front_s = preset.request_ms / 1000 / speed
        self._jobs: dict[Sequence, Job] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._hogged: list[int] = []

    @property
    def running(self) -> int:
        """Requests in the batch, as the metrics count them."""
        return len(self.scheduler.running) + self.lost

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self.scheduler.waiting)

    @property
    def unfinished(self) -> int:
        """Requests that have come and not ended, wherever they are."""
        return len(self._jobs) + self.lost

    def queued_tokens(self) -> int:
        """Prompt tokens of the requests that have no token yet, computed ones too; as vLLM does."""
        return sum(sequence.prompt_tokens for sequence in self._jobs if not sequence.produced)

    def add(self, job: Job) -> None:
        """Queue a job, once it is through the API server; it is computed from then on."""
        job.arrived = self._clock.time()
        self._jobs[job.sequence] = job
        if self._front_s:
            self._clock.call_at(job.arrived + self._front_s, partial(self._enqueue, job))
        else:
            self._enqueue(job)

    def abort(self, job: Job) -> None:
        """Forget a job whose client has gone; one that has ended is fine."""
        if self._jobs.pop(job.sequence, None) is not None:
            self.scheduler.abort(job.sequence)
            self.tally.finished["abort"] += 1

    def sleep(self, level: int) -> None:
        """End everything, forget the cache, compute nothing until ``wake``."""
        self.sleep_level = level
        for job in [*self._jobs.values()]:
            self.abort(job)
            job.listener(0)
        self.scheduler.blocks.reset()

    def wake(self) -> None:
        """Go on."""
        self.sleep_level = None
        self.kick()

    def kick(self) -> None:
        """Compute, if there is anything and nothing is computed now."""
        if self._timer is None:
            # In the next round of the loop: what arrives together is batched together.
            self._timer = self._clock.call_at(self._clock.time(), self._resume)

    def gauges(self) -> dict[str, float]:
        """What the metrics show of this moment."""
        level = self.sleep_level
        return {
            "num_requests_running": self.running,
            "num_requests_waiting": self.waiting,
            "num_requests_waiting_by_reason reason=capacity": self.waiting,
            "num_requests_waiting_by_reason reason=deferred": 0,
            "engine_sleep_state sleep_state=awake": level is None,
            "engine_sleep_state sleep_state=weights_offloaded": level == 1,
            "engine_sleep_state sleep_state=discard_all": level == 2,
            "kv_cache_usage_perc": self.scheduler.kv_usage,
        }

    def counters(self) -> dict[str, float]:
        """What the scheduler has counted."""
        return {
            "prefix_cache_queries": self.scheduler.prefix_queries,
            "prefix_cache_hits": self.scheduler.prefix_hits,
            "num_preemptions": self.scheduler.preemptions,
        }

    # --- one iteration after the other ----------------------------------------------------------

    def _enqueue(self, job: Job) -> None:
        if job.sequence in self._jobs:  # else its client has left
            self.scheduler.add(job.sequence)
            self.kick()

    def _resume(self) -> None:
        self._timer = None
        self._begin(self._clock.time())

    def _begin(self, now: float) -> None:
        """Start an iteration at ``now``; without one, wait to be kicked."""
        if self.sleep_level is not None or self._troubles.hangs():
            return
        self._hog(self._troubles.full())
        iteration = self.scheduler.plan()
        if iteration is None:
            return
        admitted = [self._jobs[sequence] for sequence in iteration.admitted]
        # A late timer may see requests that came after the moment it was for.
        now = max([now, *(job.arrived + self._front_s for job in admitted)])
        for job in admitted:
            job.admitted = job.admitted or now
        end = now + iteration.ms * self._troubles.slowness() / 1000 / self._speed

        def finish() -> None:
            self.pace.ended(end - now, self._clock.time() - end)
            if self.on_iteration is not None:
                self.on_iteration()
            self._deliver(self.scheduler.finish(iteration), end)
            self._timer = None
            real = self._clock.time()
            self._begin(end if real - end < LATE_S else real)

        self._timer = self._clock.call_at(end, finish)

    def _deliver(self, advanced: list[Sequence], now: float) -> None:
        size = 0
        for sequence in advanced:
            job = self._jobs.get(sequence)
            if job is None:
                continue  # aborted by a listener before it in this batch
            size += sequence.prompt_tokens + 1 if sequence.produced == 1 else 1
            self._count(job, now)
            job.last = now
            if sequence.done:
                del self._jobs[sequence]
                self._settle(job)
            job.listener(sequence.produced)
        if size:
            self.tally.observe("iteration_tokens_total", size)

    def _count(self, job: Job, now: float) -> None:
        tally, sequence = self.tally, job.sequence
        tally.generation_tokens += 1
        if sequence.produced == 1:
            job.first = now
            tally.prompt_tokens += sequence.prompt_tokens
            tally.cached_tokens += sequence.cached
            tally.observe("time_to_first_token_seconds", now - job.arrived)
        else:
            tally.observe("inter_token_latency_seconds", now - job.last)

    def _settle(self, job: Job) -> None:
        sequence, observe = job.sequence, self.tally.observe
        self.tally.finished[job.reason] += 1
        decode = job.last - job.first
        observe("e2e_request_latency_seconds", job.last - job.arrived)
        observe("request_queue_time_seconds", job.admitted - job.arrived - self._front_s)
        observe("request_inference_time_seconds", job.last - job.admitted)
        observe("request_prefill_time_seconds", job.first - job.admitted)
        observe("request_decode_time_seconds", decode)
        observe("request_time_per_output_token_seconds", decode / max(1, sequence.produced - 1))
        observe("request_prompt_tokens", sequence.prompt_tokens)
        observe("request_generation_tokens", sequence.produced)
        observe("request_max_num_generation_tokens", sequence.produced)
        observe("request_params_n", 1)
        observe("request_params_max_tokens", job.limit)
        observe("request_num_preemptions", sequence.preemptions)
        observe("request_prefill_kv_computed_tokens", sequence.prompt_tokens - sequence.cached)

    def _hog(self, full: bool) -> None:
        """Take, or give back, the cache that the fault of a full one claims."""
        blocks = self.scheduler.blocks
        if full:
            self._hogged += blocks.take(blocks.free) or []
        elif self._hogged:
            blocks.give(self._hogged)
            self._hogged = []


def limits(preset: Preset, **given: int | bool | None) -> Limits:
    """A preset's limits with those that are given (not None) in their place."""
    kv_tokens = given.pop("kv_tokens", None) or preset.kv_tokens
    size = given.get("block_size") or preset.block_size
    chosen = {
        "max_num_seqs": preset.max_num_seqs,
        "max_num_batched_tokens": preset.max_num_batched_tokens,
        "block_size": size,
        "num_gpu_blocks": math.floor(kv_tokens / size),
        **{name: value for name, value in given.items() if value is not None},
    }
    return Limits(**chosen)  # type: ignore[arg-type]
