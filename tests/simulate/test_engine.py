"""The lean engine: vLLM's rules, and agreement with the scheduler of the HTTP simulator."""

from heapq import heappop, heappush
from random import Random

import pytest

from headrace.engines.sim.cost import Preset
from headrace.engines.sim.scheduler import Limits, Scheduler, Sequence
from headrace.simulate.engine import Engine, Job
from headrace.simulate.trace import Request
from tests.simulate.fleets import BLOCK, H100, request, small

FINE = 16  # tokens of the scheduler's blocks, as in vLLM
PER = BLOCK // FINE


def lean(requests: list[Request], preset: Preset) -> tuple[dict[int, float], dict[int, float]]:
    """When each request has its first and its last token, in ms, in the lean engine."""
    engine = Engine(0, preset, BLOCK)
    jobs = [Job(each) for each in requests]
    firsts: dict[int, float] = {}
    lasts: dict[int, float] = {}
    now_ms, arrived = 0.0, 0
    while len(lasts) < len(jobs):
        while arrived < len(jobs) and jobs[arrived].request.arrival_s * 1000 <= now_ms:
            engine.waiting.append(jobs[arrived])
            arrived += 1
        ms = engine.plan()
        if not ms:
            now_ms = jobs[arrived].request.arrival_s * 1000
            continue
        now_ms += ms
        first, ended = engine.finish()
        for job in first:
            firsts.setdefault(job.request.number, now_ms)
        lasts |= {job.request.number: now_ms for job in ended}
    return firsts, lasts


def full(requests: list[Request], preset: Preset) -> tuple[dict[int, float], dict[int, float]]:
    """The same from the scheduler that the HTTP simulator runs, with blocks of 16 tokens."""
    limits = Limits(
        max_num_seqs=preset.max_num_seqs,
        max_num_batched_tokens=preset.max_num_batched_tokens,
        block_size=FINE,
        num_gpu_blocks=preset.kv_tokens // FINE,
        max_model_len=200_000,
    )
    scheduler = Scheduler(limits, preset.cost)
    numbers: dict[int, int] = {}
    firsts: dict[int, float] = {}
    lasts: dict[int, float] = {}
    arrivals: list[tuple[float, int, Sequence]] = []
    for each in requests:
        sequence = Sequence(each.prompt_tokens, each.output_tokens, names(each))
        numbers[id(sequence)] = each.number
        heappush(arrivals, (each.arrival_s * 1000, each.number, sequence))
    now_ms = 0.0
    while len(lasts) < len(requests):
        while arrivals and arrivals[0][0] <= now_ms:
            scheduler.add(heappop(arrivals)[2])
        iteration = scheduler.plan()
        if iteration is None:
            now_ms = arrivals[0][0]
            continue
        now_ms += iteration.ms
        for sequence in scheduler.finish(iteration):
            firsts.setdefault(numbers[id(sequence)], now_ms)
            if sequence.done:
                lasts[numbers[id(sequence)]] = now_ms
    return firsts, lasts


def names(each: Request):  # type: ignore[no-untyped-def] # a closure of the scheduler's own type
    """The scheduler's names of a request's blocks of 16: shared where the trace says so."""

    def name(index: int) -> int:
        place = index // PER
        if place < len(each.blocks):
            return hash((each.blocks[place], index % PER)) or 1
        return hash(("own", each.number, index)) or 1

    return name


def workload(requests: int, every_s: float, seed: int) -> list[Request]:
    """Prompts of all sizes, half of them in eight families that share their beginning."""
    random = Random(seed)
    found = []
    now_s = 0.0
    for number in range(requests):
        now_s += random.expovariate(1 / every_s)
        tokens = min(30_000, int(random.lognormvariate(8, 1.2)) + 1)
        whole = tokens // BLOCK
        shared = min(whole, random.choice([0, 4, 8, 12]))
        family = random.randrange(8)
        blocks = [family * 100 + place for place in range(shared)]
        blocks += [10_000 + number * 100 + place for place in range(whole - shared)]
        found.append(request(number, now_s, tokens, random.randint(1, 400), blocks))
    return found


