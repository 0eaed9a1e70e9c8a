"""One engine against a clock that only the test moves."""

import asyncio
import heapq
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import cast

import pytest

from headrace.engines.sim.cost import Cost, Preset
from headrace.engines.sim.engine import LATE_S, Engine, Job, limits
from headrace.engines.sim.scheduler import Sequence
from headrace.engines.sim.tally import Tally

STEP_S = 0.01
PRESET = Preset("test", Cost(9.5, 0, 0, 0, 0, 0), 1600, 2048, 256, 1.0, "made up")


class Timeline:
    """A clock that jumps from timer to timer, each of them late by ``lag_s``."""

    def __init__(self) -> None:
        self.now = 100.0
        self.lag_s = 0.0
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None], /) -> asyncio.TimerHandle:
        heapq.heappush(self._timers, (when, next(self._numbers), callback))
        return cast(asyncio.TimerHandle, object())

    def run(self, until: float = float("inf")) -> None:
        while self._timers and self._timers[0][0] <= until:
            when, _, callback = heapq.heappop(self._timers)
            self.now = max(self.now, when + self.lag_s)
            callback()


class Troubles:
    """What is wrong, as the test says."""

    factor = 1.0
    stuck = False
    taken = False

    def slowness(self) -> float:
        return self.factor

    def hangs(self) -> bool:
        return self.stuck

    def full(self) -> bool:
        return self.taken


class Bench:
    """An engine and what it said: (seconds since the start, request, token)."""

    def __init__(self, speed: float = 1.0, request_ms: float = 0.0, **given: int) -> None:
        self.clock, self.troubles = Timeline(), Troubles()
        self.tally = Tally("m", 1000)
        preset = replace(PRESET, request_ms=request_ms)
        bounds = limits(preset, **given)
        self.engine = Engine(preset, bounds, self.clock, self.troubles, self.tally, speed)
        self.said: list[tuple[float, str, int]] = []

    def add(self, name: str, prompt: int = 20, answer: int = 3) -> Job:
        def listener(produced: int) -> None:
            self.said.append((round(self.clock.now - 100, 6), name, produced))

        sequence = Sequence(prompt, answer, lambda index: hash((name, index)) or 1)
        job = Job(sequence, listener, answer)
        self.engine.add(job)
        return job

    def value(self, name: str) -> tuple[float, float]:
        """A histogram's count and sum."""
        lines = [*self.tally.histograms[name][0].lines(name, "")]
        count, total = (float(line.rpartition(" ")[2]) for line in lines[-2:])
        return count, total


def test_tokens_come_one_iteration_apart() -> None:
    """A token each 10 ms, as the cost says, the first one after the prompt."""
    bench = Bench()
    bench.add("a")
    bench.clock.run()

    assert [(0.01, "a", 1), (0.02, "a", 2), (0.03, "a", 3)] == bench.said


def test_speed_divides_time() -> None:
    """Ten times faster, the same answer takes a tenth."""
    bench = Bench(speed=10)
    bench.add("a")
    bench.clock.run()

    assert [0.001, 0.002, 0.003] == [at for at, _, _ in bench.said]


def test_the_way_to_the_engine_takes_time() -> None:
    """A request is computed after its way through the API server, which is no time in the queue."""
    bench = Bench(request_ms=7)
    bench.add("a")
    bench.clock.run()

    assert [0.017, 0.027, 0.037] == [at for at, _, _ in bench.said]
    assert pytest.approx(0.017) == bench.value("time_to_first_token_seconds")[1]
    assert pytest.approx(0) == bench.value("request_queue_time_seconds")[1]


def test_who_leaves_on_the_way_is_never_computed() -> None:
    """An abort before the engine knows of the request leaves nothing behind."""
    bench = Bench(request_ms=7)
    bench.engine.abort(bench.add("a"))
    bench.clock.run()

    assert [] == bench.said
    assert (0, 0, 0) == (bench.engine.running, bench.engine.waiting, bench.engine.unfinished)


def test_late_timers_do_not_add_up() -> None:
    """Each timer comes 2 ms late; the hundredth token is 2 ms late and not 200."""
    bench = Bench()
    bench.clock.lag_s = 0.002
    bench.add("a", answer=100)
    bench.clock.run()

    assert 1.002 == pytest.approx(bench.said[-1][0], abs=0.0021)


def test_nothing_is_answered_before_it_came() -> None:
    """A request that comes while the timers are late is computed after it has come."""
    bench = Bench()
    bench.clock.lag_s = LATE_S * 0.9
    bench.add("a", answer=100)
    bench.clock.run(100.5)
    late = bench.add("b", answer=1)
    bench.clock.run()

    assert STEP_S == pytest.approx(late.first - late.arrived)
    assert late.admitted == late.arrived


def test_a_long_pause_is_lost() -> None:
    """A process that stood still for a second does not catch up with a burst."""
    bench = Bench()
    bench.add("a", answer=4)
    bench.clock.run(100.01)
    bench.clock.now += 4 * LATE_S
    bench.clock.run()

    assert [0.01, 1.01, 1.02, 1.03] == [round(at, 3) for at, _, _ in bench.said]


def test_requests_at_the_same_time_are_one_batch() -> None:
    """What arrives together is computed together."""
    bench = Bench()
    bench.add("a", answer=1)
    bench.add("b", answer=1)
    bench.clock.run()

    assert [(0.01, "a", 1), (0.01, "b", 1)] == bench.said
    assert (1.0, 42.0) == bench.value("iteration_tokens_total")


