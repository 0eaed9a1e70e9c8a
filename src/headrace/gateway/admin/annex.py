"""
The admin API's own listener, beside the gateway in the same event loop. The API is in api.py.

FastAPI takes the better part of a second of CPU and 40 MB, and most gateways are never asked: the
port is taken at the start, but what listens there is imported, in a thread, when somebody calls.
"""

import asyncio
import contextlib
import errno
import importlib
import socket
from collections.abc import Iterator
from typing import Any

from headrace.config.fleet import Admin
from headrace.errors import StartError
from headrace.gateway.app import Gateway
from headrace.gateway.door.listener import listen

STOP_S = 1.0  # for calls that run when the gateway stops


class Annex:
    """Opens and closes the admin API of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._config: Admin = gateway.config.admin
        self._socket: socket.socket | None = None
        self._server: Any = None
        self._task: asyncio.Task[None] | None = None
        self.url = ""  # empty until it is open

    async def start(self) -> None:
        """
        Take the port, then serve.

        Raises:
            StartError: the address cannot be listened on.

        """
        if not self._config.enabled:
            return
        self._socket = _open(self._config)
        host, port = self._socket.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._gateway.log.event("admin_started", url=self.url)
        asyncio.get_running_loop().add_reader(self._socket, self._called, self._socket)

    async def stop(self) -> None:
        """Close it; calls that run get a second."""
        listener, self._socket = self._socket, None
        if listener is None:
            return
        task, self._task = self._task, None
        if task is None:
            asyncio.get_running_loop().remove_reader(listener)
        elif self._server is None:
            task.cancel()
        else:
            self._server.should_exit = True
        if task is not None:
            await asyncio.wait({task})
        listener.close()

    def _called(self, listener: socket.socket) -> None:
        """The first caller is in the listen queue, and waits there until the API is built."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener)
        self._task = loop.create_task(self._serve(listener))

    async def _serve(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        uvicorn = await loop.run_in_executor(None, importlib.import_module, "uvicorn")
        parts = await loop.run_in_executor(
            None, importlib.import_module, "headrace.gateway.admin.parts"
        )
        # Building takes 60 ms, which would stall every stream.
        api = await loop.run_in_executor(None, parts.assemble, self._gateway, self._config)
        config = uvicorn.Config(
            api,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=STOP_S,
        )
        self._server = server = uvicorn.Server(config)
        server.capture_signals = _no_signals  # they are cli/run.py's
        await server.serve(sockets=[listener])


@contextlib.contextmanager
def _no_signals() -> Iterator[None]:
    yield


def _open(config: Admin) -> socket.socket:
    """The listening socket; a busy port that nobody asked for gives way to a free one."""
    try:
        return listen(config.host, config.port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            where = f"{config.host}:{config.port}"
            raise StartError(f"Cannot open the admin API on {where}: {error.strerror}.") from None
        if "port" in config.model_fields_set:
            raise StartError(
                f"Port {config.port} on {config.host} is in use; stop that program, or choose"
                " another port for the admin API (`admin.port`; 0 picks a free one)."
            ) from None
    return listen(config.host, 0)
