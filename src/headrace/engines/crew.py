"""
The engines of the configuration while they run: a supervisor for each replica, one log for all.

How each kind is started is in vllm.py and llamacpp.py; how one is kept alive in supervisor.py.
"""

import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from headrace.config.backends import Backend, Model
from headrace.config.engines import LocalEngine
from headrace.engines import gpus, llamacpp, preflight, tether, vllm
from headrace.engines.child import Launch
from headrace.engines.roster import Floor, Log, Roster
from headrace.engines.rota import Rota
from headrace.engines.supervisor import Backoff, Change, State, Supervisor
from headrace.errors import StartError

# Before a program of others: it ends what does not look at its standard input.
TETHER = (sys.executable, "-I", "-S", tether.__file__)


def models(engines: Sequence[LocalEngine]) -> list[Model]:
    """What these engines serve, as the catalogue lists it."""
    found: dict[str, Model] = {}
    for engine in engines:
        name, *aliases = engine.names
        settings = engine.llamacpp
        context = settings.context_length if engine.type == "llamacpp" else None
        context = context or engine.vllm.max_model_len
        found.setdefault(name, Model(name=name, aliases=tuple(aliases), context_length=context))
        for adapter in engine.vllm.lora_modules:
            found.setdefault(adapter, Model(name=adapter, context_length=context))
    return list(found.values())


def patience(engines: Sequence[LocalEngine], warm_up_s: float) -> dict[str, float]:
    """
    How long requests wait for models that may have no replica at all, in seconds: as long as their
    engines may take to start and to answer a first token.
    """
    found: dict[str, float] = {}
    for engine in engines:
        if engine.least == 0:
            for model in engine.models:
                found[model] = max(found.get(model, 0.0), engine.start_s + warm_up_s)
    return found


@dataclass(frozen=True, slots=True)
class Post:
    """One replica of one engine."""

    name: str
    engine: LocalEngine
    number: int