def test_times_and_counts_are_told() -> None:
    """Of two that cannot run together the second waits, and the metrics say for how long."""
    bench = Bench(max_num_seqs=1)
    bench.add("a")
    bench.add("b")
    bench.clock.run(100.0)
    gauges = bench.engine.gauges()
    bench.clock.run()

    assert (1, 1) == (gauges["num_requests_running"], gauges["num_requests_waiting"])
    assert pytest.approx((2, 0.03)) == bench.value("request_queue_time_seconds")
    assert pytest.approx((2, 0.05)) == bench.value("time_to_first_token_seconds")
    assert pytest.approx((2, 0.02)) == bench.value("request_prefill_time_seconds")
    assert pytest.approx((2, 0.04)) == bench.value("request_decode_time_seconds")
    assert pytest.approx((2, 0.09)) == bench.value("e2e_request_latency_seconds")
    assert pytest.approx((4, 0.04)) == bench.value("inter_token_latency_seconds")
    assert (40, 6, 2) == (
        bench.tally.prompt_tokens,
        bench.tally.generation_tokens,
        bench.tally.finished["stop"],
    )


def test_abort_ends_a_job() -> None:
    """Nothing more is said, nothing runs, and it counts as aborted; twice is once."""
    bench = Bench()
    job = bench.add("a")
    bench.clock.run(100.01)
    bench.engine.abort(job)
    bench.engine.abort(job)
    bench.clock.run()

    assert [1] == [token for _, _, token in bench.said]
    assert (0, 1) == (bench.engine.running, bench.tally.finished["abort"])


def test_a_listener_may_abort_another() -> None:
    """A job that is aborted while its batch is delivered says nothing, and the batch goes on."""
    bench = Bench()
    jobs: list[Job] = []
    killer = Job(Sequence(20, 2, lambda index: index + 1), lambda _: bench.engine.abort(jobs[0]), 2)
    bench.engine.add(killer)
    jobs.append(bench.add("b"))
    bench.clock.run()

    assert [] == bench.said
    assert {"stop": 1, "abort": 1} == {k: v for k, v in bench.tally.finished.items() if v}


def test_sleep_ends_all_and_wake_goes_on() -> None:
    """Asleep nothing is computed; what comes meanwhile is computed after waking."""
    bench = Bench()
    bench.add("a")
    bench.clock.run(100.01)
    bench.engine.sleep(1)
    asleep = bench.engine.gauges()
    bench.add("b", answer=1)
    bench.clock.run()
    bench.clock.now = 105.0
    bench.engine.wake()
    bench.clock.run()

    assert [(0.01, "a", 1), (0.01, "a", 0), (5.01, "b", 1)] == bench.said
    assert (0, 1) == (
        asleep["engine_sleep_state sleep_state=awake"],
        asleep["engine_sleep_state sleep_state=weights_offloaded"],
    )


def test_slow_iterations() -> None:
    """A factor makes each iteration take longer."""
    bench = Bench()
    bench.troubles.factor = 5
    bench.add("a")
    bench.clock.run()

    assert [0.05, 0.1, 0.15] == [at for at, _, _ in bench.said]


def test_a_hanging_engine_goes_on_when_kicked() -> None:
    """It stops between two iterations, still looks busy, and goes on where it was."""
    bench = Bench()
    bench.add("a")
    bench.clock.run(100.01)
    bench.troubles.stuck = True
    bench.clock.run()
    assert (1, 2) == (bench.engine.running, len(bench.said))
    bench.clock.now = 103.0
    bench.troubles.stuck = False
    bench.engine.kick()
    bench.clock.run()

    assert (3.01, "a", 3) == bench.said[-1]


def test_a_full_cache_lets_nobody_in() -> None:
    """The queue grows, usage is 1, and all are served once there is room again."""
    bench = Bench()
    bench.troubles.taken = True
    bench.add("a", answer=1)
    bench.add("b", answer=1)
    bench.clock.run()
    gauges = bench.engine.gauges()
    assert (0, 2) == (gauges["num_requests_running"], gauges["num_requests_waiting"])
    assert 1.0 == gauges["kv_cache_usage_perc"]
    bench.troubles.taken = False
    bench.engine.kick()
    bench.clock.run()

    assert ["a", "b"] == [name for _, name, _ in bench.said]
    assert 0.0 == bench.engine.gauges()["kv_cache_usage_perc"]


def test_a_full_cache_preempts_what_grows() -> None:
    """A running sequence that needs a block goes back to the queue, and is counted."""
    bench = Bench()
    bench.add("a", prompt=30, answer=4)
    bench.clock.run(100.01)
    bench.troubles.taken = True
    bench.clock.run()
    assert 1 == bench.engine.counters()["num_preemptions"]
    bench.troubles.taken = False
    bench.engine.kick()
    bench.clock.run()

    assert [1, 2, 3, 4] == sorted(token for _, _, token in bench.said)


def test_limits_are_the_presets_unless_given() -> None:
    """What is not given comes from the preset; the cache is counted in blocks."""
    found = limits(PRESET, max_num_seqs=7, block_size=32, max_num_batched_tokens=None)

    assert (7, 2048, 32, 50) == (
        found.max_num_seqs,
        found.max_num_batched_tokens,
        found.block_size,
        found.num_gpu_blocks,
    )
