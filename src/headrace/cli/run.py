"""
Runs a service until it is told to stop: the event loop, the signals, and nothing left behind.

What the service is, and what it prints, is in the command's own file.
"""

import asyncio
import gc
import os
import resource
import select
import signal
import sys
from typing import NoReturn, Protocol

import typer
import uvloop

KILLED = 130  # exit code: ended by a second Ctrl-C
# Objects between collections, 700 by default. Requests free theirs by reference count, so that the
# collector finds next to nothing; how often it looks is a price per request.
GC_YOUNG = 50_000
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Service(Protocol):
    """What ``run`` keeps alive. ``start`` returns when it is ready."""

    async def start(self) -> None: ...

    async def failed(self) -> None:
        """Return never, or raise a StartError when the service cannot go on."""

    async def stop(self) -> None:
        """Let running requests finish, then end everything; also after a start that failed."""

    def kill(self) -> None:
        """End everything that would outlive this process, now."""

    def parting(self) -> str:
        """What to tell when the stop begins."""


def run(service: Service) -> None:
    """
    Run until Ctrl-C, SIGTERM or SIGHUP; a second one ends this process at once with code 130.

    Raises:
        StartError: the service could not start, or could not go on. Nothing of it is left.

    """
    _prepare_process()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_live(service))


def _prepare_process() -> None:
    """As many sockets as the system grants; and no garbage collection over what never dies."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_YOUNG, 20, 50)


async def _live(service: Service) -> None:
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, _on_signal, service, asked)
    life = loop.create_task(_start_and_watch(service))
    stop = loop.create_task(asked.wait())
    try:
        await asyncio.wait({life, stop}, return_when=asyncio.FIRST_COMPLETED)
        if life.done():
            await life
    finally:
        stop.cancel()
        life.cancel()
        await asyncio.wait({life})
        await service.stop()


async def _start_and_watch(service: Service) -> None:
    await service.start()
    await service.failed()


def _on_signal(service: Service, asked: asyncio.Event) -> None:
    if asked.is_set():
        _die(service)
    asked.set()
    if select.select([], [2], [], 0)[1]:  # nobody reads a pipe that is full: leave without a word
        typer.echo(service.parting(), err=True)


def _die(service: Service) -> NoReturn:
    service.kill()
    sys.stdout.flush()
    os._exit(KILLED)
