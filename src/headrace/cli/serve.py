"""``headrace serve``: the gateway, and the engines that the configuration tells it to start."""

import asyncio
from typing import Annotated, Literal

import typer

from headrace import __version__
from headrace.cli.beacon import Beacon
from headrace.cli.options import ConfigOption
from headrace.cli.run import run
from headrace.config.backends import Model
from headrace.config.load import load
from headrace.config.schema import Config
from headrace.edge.process import EdgeProcess
from headrace.engines.crew import Crew, models, patience
from headrace.engines.remote import Prober
from headrace.engines.roster import Fronted, Roster, Tape
from headrace.errors import ConfigError
from headrace.gateway.admin.annex import Annex
from headrace.gateway.app import Gateway

Host = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", show_default="127.0.0.1", help="Address to listen on."),
]
Port = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=65_535,
        metavar="PORT",
        show_default="8000",
        help="Port to listen on; 0 picks a free one.",
    ),
]
LogFormat = Annotated[
    Literal["json", "console"] | None,
    typer.Option(show_default=False, help="JSON lines for collectors, or short lines for people."),
]


def serve(
    config: ConfigOption = None, host: Host = None, port: Port = None, log_format: LogFormat = None
) -> None:
    """
    Start the gateway in front of the engines that the configuration names.

    It runs until Ctrl-C; running requests then get server.drain_s to finish. A second Ctrl-C
    ends it at once.
    """
    settings = load(
        config,
        overrides={"server": {"host": host, "port": port}, "logging": {"format": log_format}},
    )
    if not (settings.backends or settings.models or settings.discovery or settings.engines):
        raise ConfigError(
            "The configuration names no engine; add one under `backends` or `engines`, or use"
            " `headrace up`."
        )
    run(Serving(settings))


def with_engines(config: Config) -> Config:
    """
    The configuration in which the models of its engines are declared, too. Requests for those that
    may be at zero are patient enough for a start, unless something else was declared.
    """
    if not config.engines:
        return config
    known = list(config.models) or [Model(name=served) for served in config.served]
    names = {name for model in known for name in (model.name, *model.aliases)}
    known += [model for model in models(config.engines) if model.name not in names]
    warm_up_s = config.health.warm_up_s if config.health.warm_up else 0.0
    cold = patience(config.engines, warm_up_s)
    known = [
        model.model_copy(update={"cold_start_s": cold[model.name]})
        if model.cold_start_s is None and model.name in cold
        else model
        for model in known
    ]
    return config.model_copy(update={"models": tuple(known)})


class Serving:
    """The gateway and its engines as a service (``cli.run.Service``), with a tape between them."""

    def __init__(self, config: Config, tape: Tape | None = None) -> None:
        self._config = with_engines(config)
        self._tape = tape
        if tape is None:
            self._gateway = Gateway(self._config)
            self._roster: Roster = self._gateway.fleet
        else:
            fronted = tuple(tape.front(backend) for backend in self._config.backends)
            self._gateway = Gateway(self._config.model_copy(update={"backends": fronted}))
            self._roster = Fronted(self._gateway.fleet, tape)
        self._crew = Crew(config.engines, self._roster, self._gateway.floor, self._gateway.log)
        self._prober = Prober(config.backends, self._gateway.log)
        self._annex = Annex(self._gateway)
        self._edge = edge(self._config, self._gateway)
        self._beacon = Beacon()
        self._listening = False

    async def start(self) -> None:
        """Listen, say where, and start the engines: requests that come before them wait."""
        await self._listen()
        models = len(self._gateway.fleet.groups)
        parts = [count(models, "model"), count(len(self._config.backends), "backend")]
        if self._config.discovery:
            parts.append(count(len(self._config.discovery), "source"))
        if self._config.engines:
            now = sum(engine.least for engine in self._config.engines)
            later = sum(engine.replicas for engine in self._config.engines) - now
            parts.append(f"{count(now, 'engine')} to start")
            if later:
                parts.append(f"{later} on demand")
        typer.echo(
            f"Headrace {__version__} listens on {self._gateway.url}"
            f" ({', '.join(parts)}). Ctrl-C stops it."
        )
        await self._crew.start()

    async def _listen(self) -> None:
        await self._gateway.start()
        self._listening = True
        await self._annex.start()
        self._beacon.light(self._gateway.url, self._annex.url)
        if self._tape is not None:
            await self._tape.start(self._gateway.log)
        self._prober.start()
        if self._edge is not None:
            await self._edge.start(self._gateway.port)
            if self._edge.encrypts:
                self._gateway.certificates["edge"] = self._edge.expiry
            typer.echo(arrival(self._edge))

    async def failed(self) -> None:
        """
        Wait until nothing can answer any more, or the edge cannot stay.

        Raises:
            StartError: that happened.

        """
        if self._edge is None:
            await self.starved()
            return
        loop = asyncio.get_running_loop()
        ends = [loop.create_task(end) for end in (self.starved(), self._edge.failed())]
        try:
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for end in done:
                await end
        finally:
            for end in ends:
                end.cancel()

    async def starved(self) -> None:
        """
        Wait until nothing can answer any more; backends elsewhere come and go.

        Raises:
            StartError: there are only engines of our own, and all of them are in a crash loop.

        """
        if self._config.engines and not self._config.backends:
            await self._crew.failed()
        await asyncio.get_running_loop().create_future()

    async def stop(self) -> None:
        """Drain, then end the engines, which the draining requests need."""
        await self._prober.stop()
        try:
            if self._edge is not None:
                await self._edge.drain()
            if self._listening:
                await self._gateway.stop()
        finally:
            self._beacon.quench()
            if self._edge is not None:
                await self._edge.stop()
            await self._annex.stop()
            await self._crew.stop()
            if self._tape is not None:
                await self._tape.stop()

    def kill(self) -> None:
        """End the engines, and the edge."""
        self._crew.kill()
        if self._edge is not None:
            self._edge.kill()

    def parting(self) -> str:
        """What stops, and what it waits for."""
        return parting(self._gateway.fleet.inflight_requests, self._config.server.drain_s)


def parting(running: int, drain_s: float) -> str:
    """What to tell when a stop begins."""
    if not running:
        return "stopping"
    verb = "gets" if running == 1 else "get"
    requests = count(running, "running request")
    return f"stopping: {requests} {verb} up to {drain_s:g} s; Ctrl-C again to kill"


def edge(config: Config, gateway: Gateway) -> EdgeProcess | None:
    """Envoy before this gateway, if it is wanted. On a terminal requests are not logged twice."""
    if not config.edge.enabled:
        return None
    if config.edge.access_log and config.logging.format == "console":
        front = config.edge.model_copy(update={"access_log": False})
        config = config.model_copy(update={"edge": front})
    return EdgeProcess(config, gateway.log.event)


def arrival(process: EdgeProcess) -> str:
    """Where clients reach the edge, and what they must trust."""
    trust = f"; clients must trust {process.cert}" if process.cert is not None else ""
    return f"The edge listens on {process.url}{trust}."


def count(number: int, noun: str) -> str:
    """``1 model``, ``2 models``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
