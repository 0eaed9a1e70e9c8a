"""
Arrivals, a policy, engines, outcomes: one run, from the first request to the last, by events.

Equal trace, fleet, policy and seed give equal runs. How a policy decides is in
``rivals``, ``oracle`` and ``ours``; what a run was worth is in ``report``.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import log
from typing import Any

from headrace.engines.sim.cost import Preset
from headrace.errors import ConfigError
from headrace.simulate.engine import Engine, Job
from headrace.simulate.policy import Policy
from headrace.simulate.trace import Trace

SAMPLE_S = 0.5  # how often requests in flight are counted
GAP_STEPS = 200  # gaps between tokens are counted in steps of half a percent
STUCK_S = 600.0  # so long nothing was computed although requests have come: a policy forgot them
PROGRESS = 500  # requests between two calls of the progress function


@dataclass(frozen=True, slots=True)
class Change:
    """The fleet changes: a replica with this preset joins, or (None) the lowest-numbered dies."""

    at_s: float
    preset: Preset | None


@dataclass(frozen=True, slots=True)
class Fleet:
    """The replicas at the beginning, in order, and what happens to them."""

    presets: tuple[Preset, ...]
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """Requests in flight by replica, at one moment."""

    at_s: float
    inflight: Mapping[int, int]

    @property
    def ratio(self) -> float:
        """The fullest replica's, compared with the mean; 1 when there are none."""
        total = sum(self.inflight.values())
        return max(self.inflight.values()) * len(self.inflight) / total if total else 1.0


@dataclass(slots=True)
class Outcome:
    """What happened in a run."""

    jobs: list[Job]
    engines: list[Engine] = field(default_factory=list)
    failed: list[Job] = field(default_factory=list)
    gaps: Counter[int] = field(default_factory=Counter)  # between tokens, by ``step``
    samples: list[Sample] = field(default_factory=list)
    joins: list[tuple[float, int]] = field(default_factory=list)  # when, and which replica


def step(ms: float) -> int:
    """The step that a gap is counted in."""
    return round(log(ms) * GAP_STEPS)