class Crew:
    """Owns every supervised engine from ``start`` to ``stop``."""

    def __init__(
        self,
        engines: Sequence[LocalEngine],
        roster: Roster,
        floor: Floor,
        log: Log,
        backoff: Backoff | None = None,
    ) -> None:
        self._engines = engines
        self._roster = roster
        self._floor = floor
        self._log = log
        self._backoff = backoff
        self._posts = [
            Post(name, engine, number)
            for engine in engines
            for number, name in enumerate(engine.replica_names)
        ]
        self._supervisors: dict[str, Supervisor] = {}
        self._rotas: dict[str, Rota] = {}  # by replica; of engines that come and go
        self._broken: dict[str, str] = {}
        self._all_broken = asyncio.Event()

    async def start(self) -> None:
        """
        Look whether the engines can run at all, then start them in the background.

        Raises:
            StartError: some cannot; it tells everything that was found.

        """
        if not self._posts:
            return
        loop = asyncio.get_running_loop()
        shown = await loop.run_in_executor(None, gpus.visible)
        found = await loop.run_in_executor(None, preflight.inspect, self._engines, shown)
        problems = [f"{finding}." for finding in found if finding.problem]
        if problems:
            raise StartError("\n".join(problems))
        for finding in found:
            self._log.event("engine_checked", engine=finding.engine, finding=finding.text)
        for post in self._posts:
            launch = self._launch(post, len(shown or ()))
            supervisor = Supervisor(launch, partial(self._on_change, post), self._backoff)
            self._supervisors[post.name] = supervisor
            if not post.engine.elastic:
                supervisor.watch()
        for engine in self._engines:
            if engine.elastic:
                self._hire(engine)

    async def failed(self) -> None:
        """
        Wait until every engine is in a crash loop; forever if there is none, or if there is one
        that requests may start again.

        Raises:
            StartError: that happened; it tells why each of them ended.

        """
        await self._all_broken.wait()
        raise StartError("\n".join(f"{reason}." for reason in self._broken.values()))

    async def stop(self) -> None:
        """End them all, each within its own grace."""
        await asyncio.gather(*(rota.stop() for rota in set(self._rotas.values())))
        await asyncio.gather(*(supervisor.stop() for supervisor in self._supervisors.values()))

    def kill(self) -> None:
        """End them at once."""
        for supervisor in self._supervisors.values():
            supervisor.kill()

    def _hire(self, engine: LocalEngine) -> None:
        """Leave it to the calls when this engine's replicas run."""
        mine = {name: self._supervisors[name] for name in engine.replica_names}
        rota = Rota(engine, mine, self._floor, self._log)
        self._rotas.update(dict.fromkeys(mine, rota))
        rota.start()

    def _launch(self, post: Post, shown: int) -> Launch:
        engine = post.engine
        env: dict[str, str] = {}
        explain: Callable[[Sequence[str]], str] = vllm.explain
        if engine.type == "vllm":
            argv = (*TETHER, *vllm.arguments(engine))
            env = vllm.environment(engine, post.number, shown)
        elif engine.type == "llamacpp":
            weights = llamacpp.weights(Path(engine.model) if engine.model else None)
            argv = llamacpp.command(weights, engine.names[0], engine.llamacpp)
            explain = llamacpp.explain
        else:
            argv = (*TETHER, *_simulated(engine))
        return Launch(
            name=post.name,
            argv=argv,
            start_s=engine.start_s,
            stop_s=engine.stop_s,
            explain=explain,
            env=env,
            port=engine.port + post.number if engine.port else 0,
            hear=partial(self._hear, post.name) if engine.log else None,
        )

    def _hear(self, name: str, line: str) -> None:
        said = vllm.read(line)
        if said.text:
            self._log.event("engine_log", engine=name, level=said.level, line=said.text)

    def _on_change(self, post: Post, change: Change) -> None:
        name, engine = post.name, post.engine
        rota = self._rotas.get(name)
        if change.state is State.STARTING:
            self._log.event("engine_starting", engine=name, type=engine.type)
            self._floor.tell(name, engine.models, "starting", "its engine loads")
        elif change.state is State.READY:
            self._log.event("engine_ready", engine=name, url=change.url, seconds=change.seconds)
        elif change.state is State.DIED:
            self._roster.remove(name, change.reason)
            self._floor.tell(name, engine.models, "died", change.reason)
            self._log.event(
                "engine_died", engine=name, reason=change.reason, restart_in_s=change.seconds
            )
        elif change.state is State.FAILED:
            self._fail(post, change)
        if rota is not None:
            rota.changed(name, change)
        if change.state is State.READY:
            # Not trusted: the fleet lets it answer a first token before a user waits for one.
            join = partial(self._roster.add, _backend(post, change.url), trusted=False)
            join() if rota is None else rota.adopt(name, join)

    def _fail(self, post: Post, change: Change) -> None:
        """A crash loop: the end of an engine that should always run."""
        name = post.name
        self._roster.remove(name, change.reason)
        self._floor.tell(name, post.engine.models, "failed", change.reason)
        self._log.event("engine_failed", engine=name, reason=change.reason, log=list(change.log))
        if name not in self._rotas:
            self._broken[name] = change.reason
            if len(self._broken) == len(self._posts):
                self._all_broken.set()


def _backend(post: Post, url: str) -> Backend:
    serves = {name: name for name in post.engine.models}
    events, replay = vllm.events(post.engine)
    return Backend(
        url=url, name=post.name, serves=serves, kv_events=events, kv_events_replay=replay
    )


def _simulated(engine: LocalEngine) -> tuple[str, ...]:
    settings = engine.sim
    argv = [sys.executable, "-m", "headrace", "engine", "sim", "--port", "{port}"]
    argv += ["--model", engine.names[0], "--speed", f"{settings.speed:g}"]
    argv += ["--seed", str(settings.seed)]
    if settings.preset is not None:
        argv += ["--preset", settings.preset]
    return (*argv, *settings.extra_args)
