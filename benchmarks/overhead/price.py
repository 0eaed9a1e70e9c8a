"""
What each feature costs a request, in microseconds of CPU, in one process and without a network.

    uv run python -m benchmarks.overhead.price [--rounds 40]

A gateway with a feature and one without it take turns, so that whatever else the machine does meets
both; the least of their rounds counts. Sockets are replaced by calls, everything between them is
the gateway's own.
"""

import argparse
import asyncio
import gc
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import uvloop

from headrace.cli.run import GC_YOUNG
from headrace.config.schema import Config
from headrace.gateway.app import Gateway
from headrace.gateway.door.client import Client
from headrace.upstream.connection import Connection
from headrace.upstream.pool import Address, Pool

from .everything import everything
from .jobs import MODEL
from .prompts import KEY, bodies

REQUESTS = 200  # in a round
WARM = 400
CLIENTS = 4
MUCH = 10**9
BUDGET = 10**12

_ANSWER = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"%b","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"%b"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":600,"total_tokens":616,"completion_tokens":16}}'
) % (MODEL.encode(), b"tok " * 16)
_REPLY = (
    b"HTTP/1.1 200 OK\r\ndate: Sat, 21 Nov 2026 08:43:09 GMT\r\nserver: uvicorn\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
) % (len(_ANSWER), _ANSWER)


class Wire(asyncio.Transport):
    """A transport that hands on what is written."""

    def __init__(self, written: Callable[[bytes], None]) -> None:
        super().__init__()
        self._written = written

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._written(bytes(data))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is ever kept back."""

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        """There is nothing to close."""

    close = abort


class Canned(Pool):
    """Connections to an engine that answers the same at once."""

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        connection = Connection(loop, self._put, self._lost)
        connection.connection_made(
            Wire(lambda _: cast("None", loop.call_soon(connection.data_received, _REPLY)))
        )
        self._all.add(connection)
        return connection


@dataclass(frozen=True, slots=True)
class Part:
    """A gateway to be measured: its sections, and the one that it is compared with."""

    name: str
    over: str
    sections: dict[str, Any]
    replicas: int = 4


class Took(NamedTuple):
    """Microseconds of CPU of the event loop's thread for one request, and how many more."""

    us: float
    more: float


