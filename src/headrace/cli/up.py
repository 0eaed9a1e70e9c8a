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
from headrace.cli.run import run
from headrace.cli.serve import File, Host, LogFormat, Port, Serving, parting
from headrace.config.load import Loaded, read
from headrace.config.schema import Backend, Config, Model
from headrace.engines import llamacpp
from headrace.engines.llamacpp import Weights
from headrace.engines.supervisor import Change, Launch, State, Supervisor
from headrace.errors import StartError
from headrace.gateway.app import Gateway

REPLICA = "llamacpp"


def up(
    config: File = None,
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
) -> None:
    """
    Start a model and the gateway on this machine.

    It prints the URL and a request to try, and runs until Ctrl-C. Backends of the configuration
    are served too.
    """
    banner = Banner()
    overrides: Mapping[str, object] = {
        "server": {"host": host, "port": port},
        "engine": {"model": model and str(model), "name": name},
        "logging": {"format": log_format},
    }
    settings = _for_people(read(config, overrides=overrides), interactive=banner.interactive)
    run(Running(settings, banner) if settings.engine.enabled else Serving(settings))


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
    declared = config.models or tuple(
        Model(name=served)
        for served in dict.fromkeys(s for backend in config.backends for s in backend.serves)
    )
    for model in declared:
        if name in {model.name, *model.aliases}:
            return config.model_copy(update={"models": declared}), model.name
    ours = Model(name=name, context_length=config.engine.context_length)
    return config.model_copy(update={"models": (ours, *declared)}), name


class Running:
    """The gateway and the embedded engine as a service (``cli.run.Service``)."""

    def __init__(self, config: Config, banner: Banner) -> None:
        self._started = time.monotonic()
        self._weights = llamacpp.weights(config.engine.model)
        self._config, self._model = with_engine(config, self._weights)
        self._replica = _free_name(REPLICA, config)
        self._banner = banner
        self._gateway = Gateway(self._config)
        self._listening = False
        self._ready = False
        self._broken = asyncio.Event()
        self._reason = ""
        engine = config.engine
        argv = llamacpp.command(
            self._weights,
            self._model,
            context=engine.context_length,
            slots=engine.slots,
            threads=engine.threads,
        )
        launch = Launch("llama.cpp", argv, start_s=engine.start_s, explain=llamacpp.explain)
        self._engine = Supervisor(launch, self._on_change)

    async def start(self) -> None:
        """Listen first, so that a busy port is known before a model is loaded; then the engine."""
        await self._gateway.start()
        self._listening = True
        self._gateway.log.flush()  # its first line belongs above the spinner, not on it
        self._banner.open(self._facts())
        with self._banner.loading():
            await self._engine.start()
        self._ready = True
        self._banner.ready(time.monotonic() - self._started)

    async def failed(self) -> None:
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
            if self._listening:
                await self._gateway.stop()
        finally:
            await self._engine.stop()

    def kill(self) -> None:
        """End the engine."""
        self._engine.kill()

    def parting(self) -> str:
        """What stops, and what it waits for."""
        return parting(self._gateway.fleet.inflight_requests, self._config.server.drain_s)

    def _on_change(self, change: Change) -> None:
        if change.state is State.READY:
            backend = Backend(url=change.url, name=self._replica, serves={self._model: self._model})
            self._gateway.fleet.add(backend)
        elif change.state in {State.DIED, State.FAILED}:
            self._gateway.fleet.remove(self._replica)
        if self._ready:
            self._banner.change(change)
        if change.state is State.FAILED and not self._config.backends:
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
    while name in taken:
        name += "_"
    return name
