"""
What one real case runs on: engines and a gateway as processes of their own, with a way between them
that can be slow, and Redis where it is asked for. What goes wrong there is real.py's.
"""

import asyncio
import contextlib
import json
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp

from headrace.admission.file import FileStore
from headrace.admission.office import Office, Order
from headrace.config.identity import Identity, Tenant

T = TypeVar("T")

TENANTS = ("acme", "globex", "initech", "umbrella")
START_S = 120.0  # for a process, on a machine that has other things to do
END_S = 20.0
MODEL = "sim"
REPLICAS = 3
# util-linux: the program ends with us even if we are killed, and even if it is stopped then.
LEASH = ("setpriv", "--pdeathsig", "KILL")


class Process:
    """A program that runs until it is ended; what it says goes into a file."""

    def __init__(self, folder: Path, name: str) -> None:
        self._log = folder / f"{name}.log"
        self._child: asyncio.subprocess.Process | None = None

    async def start(self, *words: str) -> None:
        with self._log.open("ab") as log:
            self._child = await asyncio.create_subprocess_exec(
                *LEASH, *words, stdout=log, stderr=log,
                start_new_session=True,  # Ctrl-C is for us, who end it
            )  # fmt: skip

    def send(self, number: signal.Signals) -> None:
        """A signal, if it still runs."""
        if self._child is not None and self._child.returncode is None:
            self._child.send_signal(number)

    async def end(self) -> None:
        """Ask it to end, then end it."""
        if self._child is None:
            return
        for number in (signal.SIGCONT, signal.SIGTERM):
            self.send(number)
        try:
            async with asyncio.timeout(END_S):
                await self._child.wait()
        except TimeoutError:
            self.send(signal.SIGKILL)
            await self._child.wait()

    def said(self) -> str:
        """The last that it said."""
        return self._log.read_text(errors="replace")[-2000:]


