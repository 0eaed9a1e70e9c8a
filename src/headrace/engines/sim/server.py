"""Many simulated replicas in one process, each on its own port."""

import asyncio
import os
from pathlib import Path

from headrace.config.simulator import Simulator
from headrace.engines.sim import sheet
from headrace.engines.sim.cost import Preset
from headrace.engines.sim.presets import PRESETS
from headrace.engines.sim.render import Renderer
from headrace.engines.sim.replica import Replica, limits_of
from headrace.engines.sim.vocabulary import Vocabulary
from headrace.engines.sim.wire import Connection
from headrace.errors import ConfigError, StartError

BACKLOG = 1024
LAST_PORT = 65_535
LOOK_S = 0.05  # between two looks at whether requests run


class Server:
    """The replicas of one configuration, from ``start`` to ``stop``."""

    def __init__(self, settings: Simulator) -> None:
        self._settings = settings
        self.preset = preset(settings)
        self._servers: list[asyncio.Server] = []
        self._alive: set[Connection] = set()
        self.replicas: list[Replica] = []
        self.urls: list[str] = []

    async def start(self) -> None:
        """
        Listen on all ports.

        Raises:
            StartError: one of them cannot be had; then none is held.

        """
        renderer = Renderer(Vocabulary())
        for index in range(self._settings.replicas):
            try:
                replica = Replica(self._settings, self.preset, index, renderer)
            except StartError:
                await self.stop()
                raise
            self.replicas.append(replica)
            self.urls.append(await self._listen(replica, index))

    async def finish(self, within_s: float) -> None:
        """
        Take no new requests, and wait until none runs, for so long at most. Ports stay open and
        /health says 200 meanwhile: so does vLLM's (measured on 0.32).
        """
        if not within_s:
            return
        for replica in self.replicas:
            replica.finish()
        loop = asyncio.get_running_loop()
        until = loop.time() + within_s
        while loop.time() < until:
            if not any(each.engine.unfinished for each in self.replicas):
                return
            await asyncio.sleep(LOOK_S)

    async def stop(self) -> None:
        """Close every port and break every connection."""
        for server in self._servers:
            server.close()
        for connection in [*self._alive]:
            connection.close()
        for server in self._servers:
            await server.wait_closed()
        self._servers.clear()
        for replica in self.replicas:
            replica.close()

    async def _listen(self, replica: Replica, index: int) -> str:
        host, first = self._settings.host, self._settings.port
        port = first + index if first else 0
        loop = asyncio.get_running_loop()
        try:
            server = await loop.create_server(
                lambda: Connection(replica.handle, self._alive), host, port, backlog=BACKLOG
            )
        except OSError as error:
            await self.stop()
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise StartError(
                f"Port {port} on {host} cannot be used for replica {index}: {reason};"
                " give another with --port."
            ) from None
        self._servers.append(server)
        bound = server.sockets[0].getsockname()[1]
        return f"http://{f'[{host}]' if ':' in host else host}:{bound}"


def preset(settings: Simulator) -> Preset:
    """
    The preset that is named, or that a file holds, if it can hold what is asked for.

    Raises:
        ConfigError: there is no such preset, or a longest sequence would not fit its cache.

    """
    found = PRESETS.get(settings.preset)
    if found is None and sheet.is_file(settings.preset):
        found = sheet.read(Path(settings.preset))
    if found is None:
        raise ConfigError(
            f"simulator.preset: {settings.preset!r} is unknown; use one of {', '.join(PRESETS)},"
            " or a file that ends in .yaml."
        )
    limits = limits_of(settings, found)
    room = limits.num_gpu_blocks * limits.block_size
    if settings.max_model_len > room:
        raise ConfigError(
            f"simulator.max_model_len is {settings.max_model_len}, but the KV cache holds {room}"
            " tokens; lower it, or raise kv_tokens."
        )
    scale = settings.surface.token_scale
    if limits.block_size % scale:
        raise ConfigError(
            f"simulator.block_size is {limits.block_size}, which is no multiple of"
            f" simulator.surface.token_scale, {scale}; raise it to {scale * 16}."
        )
    last = settings.port + settings.replicas - 1
    if settings.port and last > LAST_PORT:
        raise ConfigError(
            f"simulator.port is {settings.port}: {settings.replicas} replicas would end at {last},"
            f" past {LAST_PORT}; take a lower one."
        )
    return found
