"""
One run: a fresh fleet and the load client on one core, a fresh router on the other, a load, and
what is known afterwards. Which runs make up a benchmark is not known here.
"""

import contextlib
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.overhead.install import Missing
from benchmarks.overhead.process import Tree, busy_s, pinned
from benchmarks.overhead.summary import percentile

from . import figures
from .fleet import Counters, Fleet, Group, Scale, Watch
from .jobs import Ask, Job, Outcome
from .routers import Place, Router, wait
from .workload import Load

_ROOT = Path(__file__).resolve().parents[2]
_SAMPLE_S = 0.2
_GRACE_S = 20.0  # until a client that was told to end has written what it knows
_HERD_S = 5.0  # after a join, at the preset's scale
# Beyond these a run says more about the harness than about a router.
LATE_MS = 10.0  # p99 of how late a request was sent
SHARE = 0.92  # of a core, by the fleet and the client together
BEHIND_MS = 3.0  # by which an engine's iteration was noticed too late, on average
FAILED = 0.01  # of the requests, where nothing is broken on purpose


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One router, one cell, one seed. Shares are of one core, wall times in seconds."""

    router: str
    cell: str
    seed: int
    figures: figures.Figures
    imbalance: float
    """Busiest replica over the average, by requests in it."""
    work: float
    """The same, by the time that its engine computed."""
    skew: float | None
    """The worst moment within five seconds of a join."""
    preemptions: int
    hits: float
    """Cached share of all prompt tokens by the engines' own counters, warm-up included."""
    outside_ms: float
    """Of the mean TTFT, what was not spent in an engine; at the preset's scale."""
    router_cpu_ms: float
    """The router's CPU time per request."""
    router_mb: float
    late_p99_ms: float
    client_share: float
    fleet_share: float
    behind_ms: float
    foreign_cores: float
    elapsed_s: float
    failures: dict[str, int]
    invalid: list[str]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things run; the fleet takes ports from ``fleet_port`` up, its events 100 above."""

    harness_core: int = 0
    router_core: int = 1
    router_port: int = 18_600
    fleet_port: int = 18_700


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What is played: the fleet, the load, and what happens to the fleet at ``at_s`` (preset's)."""

    name: str
    groups: tuple[Group, ...]
    scale: Scale
    load: Load
    warm: float = 0.2
    event: str = ""  # "join" or "die": of the last group
    at_s: float = 0.0
    max_s: float = 60.0


class Rig:
    """Plays scenes, one at a time."""

    def __init__(self, layout: Layout, env_dir: Path) -> None:
        self._layout = layout
        self._env_dir = env_dir

    def play(self, router: Router, scene: Scene, seed: int) -> Run:
        """
        One run.

        Raises:
            Missing: the router cannot be had, or does not start.

        """
        binary = router.prepare(self._env_dir)
        layout = self._layout
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="routing-")))
            fleet = Fleet(scene.groups, scene.scale, layout.fleet_port, folder, layout.harness_core)
            fleet.shows(router.get_load, kv_events=router.kv_events)
            stack.enter_context(fleet)
            late = scene.groups[-1].replicas if scene.event == "join" else 0
            urls = fleet.urls[: len(fleet.urls) - late]
            events = [fleet.event_endpoint(n) for n in range(len(urls))]
            place = Place(
                folder, layout.router_port, urls, events if router.kv_events else (),
                scene.scale.pieces,
                scene.scale.speed, binary, router.settings,
            )  # fmt: skip
            tree = stack.enter_context(self._start(router, place))
            return self._measure(router, scene, seed, Stage(fleet, tree, place))

    def _start(self, router: Router, place: Place) -> Tree:
        log = place.folder / "router.log"
        try:
            tree = Tree.start(router.argv(place), log, {}, self._layout.router_core)
        except OSError as error:
            raise Missing(f"cannot be started: {error}") from error
        try:
            wait(router, place, lambda: tree.alive)
        except Missing as error:
            tree.stop()
            raise Missing(f"{error}: {tree.tail()}") from None
        except BaseException:
            tree.stop()
            raise
        return tree

    def _measure(self, router: Router, scene: Scene, seed: int, stage: "Stage") -> Run:
        job = Job(self._layout.router_port, scene.load.block_words, scene.load.scripts, scene.max_s)
        before = stage.costs()
        outcome, samples = self._load(router, scene, job, stage)
        costs = [now - then for now, then in zip(stage.costs(), before, strict=True)]
        router_s, fleet_s, all_s, wall_s = costs
        counters = stage.fleet.counters()
        asks = [ask for ask in outcome.asks if ask.script >= 0]
        kept = figures.measured(asks, scene.warm)
        speed = scene.scale.speed
        begin_s, end_s = min(a.due_s for a in kept), max(a.due_s for a in kept)
        busy = [list(loads.values()) for moment, loads in samples if begin_s <= moment <= end_s]
        herd = None
        if scene.event == "join":
            at_s = scene.at_s / speed
            window = (at_s, at_s + _HERD_S / speed)
            after = [loads for moment, loads in samples if window[0] <= moment <= window[1]]
            herd = figures.worst_skew([list(loads.values()) for loads in after])
        foreign_s = all_s - router_s - fleet_s - outcome.cpu_s - stage.harness_s
        run = Run(
            router=router.name,
            cell=scene.name,
            seed=seed,
            figures=figures.figures(kept, speed),
            imbalance=figures.imbalance(busy),
            work=figures.over([c.pace["busy_s"] for c in counters.values()]),
            skew=herd,
            preemptions=round(sum(c.preemptions for c in counters.values())),
            hits=sum(c.hits for c in counters.values())
            / max(1.0, sum(c.queries for c in counters.values())),
            outside_ms=_outside_ms(asks, counters) * speed,
            router_cpu_ms=router_s * 1000 / max(1, len(asks)),
            router_mb=stage.router.pss_bytes() / 1e6,
            late_p99_ms=percentile([ask.late_s * 1000 for ask in asks], 0.99),
            client_share=outcome.cpu_s / outcome.elapsed_s,
            fleet_share=fleet_s / wall_s,
            behind_ms=_behind_ms(counters),
            foreign_cores=max(0.0, foreign_s) / wall_s,
            elapsed_s=outcome.elapsed_s,
            failures=_reasons(outcome.asks),
            invalid=[],
        )
        lost_s = sum(c.pace["lost_s"] for c in counters.values())
        reasons = doubts(run, scene, lost_s)
        if scene.event != "die" and (reason := router.doubt(stage.place)):
            reasons.append(reason)
        return msgspec.structs.replace(run, invalid=reasons)

    def _load(
        self, router: Router, scene: Scene, job: Job, stage: "Stage"
    ) -> tuple[Outcome, list[tuple[float, dict[int, int]]]]:
        """Play the job; meanwhile look at the replicas, and do to them what the scene wants."""
        source, target = stage.place.folder / "job", stage.place.folder / "outcome"
        source.write_bytes(msgspec.msgpack.encode(job))
        argv = [sys.executable, "-m", "benchmarks.routing.client", str(source), str(target)]
        with pinned(self._layout.harness_core):
            client = subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=_ROOT)
        watch = Watch(stage.fleet.ports)
        samples: list[tuple[float, dict[int, int]]] = []
        try:
            began_s = _began(client)
            at_s = began_s + scene.at_s / scene.scale.speed
            deadline_s = time.monotonic() + job.max_s + _GRACE_S
            todo: Callable[[], None] | None = _action(router, scene, stage)
            while client.poll() is None:
                if time.monotonic() > deadline_s:
                    raise SystemExit("the load client did not end: a bug of the harness")
                if todo is not None and time.monotonic() >= at_s:
                    todo()
                    todo = None
                samples.append((time.monotonic() - began_s, watch.loads()))
                with contextlib.suppress(subprocess.TimeoutExpired):
                    client.wait(_SAMPLE_S)
        finally:
            watch.close()
            client.kill()
            client.wait()
            if client.stdout is not None:
                client.stdout.close()
        if client.returncode:
            raise SystemExit(f"the load client failed with {client.returncode}")
        return msgspec.msgpack.decode(target.read_bytes(), type=Outcome), samples