class Way:
    """A TCP relay to a port of this machine, on which bytes may take longer."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.delay_s = 0.0
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._joined, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def end(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # transports are closed in the next turn of the loop

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.close()
            return
        for source, sink in ((reader, there[1]), (there[0], writer)):
            task = asyncio.create_task(self._carry(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        delay_s = 0.0
        try:
            while data := await source.read(65_536):
                delay_s = self.delay_s
                loop.call_later(delay_s, sink.write, data)
            await asyncio.sleep(delay_s)
        except OSError:
            pass  # one side is gone, and so is the other now
        finally:
            sink.close()


class Ports:
    """Ports of this machine that nobody has, below those that the system gives to clients."""

    def __init__(self, first: int) -> None:
        self._numbers = iter(range(first, 32_000))

    def free(self) -> int:
        """The next one; none is given twice."""
        for port in self._numbers:
            with socket.socket() as held, contextlib.suppress(OSError):
                held.bind(("127.0.0.1", port))
                return port
        raise RuntimeError("No port is free.")


class Stage:
    """``async with Stage(folder, ports) as stage``: everything runs, and the gateway is ready."""

    def __init__(
        self, folder: Path, ports: Ports, interval_s: float, *,
        engine: dict[str, Any] | None = None, ways: bool = False, redis: bool = False,
    ) -> None:  # fmt: skip
        self._folder, self._interval_s, self._engine = folder, interval_s, engine or {}
        self.engines = [Process(folder, f"engine-{number}") for number in range(REPLICAS)]
        self.ports = [ports.free() for _ in self.engines]
        self.ways = [Way(port) for port in self.ports] if ways else []
        self.redis = Process(folder, "redis") if redis else None
        self.gateway = Process(folder, "gateway")
        self.url = f"http://127.0.0.1:{ports.free()}"
        self.admin_url = f"http://127.0.0.1:{ports.free()}"
        self.secrets: dict[str, str] = {}
        self.office: Office | None = None
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        try:
            await self._start()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._end()

    async def fault(self, engine: int, **fault: Any) -> None:
        """Set one in an engine; the page about the simulator has the kinds."""
        url = f"http://127.0.0.1:{self.ports[engine]}/sim/faults"
        async with self.session.post(url, json=fault) as answer:
            answer.raise_for_status()

    async def clear(self, engine: int) -> None:
        """End all faults of an engine."""
        url = f"http://127.0.0.1:{self.ports[engine]}/sim/faults"
        async with self.session.delete(url) as answer:
            answer.raise_for_status()

    async def why(self) -> dict[str, Any]:
        """What the gateway says of the model, as `headrace why --json`."""
        url = f"{self.admin_url}/admin/why?model={MODEL}&since_s=600"
        async with self.session.get(url) as answer:
            answer.raise_for_status()
            found: dict[str, Any] = (await answer.json())["diagnoses"][0]
            return found

    @property
    def session(self) -> aiohttp.ClientSession:
        """For what is asked beside the load."""
        if self._session is None:
            raise RuntimeError("The stage is not open; use `async with`.")
        return self._session

    # --- below -----------------------------------------------------------------------------

    async def _start(self) -> None:
        simulator = {"preset": "l40s-8b", "model": MODEL, **self._engine}
        engines = self._folder / "engines.json"
        engines.write_text(json.dumps({"simulator": simulator}))
        for port, engine in zip(self.ports, self.engines, strict=True):
            await engine.start(
                sys.executable, "-m", "headrace", "engine", "sim", "-c", str(engines),
                "--port", str(port),
            )  # fmt: skip
        for way in self.ways:
            await way.start()
        if self.redis is not None:
            await self.redis.start(
                "redis-server", "--port", "0", "--unixsocket", str(self._folder / "redis.sock"),
                "--save", "",
            )  # fmt: skip
        ports = [way.port for way in self.ways] or self.ports
        identity = {
            "file": str(self._folder / "keys.json"), "pepper_file": str(self._folder / "pepper"),
        }  # fmt: skip
        tree = {
            "server": {"port": _port(self.url), "drain_s": 0.5},
            "admin": {"port": _port(self.admin_url)},
            "backends": [{"url": f"http://127.0.0.1:{port}", "serves": [MODEL]} for port in ports],
            "diagnosis": {"interval_s": self._interval_s},
            "logging": {"requests": False},
            "identity": {**identity, "anonymous": False},
            "tenants": [{"name": name} for name in TENANTS],
            **({"state": {"url": f"unix://{self._folder}/redis.sock"}} if self.redis else {}),
        }
        self.office = Office(
            FileStore(Path(identity["file"])), Identity.model_validate(identity),
            tuple(Tenant(name=name) for name in TENANTS),
        )  # fmt: skip
        for name in TENANTS:
            issued = await self.office.create("benchmark", Order(name, tenant=name))
            self.secrets[name] = issued.secret
        config = self._folder / "headrace.json"
        config.write_text(json.dumps(tree))
        for port in self.ports:
            await self._until(f"http://127.0.0.1:{port}/health", self.engines[0])
        await self.gateway.start(sys.executable, "-m", "headrace", "serve", "-c", str(config))
        await self._until(f"{self.url}/ready", self.gateway)

    async def _until(self, url: str, process: Process) -> None:
        try:
            async with asyncio.timeout(START_S):
                while not await self._answers(url):  # noqa: ASYNC110 - of another process
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise RuntimeError(f"{url} does not answer 200: {process.said()}") from None

    async def _answers(self, url: str) -> bool:
        try:
            async with self.session.get(url) as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async def _end(self) -> None:
        processes = [self.gateway, *self.engines, *([self.redis] if self.redis else [])]
        await asyncio.gather(*(each.end() for each in processes))
        for way in self.ways:
            await way.end()
        if self._session is not None:
            await self._session.close()


def _port(url: str) -> int:
    return int(url.rsplit(":", 1)[1])


def interrupted(process: Process, share: float, period_s: float = 0.3) -> Callable[[], object]:
    """
    Let a process run for the rest of each period only, as a CPU quota does; ended by what is
    returned.
    """

    async def pulse() -> None:
        try:
            while True:
                process.send(signal.SIGSTOP)
                await asyncio.sleep(share * period_s)
                process.send(signal.SIGCONT)
                await asyncio.sleep((1 - share) * period_s)
        finally:
            process.send(signal.SIGCONT)

    task = asyncio.create_task(pulse())
    return task.cancel


def orderly(work: Coroutine[Any, Any, T]) -> T:
    """
    Run it; SIGTERM, SIGHUP or Ctrl-C cancel it, and what it started ends before we do.

    Raises:
        SystemExit: with 128 and the signal's number, when it was one.

    """
    told: list[signal.Signals] = []

    async def run() -> T:
        task = asyncio.current_task()
        assert task is not None

        def tell(number: signal.Signals) -> None:
            told.append(number)
            print(f"{number.name}: the processes of running cases end first.", file=sys.stderr)
            if len(told) == 1:
                task.cancel()

        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, tell, number)
        return await work

    try:
        return asyncio.run(run())
    except asyncio.CancelledError:
        if not told:
            raise
        raise SystemExit(128 + told[0]) from None
