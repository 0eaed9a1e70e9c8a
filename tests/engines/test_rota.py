"""rota.py: the replicas of one engine come with the calls and go without them."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from headrace.config.backends import Backend
from headrace.config.engines import LocalEngine
from headrace.engines import rota
from headrace.engines.rota import Rota
from headrace.engines.supervisor import Change, State
from headrace.errors import NoReplica
from headrace.fleet import states
from headrace.fleet.floor import Floor, Why
from headrace.fleet.registry import Fleet
from headrace.telemetry.engines import EngineMetrics
from tests.engines.sim.rig import simulator

WAIT_S = 20.0
IDLE_S = 0.1
NOWHERE = "http://127.0.0.1:9"


class Process:
    """A supervised process in name only (``Supervisor``); the test says what becomes of it."""

    def __init__(self) -> None:
        self.starts = 0
        self.stops = 0
        self.ending = asyncio.Event()
        self.ending.set()  # whether a stop takes no time

    def watch(self) -> None:
        self.starts += 1

    async def stop(self) -> None:
        await self.ending.wait()
        self.stops += 1


class Clock:
    """Runs only while somebody looks at it, so that a machine that stalls makes nobody idle."""

    def __init__(self) -> None:
        self._now = self._seen = time.monotonic()

    def monotonic(self) -> float:
        seen, self._seen = self._seen, time.monotonic()
        self._now += min(self._seen - seen, IDLE_S / 5)  # a rota looks twice as often
        return self._now


class Stage:
    """A fleet, a rota, and its processes; and what the crew does between them."""

    def __init__(self, **engine: Any) -> None:
        entry = {"type": "sim", "model": "m", "min": 0, "idle_stop_s": IDLE_S}
        self.engine = LocalEngine.model_validate({**entry, **engine})
        self.registry = CollectorRegistry()
        self.fleet = Fleet(["m"], 1.0)
        self.floor = Floor(self.fleet, EngineMetrics(self.registry, Why))
        self.events: list[tuple[str, str]] = []
        self.processes = {name: Process() for name in self.engine.replica_names}
        self.rota = Rota(self.engine, self.processes, self.floor, self)  # type: ignore[arg-type]
        self.visits: list[asyncio.Task[None]] = []

    def event(self, event: str, **fields: Any) -> None:
        """Like a log."""
        self.events.append((event, str(fields.get("reason", ""))))

    @property
    def starts(self) -> list[int]:
        return [process.starts for process in self.processes.values()]

    @property
    def stops(self) -> list[int]:
        return [process.stops for process in self.processes.values()]

    def call(self, count: int = 1) -> None:
        """Requests come, and wait where there is no replica."""
        group = self.fleet.groups["m"]
        for _ in range(count):
            self.visits.append(asyncio.create_task(group.ready(1)))

    def loaded(self, name: str = "m", url: str = NOWHERE) -> None:
        """Its process is ready, and so is the rest, unless it has to be asked first."""
        change = Change(State.READY, url=url)
        self.rota.changed(name, change)
        backend = Backend(url=url, name=name, serves={"m": "m"})
        self.rota.adopt(name, lambda: self.fleet.add(backend, trusted=False))

    def failed(self, name: str, reason: str) -> None:
        """It is in a crash loop."""
        self.floor.tell(name, ("m",), "failed", reason)
        self.rota.changed(name, Change(State.FAILED, reason=reason))

    def warm(self, name: str = "m") -> None:
        """It has answered its first token."""
        replica = self.fleet.replicas[name]
        self.fleet.move(replica, states.State.WARMING, "healthy")
        self.fleet.move(replica, states.State.READY, "warm")

    async def up(self, name: str = "m", url: str = NOWHERE) -> None:
        """Once it was told to start, it loads and warms."""
        await until(lambda: self.processes[name].starts > self.processes[name].stops)
        self.loaded(name, url)
        await until(lambda: name in self.fleet.replicas)
        self.warm(name)

    def value(self, metric: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(metric, {"model": "m", **labels})


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not holds():  # noqa: ASYNC110 - what is watched has no event
            await asyncio.sleep(0.002)


Build = Callable[..., Stage]


@pytest.fixture
async def build(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Build]:
    """Makes stages, and ends them after the test."""
    stages: list[Stage] = []
    monkeypatch.setattr(rota, "time", Clock())

    def build(**engine: Any) -> Stage:
        stages.append(stage := Stage(**engine))
        stage.rota.start()
        return stage

    yield build
    for stage in stages:
        for visit in stage.visits:
            visit.cancel()
        await asyncio.gather(*stage.visits, return_exceptions=True)
        await stage.rota.stop()
        stage.fleet.close()


async def test_at_zero_nothing_runs(build: Build) -> None:
    """No call, no process; the replica is known to be off, and that is no failure."""
    stage = build()
    await asyncio.sleep(3 * IDLE_S)

    assert [0] == stage.starts
    assert [("m", Why.OFF)] == [(away.name, away.state) for away in stage.floor.away]
    assert ["m"] == stage.floor.on_demand


async def test_twenty_calls_start_one(build: Build) -> None:
    """However many come, and however long it takes; when it is warm they all go on."""
    stage = build(replicas=3)
    stage.call(20)
    await asyncio.sleep(2 * IDLE_S)
    started = stage.starts
    await stage.up("m-0")
    await asyncio.gather(*stage.visits)

    assert [1, 0, 0] == started == stage.starts
    assert 1 == stage.value("headrace_cold_start_seconds_count", kind="start")
    seconds = stage.value("headrace_cold_start_seconds_sum", kind="start")
    assert seconds is not None
    assert 0 < seconds < WAIT_S


async def test_the_wish_survives_a_failed_start(build: Build) -> None:
    """A start that fails is the supervisor's to repeat: no second one beside it."""
    stage = build(replicas=2)
    stage.call()
    await until(lambda: stage.starts == [1, 0])
    for _ in range(3):
        stage.rota.changed("m-0", Change(State.DIED, reason="it burns", seconds=0.1))
        await asyncio.sleep(0.03)
    starts = stage.starts
    await stage.up("m-0")
    await asyncio.gather(*stage.visits)

    assert [1, 0] == starts


