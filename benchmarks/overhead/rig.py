"""
The test rig: the fake engine and the load client on one core, one proxy at a time on the other,
and a Sample of what a job cost the proxy. It does not know which jobs make up a benchmark.
"""

import contextlib
import http.client
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from .driver import Driver
from .install import Missing
from .jobs import Job, Outcome
from .peers import Peer, Place
from .process import Tree, busy_s
from .prompts import KEY, bodies

_ROOT = Path(__file__).resolve().parents[2]
_FILES = 20_000


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things run. The engine's replicas take the ports from `engine_port` upwards."""

    harness_core: int = 0
    proxy_core: int = 1
    proxy_port: int = 18_480
    engine_port: int = 19_400
    replicas_most: int = 256
    interval_ms: float = 10.0
    pace: str = "step"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One job through one proxy. `done` counts what was answered and verified, in `unit`s."""

    scene: str
    round: int
    unit: str
    done: int
    cpu_us: float = 0.0
    """The proxy's CPU time per unit."""
    harness_share: float = 0.0
    """How busy the engine's and client's core was; near 1 the harness is the bottleneck."""
    foreign_cores: float = 0.0
    """How many cores other processes kept busy meanwhile: what a quiet machine has none of."""
    kb_each: float = 0.0
    outcome: Outcome = field(default_factory=Outcome)

    @property
    def clean(self) -> bool:
        """Whether it may be compared: nobody gets credit for work that was dropped."""
        return self.done > 0 and not self.outcome.failures


class Rig:
    """Owns the engine and the client from `with` to its end."""

    def __init__(self, layout: Layout, folder: Path) -> None:
        self.layout = layout
        self.folder = folder
        self._engine: Tree | None = None
        self._driver: Driver | None = None

    def __enter__(self) -> Self:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        python_path = {"PYTHONPATH": str(_ROOT)}
        engine = [sys.executable, "-m", "benchmarks.overhead.engine"]
        engine += ["--port", str(self.layout.engine_port)]
        engine += ["--replicas", str(self.layout.replicas_most)]
        engine += ["--interval-ms", str(self.layout.interval_ms)]
        engine += ["--pace", self.layout.pace]
        core = self.layout.harness_core
        self._engine = Tree.start(engine, self.folder / "engine.log", python_path, core)
        self._driver = Driver(_ROOT, core)
        try:
            self._await_engine()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        if self._driver is not None:
            self._driver.stop()
        if self._engine is not None:
            self._engine.stop()

    def replicas(self, count: int) -> list[str]:
        return [f"127.0.0.1:{self.layout.engine_port + n}" for n in range(count)]

    @contextlib.contextmanager
    def running(self, peer: Peer, env_dir: Path, replicas: int) -> Iterator[Tree]:
        """One peer in front of `replicas` replicas, answering. Raises Missing if it never does."""
        folder = Path(tempfile.mkdtemp(prefix=f"{peer.name}-", dir=self.folder))
        place = Place(
            folder, self.layout.proxy_port, self.replicas(replicas), peer.prepare(env_dir)
        )
        if status(self.layout.proxy_port, "/"):
            raise Missing(f"port {self.layout.proxy_port} is in use by another program")
        argv = peer.argv(place)
        log = folder / "log"
        try:
            tree = Tree.start(argv, log, peer.env, self.layout.proxy_core)
        except OSError as error:
            raise Missing(f"cannot be started: {error}") from error
        with tree:
            wait_ready(tree, self.layout.proxy_port, peer)
            yield tree

    def play(self, job: Job) -> Outcome:
        """One job, without measuring anything."""
        assert self._driver is not None
        return self._driver.play(job)

    def measure(self, tree: Tree | None, job: Job, scene: str, turn: int) -> Sample:
        """Plays a job and divides the proxy's CPU time by what was answered; no tree, no proxy."""
        assert self._engine is not None
        assert self._driver is not None
        proxy_s, engine_s = (0.0 if tree is None else tree.cpu_s()), self._engine.cpu_s()
        client_s = self._driver.cpu_s()
        busy_before_s, started_s = busy_s(), time.perf_counter()
        outcome = self.play(job)
        busy, wall_s = busy_s() - busy_before_s, time.perf_counter() - started_s
        proxy_s = 0.0 if tree is None else tree.cpu_s() - proxy_s
        engine_s = self._engine.cpu_s() - engine_s
        client_s = self._driver.cpu_s() - client_s
        own_s = engine_s + outcome.client_cpu_s
        chunks = job.kind == "stream"
        done = outcome.chunks if chunks else outcome.answered
        return Sample(
            scene=scene,
            round=turn,
            unit="chunk" if chunks else "request",
            done=done,
            cpu_us=proxy_s * 1e6 / max(1, done),
            harness_share=own_s / max(1e-9, outcome.elapsed_s),
            foreign_cores=max(0.0, busy - proxy_s - engine_s - client_s) / wall_s,
            outcome=outcome,
        )

    def hold(self, tree: Tree, job: Job, settle_s: float, turn: int) -> Sample:
        """Opens idle streams, and divides what the proxy's memory grew by their number."""
        before = tree.pss_bytes()
        assert self._driver is not None
        outcome = self._driver.play(job)
        time.sleep(settle_s)
        grown = tree.pss_bytes() - before
        self._driver.release()
        done = outcome.answered
        return Sample(
            scene="idle",
            round=turn,
            unit="stream",
            done=done,
            kb_each=grown / 1_024 / max(1, done),
            outcome=outcome,
        )

    def _await_engine(self) -> None:
        assert self._engine is not None
        last = self.layout.engine_port + self.layout.replicas_most - 1
        deadline_s = time.monotonic() + 10
        while status(last, "/health") != 200:
            if not self._engine.alive or time.monotonic() > deadline_s:
                raise SystemExit(f"the fake engine did not start: {self._engine.tail()}")
            time.sleep(0.02)


def status(port: int, path: str, body: bytes | None = None) -> int:
    """One request; 0 when there is no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
        connection.request("POST" if body else "GET", path, body, headers)
        response = connection.getresponse()
        response.read()
        return response.status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def wait_ready(tree: Tree, port: int, peer: Peer) -> None:
    """Until it says it is ready and answers a chat request. Raises Missing with its last words."""
    deadline_s = time.monotonic() + peer.start_s
    ask = bodies(256, stream=False, tokens=4)[0]
    last = 0
    while time.monotonic() < deadline_s:
        if not tree.alive:
            raise Missing(f"ended while starting: {tree.tail()}")
        if status(port, peer.ready) == 200:
            last = status(port, "/v1/chat/completions", ask)
            if last == 200:
                return
        time.sleep(0.05)
    raise Missing(f"not ready after {peer.start_s:.0f} s (chat answered {last}): {tree.tail()}")
