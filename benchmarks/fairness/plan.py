"""
The scenes of the fairness benchmark: which requests, which tenants, how much too much. What comes
of them is put together in table.py.
"""

from dataclasses import dataclass
from functools import lru_cache, partial
from math import exp, log
from random import Random

from headrace.engines.sim.presets import PRESETS
from headrace.simulate.ours import Ours
from headrace.simulate.report import quantile
from headrace.simulate.sharing import (
    Party,
    Shared,
    merged,
    only,
    parted,
    served_tokens,
    share,
    unknown,
    window_of,
)  # fmt: skip
from headrace.simulate.synthetic import BLOCK_TOKENS, GENERATORS
from headrace.simulate.trace import Request, Trace
from headrace.simulate.world import Fleet, Outcome, World

SEEDS = 5
SPAN_S = 60.0
REPLICAS = 4
FLEET = Fleet((PRESETS["h100-8b"],) * REPLICAS)
FIRST_COME = partial(Ours, "lowest_cost", "fair")


@dataclass(frozen=True, slots=True)
class Sizes:
    """Log-normal lengths: median, sigma and most of prompts, then of answers; nothing is shared."""

    prompt: tuple[int, float, int]
    answer: tuple[int, float, int]


SIZES = {
    "short prompts": Sizes((800, 1.0, 8000), (250, 0.8, 2000)),
    "long prompts": Sizes((6000, 0.7, 30_000), (120, 0.7, 1000)),
    "code": Sizes((2000, 0.9, 12_000), (60, 0.9, 500)),
    "long answers": Sizes((300, 0.8, 3000), (500, 0.7, 3000)),
}


@dataclass(frozen=True, slots=True)
class Scene:
    """
    A workload (of ``SIZES``, or a generator's name) at ``load`` times what the fleet can do, parted
    between tenants. ``watched`` is the one whose first tokens are the bar. Where ``flood`` is
    given, its part is of that workload.
    """

    name: str
    workload: str
    parties: tuple[Party, ...]
    load: float = 1.5
    watched: str = "small"
    flood: str = ""


def _two(ratio: float) -> tuple[Party, ...]:
    return Party("small", 1.0), Party("big", ratio)


def _flood(interactive: float, batch: float) -> tuple[Party, ...]:
    return Party("interactive", interactive), Party("batch", batch, -50)


SCENES = (
    *(Scene(f"{name}, 1 : 20", name, _two(20.0)) for name in SIZES),
    Scene("chat, 1 : 20", "chat", _two(20.0)),
    Scene("short prompts, 1 : 5", "short prompts", _two(5.0)),
    Scene("short prompts, 1 : 100", "short prompts", _two(100.0)),
    Scene("short prompts, 1 : 2, 300 %", "short prompts", _two(2.0), 3.0),
    Scene("short prompts, weights 3 : 1, 300 %", "short prompts",
          (Party("small", 1.0, weight=3.0), Party("big", 1.0)), 3.0),
    Scene("short prompts, flood of batch", "short prompts", _flood(0.5, 1.0),
          watched="interactive"),
    Scene("code, flood of batch", "code", _flood(0.3, 1.2), watched="interactive"),
    Scene("short prompts, flood of long batch", "short prompts", _flood(0.3, 1.2),
          watched="interactive", flood="long prompts"),
)  # fmt: skip


def play(scene: Scene, seed: int) -> Shared:
    """One scene with one seed."""
    others = [each.name for each in scene.parties if each.name != scene.watched]
    return share(_trace(scene, seed), FLEET, Ours, FIRST_COME, seed, others)


def apart(scene: Scene, seed: int) -> tuple[float, float]:
    """
    What the watched tenant would have with a replica of its own: its p99 of first tokens beside
    that with the whole fleet to itself, and all tokens beside first come, first served.
    """
    trace = _trace(scene, seed)
    mine = only(trace, scene.watched)
    theirs = only(trace, next(each.name for each in scene.parties if each.name != scene.watched))
    own, rest = Fleet(FLEET.presets[:1]), Fleet(FLEET.presets[1:])
    window = window_of(trace)
    here, alone = World(mine, own, Ours(), seed).run(), World(mine, FLEET, Ours(), seed).run()
    there = World(theirs, rest, Ours(), seed).run()
    nameless = World(unknown(trace), FLEET, FIRST_COME(), seed).run()
    tokens = served_tokens(here, window) + served_tokens(there, window)
    return _p99(here) / _p99(alone), tokens / served_tokens(nameless, window)


def _p99(outcome: Outcome) -> float:
    waits = sorted(job.first_s - job.request.arrival_s for job in outcome.jobs)
    return quantile(waits, 0.99) or 0.0


def _trace(scene: Scene, seed: int) -> Trace:
    if scene.watched != "interactive":
        rate = capacity(scene.workload) * scene.load
        return parted(_requests(scene.workload, rate, seed), scene.parties, seed)
    total = sum(each.share for each in scene.parties)
    kinds = scene.workload, scene.flood or scene.workload
    return merged(
        parted(
            _requests(kind, capacity(kind) * scene.load * each.share / total, seed), [each], seed
        )
        for each, kind in zip(scene.parties, kinds, strict=True)
    )


@lru_cache
def capacity(workload: str) -> float:
    """Requests per second that the fleet finishes when there are always too many."""
    rate = 25.0 * REPLICAS
    done = rate
    for _ in range(4):
        trace = unknown(_requests(workload, rate, 1))
        outcome = World(trace, FLEET, Ours("lowest_cost", "fair"), 1).run()
        window = SPAN_S / 2, SPAN_S
        offered = sum(each.prompt_tokens + 2 * each.output_tokens for each in trace.requests)
        done = served_tokens(outcome, window) / (SPAN_S / 2) / offered * len(trace.requests)
        if 1.3 < rate / done < 1.9:
            break
        rate = 1.6 * done
    return done


def _requests(workload: str, rate: float, seed: int) -> Trace:
    if workload in GENERATORS:
        return GENERATORS[workload](rate, int(rate * SPAN_S), seed)
    sizes, random = SIZES[workload], Random(f"{workload} {seed}")
    requests: list[Request] = []
    at_s, block = 0.0, 1
    while True:
        at_s += random.expovariate(rate)
        if at_s > SPAN_S:
            return Trace(workload, BLOCK_TOKENS, tuple(requests))
        prompt, answer = _size(random, sizes.prompt), _size(random, sizes.answer)
        blocks = tuple(range(block, block + prompt // BLOCK_TOKENS))
        block += len(blocks)
        number = len(requests)
        requests.append(Request(number, at_s, prompt, answer, blocks, number))


def _size(random: Random, sizes: tuple[int, float, int]) -> int:
    median, sigma, most = sizes
    return min(most, max(1, round(exp(random.gauss(log(median), sigma)))))