@dataclass(slots=True)
class Stage:
    """What is running."""

    fleet: Fleet
    router: Tree
    place: Place
    harness_s: float = 0.0

    def costs(self) -> tuple[float, float, float, float]:
        """CPU seconds of the router, the fleet and everything, and the clock."""
        own_s = time.process_time()
        self.harness_s = own_s - self.harness_s
        return self.router.cpu_s(), self.fleet.cpu_s(), busy_s(), time.monotonic()


def doubts(run: Run, scene: Scene, lost_s: float) -> list[str]:
    """Why a run says more about the harness than about the router; nothing if it does not."""
    found = []
    if run.late_p99_ms > LATE_MS:
        found.append(f"1 % of the requests were sent {run.late_p99_ms:.1f} ms late or more")
    if run.client_share + run.fleet_share > SHARE:
        share = run.client_share + run.fleet_share
        found.append(f"fleet and client took {share:.0%} of their core")
    if run.behind_ms > BEHIND_MS:
        found.append(f"engines were {run.behind_ms:.1f} ms behind their time on average")
    if lost_s > 0:
        found.append(f"engines lost {lost_s:.1f} s that they could not keep up with")
    if any("never ended" in reason for reason in run.failures):
        found.append("the load did not end in time")
    if not scene.event and run.figures.failed > FAILED * run.figures.ttft.count:
        found.append(f"{run.figures.failed} requests failed")
    return found


def _action(router: Router, scene: Scene, stage: Stage) -> Callable[[], None] | None:
    if scene.event == "join":
        return lambda: router.join(stage.place, stage.fleet.urls[-1])
    if scene.event == "die":
        return lambda: stage.fleet.kill(len(stage.fleet.groups) - 1)
    return None


def _began(client: "subprocess.Popen[bytes]") -> float:
    assert client.stdout is not None
    ready, _, _ = select.select([client.stdout], [], [], _GRACE_S)
    line = client.stdout.readline() if ready else b""
    if not line:
        raise SystemExit("the load client did not begin: a bug of the harness")
    return float(line)


def _outside_ms(asks: Sequence[Ask], counters: dict[int, Counters]) -> float:
    fine = [ask.first_s for ask in asks if not ask.failure]
    engines = [(c.first_s, c.firsts) for c in counters.values()]
    count = sum(firsts for _, firsts in engines)
    if not fine or not count:
        return 0.0
    return (sum(fine) / len(fine) - sum(first_s for first_s, _ in engines) / count) * 1000


def _behind_ms(counters: dict[int, Counters]) -> float:
    late_s = sum(c.pace["late_s"] for c in counters.values())
    return late_s * 1000 / max(1.0, sum(c.pace["iterations"] for c in counters.values()))


def _reasons(asks: Sequence[Ask]) -> dict[str, int]:
    found: dict[str, int] = {}
    for ask in asks:
        if ask.failure:
            found[ask.failure[:80]] = found.get(ask.failure[:80], 0) + 1
    return dict(sorted(found.items(), key=lambda item: -item[1])[:10])
