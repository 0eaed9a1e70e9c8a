"""``headrace serve``: the gateway alone, in front of engines that run elsewhere."""

import asyncio
from pathlib import Path
from typing import Annotated, Literal

import typer

from headrace import __version__
from headrace.cli.run import run
from headrace.config.load import load
from headrace.config.schema import Config
from headrace.errors import ConfigError
from headrace.gateway.app import Gateway

File = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        show_default=False,
        help="The configuration; else $HEADRACE_CONFIG, else headrace.yaml in this directory.",
    ),
]
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
    config: File = None, host: Host = None, port: Port = None, log_format: LogFormat = None
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
    if not settings.backends and not settings.models and not settings.discovery:
        raise ConfigError(
            "The configuration names no engine; add one under `backends`, or use `headrace up`."
        )
    run(Serving(settings))


class Serving:
    """The gateway as a service (``cli.run.Service``)."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._gateway = Gateway(config)
        self._listening = False

    async def start(self) -> None:
        """Listen, and say where."""
        await self._gateway.start()
        self._listening = True
        models = len(self._gateway.fleet.groups)
        backends = len(self._config.backends)
        typer.echo(
            f"Headrace {__version__} listens on {self._gateway.url}"
            f" ({count(models, 'model')}, {count(backends, 'backend')}). Ctrl-C stops it."
        )

    async def failed(self) -> None:
        """Never: backends come and go."""
        await asyncio.get_running_loop().create_future()

    async def stop(self) -> None:
        """Drain."""
        if self._listening:
            await self._gateway.stop()

    def kill(self) -> None:
        """There is nothing beside this process."""

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


def count(number: int, noun: str) -> str:
    """``1 model``, ``2 models``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
