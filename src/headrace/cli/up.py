"""
``headrace up``: the embedded engine and the gateway in front of it.

What it shows is banner.py's; how the engine is kept alive is engines/supervisor.py's.
"""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from headrace.cli.banner import Banner, Facts
from headrace.cli.options import ConfigOption
from headrace.cli.run import run
from headrace.cli.serve import Host, LogFormat, Port, Serving
from headrace.config.backends import Backend, Model
from headrace.config.load import Loaded, read
from headrace.config.schema import Config
from headrace.engines import llamacpp
from headrace.engines.child import Launch
from headrace.engines.llamacpp import Weights
from headrace.engines.roster import Tape
from headrace.engines.supervisor import Change, State, Supervisor
from headrace.engines.tape import Recorder, Replayer
from headrace.errors import StartError

REPLICA = "llamacpp"


def up(
    *,
    config: ConfigOption = None,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            "-m",
            metavar="PATH.gguf",
            show_default="SmolLM2-135M-Instruct",
            help="The model to serve, a GGUF file.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            show_default="the file's",
            help="The name that clients use for the model.",
        ),
    ] = None,
    host: Host = None,
    port: Port = None,
    log_format: LogFormat = None,
    edge: Annotated[
        bool | None,
        typer.Option("--edge", show_default=False, help="Put Envoy in front: https, limits."),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep each answer in a file of this folder."),
    ] = None,
    replay: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Start no engine; answer from what was recorded there."),
    ] = None,
    replay_speed: Annotated[
        float,
        typer.Option(
            min=0, metavar="X", help="1 is the pace of the recording, 2 twice it, 0 at once."
        ),
    ] = 0.0,
) -> None:
    """
    Start a model and the gateway on this machine.

    It prints the URL and a request to try, and runs until Ctrl-C. Backends of the configuration
    are served too. Where it has `engines`, these are started, and the embedded one only if a
    model is named for it.
    """
    if record is not None and replay is not None:
        raise StartError("Either --record or --replay; to record anew, use another folder.")
    banner = Banner()
    overrides: Mapping[str, object] = {
        "server": {"host": host, "port": port},
        "engine": {"model": model and str(model), "name": name},
        "logging": {"format": log_format},
        "edge": {"enabled": edge},
    }
    settings = _for_people(read(config, overrides=overrides), interactive=banner.interactive)
    if replay is not None:
        run(replaying(settings, Replayer(replay, replay_speed)))
        return
    tape = None if record is None else Recorder(record)
    run(Running(settings, banner, tape) if embedded(settings) else Serving(settings, tape))


def embedded(config: Config) -> bool:
    """Whether the embedded engine is wanted: other engines take its place, unless it is named."""
    return config.engine.enabled and (not config.engines or config.engine.model is not None)


def replaying(config: Config, replayer: Replayer) -> Serving:
    """The gateway in front of recordings alone."""
    update = {
        "models": replayer.models(config.models),
        "backends": (replayer.backend,),
        "engines": (),
        "discovery": (),
        "health": config.health.model_copy(update={"trust_static": True}),  # nothing to warm up
    }
    return Serving(config.model_copy(update=update), replayer)


def _for_people(loaded: Loaded, *, interactive: bool) -> Config:
    """On a terminal the log has short lines, unless somebody said otherwise."""
    config = loaded.config
    if not interactive or ("logging", "format") in loaded.origins:
        return config
    logging = config.logging.model_copy(update={"format": "console"})
    return config.model_copy(update={"logging": logging})


def with_engine(config: Config, weights: Weights) -> tuple[Config, str]:
    """The configuration in which the engine's model is declared, and the model's name in it."""
    name = config.engine.name or weights.name
    declared = config.models or tuple(Model(name=served) for served in config.served)
    for model in declared:
        if name in {model.name, *model.aliases}:
            return config.model_copy(update={"models": declared}), model.name
    ours = Model(name=name, context_length=config.engine.context_length)
    return config.model_copy(update={"models": (ours, *declared)}), name


class Running(Serving):
    """The gateway, the embedded engine and all others as a service (``cli.run.Service``)."""

    def __init__(self, config: Config, banner: Banner, tape: Tape | None = None) -> None:
        self._started = time.monotonic()
        self._weights = llamacpp.weights(config.engine.model)
        config, self._model = with_engine(config, self._weights)
        super().__init__(config, tape)
        self._replica = _free_name(REPLICA, config)
        self._banner = banner
        self._ready = False
        self._broken = asyncio.Event()
        self._reason = ""
        engine = config.engine
        argv = llamacpp.command(self._weights, self._model, engine)
        launch = Launch("llama.cpp", argv, start_s=engine.start_s, explain=llamacpp.explain)
        self._engine = Supervisor(launch, self._on_change)

    async def start(self) -> None:
        """Listen first, so that a busy port is known before a model is loaded; then the engine."""
        await self._listen()
        self._gateway.log.flush()  # its first line belongs above the spinner, not on it
        self._banner.open(self._facts())
        await self._crew.start()
        with self._banner.loading():
            await self._engine.start()
        self._ready = True
        self._banner.ready(time.monotonic() - self._started)

    async def starved(self) -> None:
        """
        Wait until the engine is in a crash loop and nothing else could answer.

        Raises:
            StartError: that happened.

        """
        await self._broken.wait()
        raise StartError(f"{self._reason}.")

    async def stop(self) -> None:
        """Drain, then end the engine, which the draining requests need."""
        try:
            await super().stop()
        finally:
            await self._engine.stop()

    def kill(self) -> None:
        """End the engines."""
        super().kill()
        self._engine.kill()

    def _on_change(self, change: Change) -> None:
        if change.state is State.READY:
            backend = Backend(url=change.url, name=self._replica, serves={self._model: self._model})
            self._roster.add(backend)
        elif change.state in {State.DIED, State.FAILED}:
            self._roster.remove(self._replica, change.reason)
        if self._ready:
            self._banner.change(change)
        others = self._config.backends or self._config.engines or self._config.discovery
        if change.state is State.FAILED and not others:
            self._reason = change.reason
            self._broken.set()

    def _facts(self) -> Facts:
        return Facts(
            url=self._gateway.url,
            model=self._model,
            weights=self._weights,
            engine=self._config.engine,
            backends=len(self._config.backends),
        )


def _free_name(name: str, config: Config) -> str:
    taken = {backend.name for backend in config.backends}
    taken |= {replica for engine in config.engines for replica in engine.replica_names}
    while name in taken:
        name += "_"
    return name