class Bench:
    """One gateway, and clients that ask as fast as they get answers."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.us = float("inf")
        self._gateway = Gateway(Config.model_validate(_tree(part)))
        self._requests = [_request(body) for body in bodies(2400, stream=False, tokens=16)]
        self._left = self._sent = 0
        self._done = asyncio.Event()
        self._wrong = b""
        self._clients: list[Client] = []

    async def start(self) -> None:
        """Start and warm up."""
        await self._gateway.start()
        for replica in self._gateway.fleet.present:
            replica.pool = Canned(Address("127.0.0.1", 1), 1.0)
        loop = asyncio.get_running_loop()
        for _ in range(CLIENTS):
            client = Client(loop, self._gateway)
            client.connection_made(Wire(lambda data, own=client: self._answered(own, data)))  # type: ignore[misc]
            self._clients.append(client)
        await self._run(WARM)

    async def round(self) -> None:
        """Measure once more."""
        began = time.thread_time()
        await self._run(REQUESTS)
        self.us = min(self.us, (time.thread_time() - began) / REQUESTS * 1e6)

    async def stop(self) -> None:
        """End."""
        await self._gateway.stop(0.1)

    async def _run(self, requests: int) -> None:
        self._left = requests
        self._done.clear()
        for client in self._clients:
            self._ask(client)
        async with asyncio.timeout(60):
            await self._done.wait()
        if self._wrong:
            raise RuntimeError(f"{self.part.name}: {self._wrong[:300]!r}")

    def _ask(self, client: Client) -> None:
        self._sent += 1
        client.data_received(self._requests[self._sent % len(self._requests)])

    def _answered(self, client: Client, data: bytes) -> None:
        self._left -= 1
        if not data.startswith(b"HTTP/1.1 200"):
            self._wrong = data
        if self._wrong or not self._left:
            self._done.set()
        elif self._left >= CLIENTS:
            asyncio.get_running_loop().call_soon(self._ask, client)


def parts(folder: Path) -> list[Part]:
    """The gateways, each after the one that it is compared with."""
    full = everything(folder)
    keys = {name: full[name] for name in ("tenants", "identity")}
    priced = {"metering": {"prices": cast("dict[str, Any]", full["metering"])["prices"]}}

    def limited(**limits: int) -> dict[str, Any]:
        return {**keys, "limits": {"tenant": limits}}

    turns, ships = {"routing": {"policy": "round_robin"}}, "as it ships (lowest_cost)"
    silent = {"logging": {"file": "/dev/null", "requests": False}, "decisions": {"requests": 0}}
    one, six = "a key, requests per minute", "a key, six limits, a price"
    return [
        Part("round_robin, no log, no records", "", turns | silent),
        Part("round_robin, with both", "round_robin, no log, no records", turns),
        Part(ships, "round_robin, with both", {}),
        Part("... without decision records", ships, {"decisions": {"requests": 0}}),
        Part("... without a line in the log", ships, {"logging": silent["logging"]}),
        Part("a key", ships, keys),
        Part(one, "a key", limited(requests_per_minute=MUCH)),
        Part("a key, tokens per minute", "a key", limited(tokens_per_minute=MUCH)),
        Part("a key, concurrent requests", "a key", limited(concurrent_requests=MUCH)),
        Part("a key, tokens per day", "a key", limited(tokens_per_day=BUDGET)),
        Part("a key, cost per month", "a key", limited(cost_per_month=10**6) | priced),
        Part(six, "a key", {**keys, "limits": full["limits"], **priced}),
        Part("everything: with the ledger, too", six, full),
        Part("as it ships, 64 replicas", ships, {}, 64),
        Part("as it ships, 256 replicas", ships, {}, 256),
        Part("round_robin, 256 replicas", "round_robin, with both", turns, 256),
    ]


async def measure(found: list[Part], rounds: int) -> dict[str, Took]:
    """What each takes, by its name; it is measured beside the one that it is compared with."""
    by_name = {part.name: part for part in found}
    return {
        part.name: await _beside(part, by_name.get(part.over), rounds) for part in by_name.values()
    }


def table(found: list[Part], took: dict[str, Took]) -> str:
    """In Markdown."""
    lines = ["| gateway | us | over | us more |", "|---|---|---|---|"]
    for part in found:
        us, more = took[part.name]
        lines.append(f"| {part.name} | {us:.1f} | {part.over} | {more:.1f} |")
    return "\n".join(lines)


async def _beside(part: Part, other: Part | None, rounds: int) -> Took:
    benches = [Bench(each) for each in (part, other) if each is not None]
    try:
        for bench in benches:
            await bench.start()
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_YOUNG, 20, 50)  # as `headrace serve` does
        for _ in range(rounds):
            for bench in benches:
                await bench.round()
    finally:
        for bench in benches:
            await bench.stop()
    return Took(benches[0].us, benches[0].us - benches[1].us if other is not None else 0.0)


def _tree(part: Part) -> dict[str, Any]:
    backends = [
        {"url": f"http://127.0.0.1:{27000 + number}", "serves": [MODEL], "probe": False}
        for number in range(part.replicas)
    ]
    return {
        "server": {"port": 0},
        "logging": {"file": "/dev/null"},
        "models": [{"name": MODEL}],
        "health": {"interval_s": 3600},
        "backends": backends,
        **part.sections,
    }


def _request(body: bytes) -> bytes:
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:1\r\naccept: */*\r\n"
        b"user-agent: headrace-bench/1\r\nauthorization: Bearer %b\r\n"
        b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
    ) % (KEY.encode("ascii"), len(body), body)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        found = parts(Path(folder))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            print(table(found, runner.run(measure(found, rounds))))


if __name__ == "__main__":
    main()