class World:
    """One run."""

    def __init__(self, trace: Trace, fleet: Fleet, policy: Policy, seed: int) -> None:
        """
        Raises:
            ConfigError: a request is larger than a replica's cache, or no replica would be left.

        """
        _check(trace, fleet)
        self._trace = trace
        self._policy = policy
        self._live: dict[int, Engine] = {}
        self._inflight: dict[int, int] = {}
        self._events: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self._order = 0
        self._now_s = 0.0
        self._outcome = Outcome([Job(request) for request in trace.requests])
        self._left = len(trace.requests)
        self._coming = len(trace.requests)
        self._moved_s = 0.0  # when an engine last did something
        policy.begin(self._live, trace.block_tokens, seed)
        for preset in fleet.presets:
            self._join(preset)
        for change in fleet.changes:
            self._at(change.at_s, self._change, change)
        for job in self._outcome.jobs:
            self._at(job.request.arrival_s, self._arrive, job)

    def run(self, progress: Callable[[int], None] | None = None) -> Outcome:
        """To the end of the last answer; ``progress`` gets the number of requests that ended."""
        self._at(0.0, self._sample, None)
        if self._policy.tick_s is not None:
            self._at(0.0, self._tick, self._policy.tick_s)
        told = 0
        while self._events and self._left:
            self._now_s, _, handle, subject = heappop(self._events)
            handle(subject)
            done = len(self._outcome.jobs) - self._left
            if progress is not None and done >= told + PROGRESS:
                told = done
                progress(done)
        return self._outcome

    # --- below -----------------------------------------------------------------------------

    def _at(self, at_s: float, handle: Callable[[Any], None], subject: object) -> None:
        self._order += 1
        heappush(self._events, (at_s, self._order, handle, subject))

    def _arrive(self, job: Job) -> None:
        self._coming -= 1
        self._policy.offer(job, self._now_s)
        self._dispatch()

    def _dispatch(self) -> None:
        now_s = self._now_s
        for job, number in self._policy.due(now_s):
            engine = self._live[number]
            job.replica = number
            job.dispatched_s = now_s
            self._inflight[number] += 1
            engine.waiting.append(job)
            if not engine.busy:
                self._iterate(engine)

    def _iterate(self, engine: Engine) -> None:
        ms = engine.plan()
        if not ms:
            return
        if engine.decoding:
            self._outcome.gaps[step(ms)] += engine.decoding
        engine.ready_s = self._now_s + ms / 1000
        self._at(engine.ready_s, self._iterated, engine)

    def _iterated(self, engine: Engine) -> None:
        if engine.number not in self._live:
            return  # it died in the middle of this
        self._moved_s = self._now_s
        first, ended = engine.finish()
        # The engine goes on at once; the router hears of it later, if only by a moment.
        self._iterate(engine)
        now_s, policy = self._now_s, self._policy
        for job in first:
            if job.first_s < 0:
                job.first_s = now_s
                if job.request.streamed:
                    policy.first(job, now_s)
        for job in ended:
            job.end_s = now_s
            self._inflight[job.replica] -= 1
            self._left -= 1
            policy.ended(job, now_s)
        if first or ended:
            self._dispatch()

    def _tick(self, tick_s: float) -> None:
        self._policy.tick(self._now_s)
        self._dispatch()
        self._at(self._now_s + tick_s, self._tick, tick_s)

    def _sample(self, _: None) -> None:
        forgotten = self._left - self._coming - sum(self._inflight.values())
        if forgotten and self._now_s > self._moved_s + STUCK_S:
            raise RuntimeError(f"{forgotten} requests were never sent on by {self._policy!r}.")
        self._outcome.samples.append(Sample(self._now_s, dict(self._inflight)))
        self._at(self._now_s + SAMPLE_S, self._sample, None)

    def _change(self, change: Change) -> None:
        if change.preset is None:
            self._die(self._live[min(self._live)])
        else:
            number = self._join(change.preset)
            self._outcome.joins.append((self._now_s, number))
        self._dispatch()

    def _join(self, preset: Preset) -> int:
        number = len(self._outcome.engines)
        engine = Engine(number, preset, self._trace.block_tokens)
        self._outcome.engines.append(engine)
        self._live[number] = engine
        self._inflight[number] = 0
        self._policy.joined(number, self._now_s)
        return number

    def _die(self, engine: Engine) -> None:
        del self._live[engine.number]
        del self._inflight[engine.number]
        self._policy.left(engine.number, self._now_s)
        for job in engine.jobs:
            if job.first_s >= 0:  # the client has a part of the answer: this cannot be repaired
                self._outcome.failed.append(job)
                self._left -= 1
            else:
                job.reset()
                job.retries += 1
                self._policy.offer(job, self._now_s)


def _check(trace: Trace, fleet: Fleet) -> None:
    smallest = min(_presets(fleet), key=lambda preset: preset.kv_tokens)
    probe = Engine(0, smallest, trace.block_tokens)
    largest = max(trace.requests, key=lambda each: each.prompt_tokens + each.output_tokens)
    if not probe.fits(largest):
        raise ConfigError(
            f"Request {largest.number} of the trace has {largest.prompt_tokens} +"
            f" {largest.output_tokens} tokens, which is more than the {smallest.kv_tokens} that the"
            f" KV cache of {smallest.name} holds; take a larger preset, or --max-tokens."
        )
    left = len(fleet.presets)
    for change in sorted(fleet.changes, key=lambda change: change.at_s):
        left += 1 if change.preset else -1
        if not left:
            raise ConfigError(
                f"At {change.at_s:g} s the last replica would die; start with more of them."
            )


def _presets(fleet: Fleet) -> Sequence[Preset]:
    return [*fleet.presets, *(change.preset for change in fleet.changes if change.preset)]
