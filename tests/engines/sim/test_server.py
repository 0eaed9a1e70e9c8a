"""Many replicas in one process, and what keeps them from starting."""

import asyncio
import socket

import pytest

from headrace.config.simulator import Simulator
from headrace.engines.sim.server import Server
from headrace.errors import ConfigError, StartError
from tests.engines.sim.rig import ask, chat, metric, simulator


async def test_replicas_know_nothing_of_each_other() -> None:
    """Each has its own port, cache and metrics."""
    async with simulator(replicas=3) as server:
        await ask(server.urls[1], "/v1/chat/completions", chat())
        counted = [await metric(url, "generation_tokens_total") for url in server.urls]

    assert 3 == len(set(server.urls))
    assert [0, 5, 0] == counted


async def test_ports_follow_each_other() -> None:
    """The second replica is one port above the first."""
    first = free_pair()
    async with simulator(replicas=2, port=first) as server:
        assert [f"http://127.0.0.1:{first + n}" for n in (0, 1)] == server.urls


def free_pair() -> int:
    """A port that is free and whose successor is."""
    while True:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            try:
                two.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


async def test_a_busy_port_is_told() -> None:
    """One sentence with the port; the ports before it are given back."""
    async with simulator() as other:
        port = int(other.urls[0].rpartition(":")[2])
        server = Server(Simulator(port=port))
        with pytest.raises(StartError, match=f"Port {port} on 127.0.0.1 .* replica 0"):
            await server.start()
        await server.stop()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"preset": "abacus"}, "'abacus' is unknown; use one of h100-8b, "),
        ({"max_model_len": 50_000}, "is 50000, but the KV cache holds 34000 tokens"),
        ({"port": 65_535, "replicas": 2}, "would end at 65536"),
    ],
)
def test_what_cannot_be_is_told(settings: dict[str, object], told: str) -> None:
    """A wrong setting is named, with what would be right."""
    with pytest.raises(ConfigError, match=told):
        Server(Simulator.model_validate(settings))


WORDS = {"prompt": "Hello", "max_tokens": 60, "ignore_eos": True}


async def running(server: Server) -> None:
    """Wait until a request runs."""
    while not server.replicas[0].engine.unfinished:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.001)


async def test_what_runs_finishes_and_what_is_new_is_refused() -> None:
    """After a SIGTERM with time, as vLLM 0.32: a stream ends whole, a new request gets 500."""
    async with simulator(speed=50) as server:
        url = server.urls[0]
        stream = asyncio.create_task(ask(url, "/v1/completions", WORDS | {"stream": True}))
        await running(server)
        end = asyncio.create_task(server.finish(30))
        await asyncio.sleep(0)
        late = await ask(url, "/v1/chat/completions", chat())
        health = await ask(url, "/health")
        await end
        first = await stream

    assert (500, 200, 200) == (late.status, health.status, first.status)
    assert "cannot schedule new futures after shutdown" in late.json()["error"]["message"]
    assert first.body.endswith(b"data: [DONE]\n\n")


async def test_a_shutdown_has_an_end() -> None:
    """What still runs when the time is over is broken."""
    async with simulator(speed=0.01) as server:
        asking = asyncio.create_task(ask(server.urls[0], "/v1/completions", WORDS))
        await running(server)
        await server.finish(0.1)
        await server.stop()
        found = await asking

    assert (0, "eof") == (found.status, found.ended)
