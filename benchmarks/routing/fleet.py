"""
The fleet under a router: simulated vLLM replicas in one process or, where some of them differ or
die, in several; and what they counted.
"""

import contextlib
import http.client
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import msgspec

from benchmarks.overhead.process import Tree

from .jobs import MODEL

_START_S = 20.0
_COUNTERS = {
    "vllm:prefix_cache_queries_total": "queries",
    "vllm:prefix_cache_hits_total": "hits",
    "vllm:num_preemptions_total": "preemptions",
    "vllm:generation_tokens_total": "generated",
    "vllm:time_to_first_token_seconds_sum": "first_s",
    "vllm:time_to_first_token_seconds_count": "firsts",
}


@dataclass(frozen=True, slots=True)
class Group:
    """Replicas of one kind in one process."""

    preset: str
    replicas: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """
    How much smaller than reality the experiment is: engines run ``speed`` times faster, a token of
    text stands for ``tokens`` of the engine's, and a chunk comes every ``interval`` tokens.
    """

    speed: float
    tokens: int = 4
    interval: int = 64
    block: int = 128  # tokens of the engine in a block of its cache

    @property
    def pieces(self) -> int:
        """Tokens of text in a block of the cache, as events tell them."""
        return self.block // self.tokens


@dataclass(slots=True)
class Counters:
    """What one replica counted; times in seconds of the wall clock."""

    queries: float = 0.0
    hits: float = 0.0
    preemptions: float = 0.0
    generated: float = 0.0
    first_s: float = 0.0
    firsts: float = 0.0
    pace: dict[str, float] = field(default_factory=dict)


class Fleet:
    """Owns its processes from ``with`` to the end."""

    def __init__(
        self, groups: Sequence[Group], scale: Scale, port: int, folder: Path, core: int
    ) -> None:
        self.groups = groups
        self._scale = scale
        self._port = port
        self._folder = folder
        self._core = core
        self._trees: list[Tree] = []
        self._load: Literal["none", "object", "array"] = "none"
        self._events = False

    def shows(self, get_load: Literal["none", "object", "array"], *, kv_events: bool) -> None:
        """What the router in front needs of the replicas; before they are started."""
        self._load, self._events = get_load, kv_events

    @property
    def urls(self) -> list[str]:
        return [f"http://127.0.0.1:{port}" for port in self.ports]

    @property
    def ports(self) -> list[int]:
        return [self._port + n for n in range(sum(group.replicas for group in self.groups))]

    def event_endpoint(self, number: int) -> str:
        """Where a replica publishes."""
        return f"tcp://127.0.0.1:{self._port + 100 + number}"

    def __enter__(self) -> Self:
        first = self._port
        for number, group in enumerate(self.groups):
            config = self._folder / f"fleet-{number}.yaml"
            config.write_text(json.dumps({"simulator": self._settings(group, first)}))
            argv = [sys.executable, "-m", "headrace", "engine", "sim", "--config", str(config)]
            log = self._folder / f"fleet-{number}.log"
            self._trees.append(Tree.start(argv, log, {}, self._core))
            first += group.replicas
        try:
            self._await()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        for tree in self._trees:
            tree.stop()
        self._trees.clear()

    def kill(self, group: int) -> None:
        """A group's process dies, without a word to anybody."""
        process = self._trees[group].process
        process.kill()
        process.wait()

    def cpu_s(self) -> float:
        return sum(tree.cpu_s() for tree in self._trees if tree.alive)

    def counters(self) -> dict[int, Counters]:
        """By port, of those that are alive."""
        found = {}
        for port in self.ports:
            with contextlib.suppress(OSError, http.client.HTTPException):
                counters = parse(get(port, "/metrics").decode())
                counters.pace = msgspec.json.decode(get(port, "/sim/pace"), type=dict[str, float])
                found[port] = counters
        return found

    def _settings(self, group: Group, first: int) -> dict[str, Any]:
        scale = self._scale
        return {
            "replicas": group.replicas,
            "port": first,
            "model": MODEL,
            "preset": group.preset,
            "speed": scale.speed,
            "max_model_len": 200_000,
            "block_size": scale.block,
            "surface": {
                "token_scale": scale.tokens,
                "stream_interval": scale.interval,
                "early_headers": True,
                "get_load": self._load,
                "kv_events": self._events,
                "kv_events_port": first + 100 if self._events else 0,
            },
        }

    def _await(self) -> None:
        deadline_s = time.monotonic() + _START_S
        for port in self.ports:
            while True:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    get(port, "/health")
                    break
                if time.monotonic() > deadline_s or not all(tree.alive for tree in self._trees):
                    said = " / ".join(tree.tail() for tree in self._trees)
                    raise SystemExit(f"the simulated fleet did not start: {said}")
                time.sleep(0.05)


class Watch:
    """Connections to all replicas, to ask again and again how many requests each has."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._connections = {
            port: http.client.HTTPConnection("127.0.0.1", port, timeout=2) for port in ports
        }

    def loads(self) -> dict[int, int]:
        """Requests in each replica that answers."""
        found = {}
        for port, connection in self._connections.items():
            try:
                connection.request("GET", "/load")
                answer = msgspec.json.decode(connection.getresponse().read())
            except (OSError, http.client.HTTPException):
                connection.close()
            else:
                found[port] = int(answer["server_load"])
        return found

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()


def get(port: int, path: str) -> bytes:
    """
    The body of an answer.

    Raises:
        OSError: nobody is there, or the status is not 200.

    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status != 200:
        raise OSError(f"{path} answered {response.status}")
    return body


def parse(page: str) -> Counters:
    """The counters of a page of metrics."""
    found = Counters()
    for name, value in _samples(page):
        setattr(found, _COUNTERS[name], getattr(found, _COUNTERS[name]) + value)
    return found


def _samples(page: str) -> Iterator[tuple[str, float]]:
    for line in page.splitlines():
        name = line.partition("{")[0]
        if name in _COUNTERS:
            yield name, float(line.rpartition(" ")[2])