async def test_a_crash_loop_is_told_and_tried_again(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits gets the reason and a time to come back; the next one after that time starts it."""
    monkeypatch.setattr(rota, "COOL_S", 1.0)
    stage = build()
    stage.call(2)
    await until(lambda: stage.starts == [1])
    stage.failed("m", "no GPU; 5 times in 60 s")
    told = await asyncio.gather(*stage.visits, return_exceptions=True)
    stage.call()
    late = (await asyncio.gather(*stage.visits[2:], return_exceptions=True))[0]
    await asyncio.sleep(1.05)
    stage.call()
    await until(lambda: stage.starts == [2])
    await stage.up()
    await stage.visits[-1]

    for error in (*told, late):
        assert isinstance(error, NoReplica)
        assert "No replica of `m` can be started: no GPU; 5 times in 60 s." == error.message
        assert (503, 1) == (error.status, error.retry_after_s)
    assert 1 == stage.value("headrace_cold_start_failures_total")


async def test_another_replica_is_tried_first(build: Build) -> None:
    """While one is left that may start, nobody is sent away."""
    stage = build(replicas=2)
    stage.call()
    await until(lambda: stage.starts == [1, 0])
    stage.failed("m-0", "no GPU")
    await until(lambda: stage.starts == [1, 1])
    await stage.up("m-1")

    await stage.visits[0]


async def test_the_idle_stop(build: Build) -> None:
    """After the time without a request it is out of the fleet and ended, and starts again."""
    stage = build()
    stage.call()
    await stage.up()
    await until(lambda: stage.stops == [1])
    await until(lambda: stage.floor.on_demand == ["m"])
    events = [name for name, reason in stage.events if reason.startswith("idle for")]
    stage.call()
    await until(lambda: stage.starts == [2])
    await stage.up()
    await asyncio.gather(*stage.visits)

    assert ["engine_stopped"] == events
    assert 1 == stage.value("headrace_idle_stops_total", kind="stop")
    assert 2 == stage.value("headrace_cold_start_seconds_count", kind="start")


async def test_never_one_with_a_request(build: Build) -> None:
    """As long as it answers one it stays, and a full idle time afterwards."""
    stage = build()
    stage.call()
    await stage.up()
    lease = stage.fleet.replicas["m"].lease(10)
    await asyncio.sleep(3 * IDLE_S)
    kept = stage.stops
    lease.release()
    await asyncio.sleep(IDLE_S / 2)

    assert [0] == kept == stage.stops
    await until(lambda: stage.stops == [1])


async def test_short_requests_count(build: Build) -> None:
    """One that comes and goes between two looks keeps it up, too."""
    stage = build()
    stage.call()
    await stage.up()
    for _ in range(6):
        stage.fleet.replicas["m"].lease(10).release()
        await asyncio.sleep(IDLE_S / 2)

    assert [0] == stage.stops


async def test_a_call_in_the_moment_of_the_stop(build: Build) -> None:
    """It finds no replica, waits, and starts it again when it has ended: nothing is lost."""
    stage = build()
    stage.call()
    await stage.up()
    stage.processes["m"].ending.clear()
    fleet, seen = stage.fleet, list[int]()

    def at_the_moment(replica: Any, step: Any) -> None:
        """The very call in which it leaves the fleet."""
        if step.after is states.State.GONE:
            seen.append(len(fleet.groups["m"].replicas))
            stage.call()

    fleet.watch(at_the_moment)
    await until(lambda: bool(seen))
    await asyncio.sleep(0.05)
    during = stage.starts
    stage.processes["m"].ending.set()
    await until(lambda: stage.starts == [2])
    await stage.up()
    await asyncio.gather(*stage.visits)

    assert [0] == seen
    assert [1] == during


async def test_a_request_wins_against_the_stop(build: Build) -> None:
    """A replica that got one in the turn in which it was found idle is not taken out."""
    stage = build()
    stage.call()
    await stage.up()
    leases: list[Any] = []
    traffic = stage.floor.traffic

    def late(name: str) -> tuple[int, int] | None:
        """Idle when it was looked at, and not any more when it is told to go."""
        seen = traffic(name)
        if len(leases) < 1 and name in stage.fleet.replicas:
            leases.append(stage.fleet.replicas[name].lease(1))
            return (0, 0)
        return seen

    await asyncio.sleep(IDLE_S - 0.02)
    stage.floor.traffic = late  # type: ignore[method-assign]
    await asyncio.sleep(2 * IDLE_S)

    assert [0] == stage.stops
    leases[0].release()


async def test_the_least_stay(build: Build) -> None:
    """``min: 1`` of 2: one from the start, and one that never rests; the other on demand."""
    stage = build(replicas=2, min=1, full_at=2)
    first = stage.starts
    await stage.up("m-0")
    await asyncio.sleep(3 * IDLE_S)

    assert [1, 0] == first == stage.starts
    assert [0, 0] == stage.stops
    assert stage.value("headrace_cold_start_seconds_count", kind="start") is None


async def test_full_ones_get_company(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """When they have ``full_at`` requests for a while, one more comes; when it is idle, it goes."""
    monkeypatch.setattr("headrace.engines.shift.ADD_AFTER_S", 0.05)
    stage = build(replicas=3, min=1, full_at=2)
    await stage.up("m-0")
    leases = [stage.fleet.replicas["m-0"].lease(1) for _ in range(2)]
    await until(lambda: stage.starts == [1, 1, 0])
    await stage.up("m-1")
    await asyncio.sleep(0.1)
    enough = stage.starts
    await until(lambda: stage.stops == [0, 1, 0])
    for lease in leases:
        lease.release()

    assert [1, 1, 0] == enough


async def test_what_is_drained_by_hand_is_left_alone(build: Build) -> None:
    """It is neither stopped for being idle nor woken by calls; another one is started."""
    stage = build(replicas=2)
    stage.call()
    await stage.up("m-0")
    stage.fleet.drain("m-0", 1.0)
    await asyncio.sleep(2 * IDLE_S)
    stopped = stage.stops
    stage.call()
    await until(lambda: stage.starts == [1, 1])

    assert [0, 0] == stopped


class TestSleep:
    """An engine that can sleep, for which the simulator stands in."""

    @pytest.mark.parametrize("level", [1, 2])
    async def test_it_sleeps_and_is_woken(self, build: Build, level: int) -> None:
        """Its process stays; it is woken by a call, warmed, and answers."""
        stage = build(sim={"enable_sleep_mode": True, "sleep_level": level})
        async with simulator(wake_s=50) as server:
            stage.call()
            await stage.up(url=server.urls[0])
            replica = server.replicas[0]
            await until(lambda: replica.engine.sleep_level == level)
            asleep = stage.fleet.replicas["m"].state, stage.floor.on_demand
            await until(lambda: ("engine_asleep", "idle for 0 s") in stage.events)
            stage.call()
            await until(lambda: replica.engine.sleep_level is None)
            await until(lambda: stage.fleet.replicas["m"].state is states.State.WARMING)
            stage.warm()
            await stage.visits[-1]

            assert (states.State.SLEEPING, ["m"]) == asleep
            assert ([1], [0]) == (stage.starts, stage.stops)
            assert 1 == stage.value("headrace_idle_stops_total", kind="sleep")
            assert 1 == stage.value("headrace_cold_start_seconds_count", kind="wake")

    async def test_a_call_while_it_falls_asleep(self, build: Build) -> None:
        """It waits until the engine is asleep, and wakes it at once."""
        stage = build(sim={"enable_sleep_mode": True})
        async with simulator() as server:
            stage.call()
            await stage.up(url=server.urls[0])
            stage.fleet.watch(
                lambda _, step: stage.call() if step.after is states.State.SLEEPING else None
            )
            await until(lambda: ("engine_woken", "") in stage.events)
            stage.warm()
            await asyncio.gather(*stage.visits)

            assert ([1], [0]) == (stage.starts, stage.stops)

    async def test_one_that_does_not_offer_it_is_stopped(self, build: Build) -> None:
        """It is asked before it joins; without an answer it joins all the same."""
        stage = build(sim={"enable_sleep_mode": True})
        stage.call()
        await stage.up()
        await until(lambda: stage.stops == [1])

        assert "engine_sleepless" == stage.events[0][0]
        assert "engine_stopped" == stage.events[1][0]

    async def test_one_that_is_found_asleep_is_woken(self, build: Build) -> None:
        """Whoever put it to sleep: it must compute before it joins."""
        stage = build(sim={"enable_sleep_mode": True})
        async with simulator() as server:
            server.replicas[0].engine.sleep(1)
            stage.call()
            await stage.up(url=server.urls[0])

            assert server.replicas[0].engine.sleep_level is None

    async def test_one_that_does_not_wake_is_started_anew(self, build: Build) -> None:
        """Its process is ended and started; the requests go on waiting for it."""
        stage = build(sim={"enable_sleep_mode": True})
        async with simulator() as server:
            stage.call()
            await stage.up(url=server.urls[0])
            await until(lambda: ("engine_asleep", "idle for 0 s") in stage.events)
        stage.call()  # and its server is gone
        await until(lambda: stage.starts == [2])
        async with simulator() as server:
            await stage.up(url=server.urls[0])
            await asyncio.gather(*stage.visits)

            assert [1] == stage.stops
            assert any(reason.startswith("it did not wake") for _, reason in stage.events)

    async def test_one_that_does_not_fall_asleep_is_stopped(self, build: Build) -> None:
        """Idle is idle: if it keeps the GPU, it goes."""
        stage = build(sim={"enable_sleep_mode": True})
        async with simulator() as server:
            stage.call()
            await stage.up(url=server.urls[0])
        await until(lambda: stage.stops == [1])

        assert "did not fall asleep" in stage.events[-1][1]
        assert {} == stage.fleet.replicas

    async def test_one_that_dies_asleep_comes_back(self, build: Build) -> None:
        """The supervisor starts it again, and it is like any that has just been started."""
        stage = build(sim={"enable_sleep_mode": True})
        async with simulator() as server:
            stage.call()
            await stage.up(url=server.urls[0])
            await until(lambda: ("engine_asleep", "idle for 0 s") in stage.events)
            stage.fleet.remove("m", "killed")
            stage.rota.changed("m", Change(State.DIED, reason="killed"))
            server.replicas[0].engine.wake()  # another process, as it were
            stage.call()
            await stage.up(url=server.urls[0])
            await asyncio.gather(*stage.visits)

            assert [1] == stage.starts

    async def test_one_that_is_taken_back_by_hand_is_woken(self, build: Build) -> None:
        """Drained asleep, it is gone; undrained, it is a new incarnation, and must compute."""
        stage = build(sim={"enable_sleep_mode": True})
        async with simulator() as server:
            stage.call()
            await stage.up(url=server.urls[0])
            await until(lambda: ("engine_asleep", "idle for 0 s") in stage.events)
            stage.fleet.drain("m", 1.0)
            stage.call()
            await asyncio.sleep(0.05)
            left = server.replicas[0].engine.sleep_level
            stage.fleet.undrain("m")
            await until(lambda: server.replicas[0].engine.sleep_level is None)
            stage.warm()
            await asyncio.gather(*stage.visits)

            assert 1 == left