def differences(preset: Preset, requests: list[Request]) -> tuple[float, float]:
    """The mean relative difference of first and last tokens, in time since the arrival."""
    ours, theirs = lean(requests, preset), full(requests, preset)
    means = []
    for mine, other in zip(ours, theirs, strict=True):
        begin = {each.number: each.arrival_s * 1000 for each in requests}
        assert sorted(begin) == sorted(mine) == sorted(other)
        errors = [abs(mine[each] - other[each]) / (other[each] - begin[each]) for each in begin]
        means.append(sum(errors) / len(errors))
    return means[0], means[1]


class TestAgreement:
    """The engine of the HTTP simulator is the yardstick."""

    @pytest.mark.parametrize("seed", [1, 2, 3])
    def test_agrees_where_the_cache_is_large(self, seed: int) -> None:
        """Each request's first and last token come as in the full scheduler, to 3 % on average."""
        first, last = differences(H100, workload(250, 0.25, seed))

        assert first < 0.03
        assert last < 0.01

    @pytest.mark.parametrize("seed", [1, 2, 3])
    def test_agrees_where_the_cache_is_small(self, seed: int) -> None:
        """With eviction, queues and preemptions they still are alike, to 5 %."""
        first, last = differences(small(48_000), workload(250, 0.4, seed))

        assert first < 0.05
        assert last < 0.02


class TestRules:
    """What the agreement does not show by itself."""

    def engine(self, preset: Preset = H100) -> Engine:
        return Engine(0, preset, BLOCK)

    def through(self, engine: Engine, *jobs: Job) -> None:
        """The engine gets these, and works until nothing is left."""
        engine.waiting.extend(jobs)
        while engine.plan():
            engine.finish()

    def test_a_prompt_is_found_again(self) -> None:
        """Whole blocks of an earlier prompt are cached, but never the last token."""
        engine = self.engine()
        first, second = Job(request(0, 0, 1100, 5, [1, 2])), Job(request(1, 0, 1024, 5, [1, 2]))

        self.through(engine, first)
        self.through(engine, second)

        assert (0, 512) == (first.cached, second.cached)
        assert 2 == engine.held((1, 2, 3))

    def test_nothing_leaks(self) -> None:
        """When all are done no token is in use, whoever was preempted."""
        engine = self.engine(small(20_000))
        jobs = [Job(each) for each in workload(60, 0.01, 4) if each.prompt_tokens < 19_000]

        self.through(engine, *jobs)

        assert engine.preemptions > 0
        assert (0, 0, 0, {}) == (engine.used, engine.decoding, engine.context, engine.shared)
        assert not engine.jobs

    def test_the_oldest_is_evicted(self) -> None:
        """What was not used for the longest time makes way, the end of a prompt first."""
        engine = self.engine(small(4 * BLOCK))
        for number, blocks in enumerate([[1, 2], [3, 4]]):
            self.through(engine, Job(request(number, 0, 1024, 1, blocks)))

        self.through(engine, Job(request(9, 0, 512, 1, [5])))

        assert [1, 0, 2, 1] == [engine.held(each) for each in ([1, 2], [2], [3, 4], [5])]

    def test_a_dead_job_starts_again(self) -> None:
        """Reset forgets what was computed."""
        engine = self.engine()
        job = Job(request(0, 0, 9000, 3))
        engine.waiting.append(job)
        engine.plan()

        job.reset()

        assert (-1, 0, 0, 0) == (job.cached, job.position, job.produced, job.private)

    def test_fits_tells_who_never_will(self) -> None:
        """A request larger than the whole cache is told apart."""
        engine = self.engine(small(1000))

        assert engine.fits(request(0, 0, 900, 100))
        assert not engine.fits(request(0, 0, 901, 100))
