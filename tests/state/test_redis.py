"""The client of the shared state, against a real server that comes and goes."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trustme
from prometheus_client import CollectorRegistry

from headrace.config.state import State
from headrace.errors import StateLost
from headrace.state.redis import Link
from headrace.telemetry.state import StateMetrics
from tests.ports import free_port
from tests.state.server import REDIS, RedisServer


class Events:
    """A log that remembers."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, object]]] = []

    def event(self, event: str, **fields: object) -> None:
        self.seen.append((event, fields))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.seen]


@asynccontextmanager
async def linked(config: State, log: Events, registry: CollectorRegistry) -> AsyncIterator[Link]:
    link = Link(config, StateMetrics(registry), log)
    await link.start()
    try:
        yield link
    finally:
        await link.stop()


async def until(true: Callable[[], bool], within_s: float = 20.0) -> None:
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.01)


async def test_operations_are_answered(server: RedisServer) -> None:
    """An operation gets the server's answer, and its time is counted."""
    registry = CollectorRegistry()
    async with linked(server.config(), Events(), registry) as link:
        await link.ask("set", "SET", link.key("a", "b"), b"1")
        found = await link.ask("get", "GET", "headrace:{a}:b")

        assert b"1" == found
        assert 1.0 == registry.get_sample_value(
            "headrace_state_up", {"state": server.config().place}
        )
        assert 1.0 == registry.get_sample_value(
            "headrace_state_operation_seconds_count", {"operation": "get"}
        )


async def test_lost_and_back_are_told_once(server: RedisServer) -> None:
    """
    While a server is gone operations fail at once, one event tells it, and one that it is back;
    the link finds that out by itself.
    """
    log, registry, back = Events(), CollectorRegistry(), []
    async with linked(server.config(), log, registry) as link:
        link.when_back(lambda: back.append(1))
        server.kill()
        for _ in range(5):
            with pytest.raises(StateLost):
                await link.ask("get", "GET", "x")
        began = time.monotonic()
        with pytest.raises(StateLost):
            await link.ask("get", "GET", "x")
        took_s = time.monotonic() - began

        assert ["state_lost"] == log.names
        assert took_s < server.config().timeout_s / 2
        assert 0.0 == registry.get_sample_value(
            "headrace_state_up", {"state": server.config().place}
        )
        assert 6.0 == registry.get_sample_value("headrace_state_errors_total", {"operation": "get"})

        server.start()
        await until(lambda: link.up)

        assert ["state_lost", "state_back"] == log.names
        assert [1] == back
        assert await link.ask("get", "GET", "x") is None


async def test_a_start_without_a_server_does_not_fail(server: RedisServer) -> None:
    """A gateway starts while the state is away, and uses it when it comes."""
    server.kill()
    log = Events()
    async with linked(server.config(), log, CollectorRegistry()) as link:
        assert not link.up

        server.start()
        await until(lambda: link.up)

    assert ["state_lost", "state_back"] == log.names


async def test_a_silent_server_costs_the_deadline(unused_port: int) -> None:
    """A server that takes connections and says nothing costs ``timeout_s`` once, then nothing."""
    with socket.create_server(("127.0.0.1", unused_port)):
        config = State.model_validate(
            {"url": f"redis://127.0.0.1:{unused_port}", "timeout_s": 0.05}
        )
        link = Link(config)
        began = time.monotonic()
        with pytest.raises(StateLost, match=r"no answer within 0\.05 s"):
            await link.ask("get", "GET", "x")
        took_s = time.monotonic() - began
        await link.stop()

    assert 0.04 < took_s


async def test_a_refused_command_is_no_loss(server: RedisServer) -> None:
    """A command that the server refuses fails, which is told once, and the server is up."""
    log = Events()
    async with linked(server.config(), log, CollectorRegistry()) as link:
        await link.ask("set", "SET", "text", b"x")
        for _ in range(2):
            with pytest.raises(StateLost, match="WRONGTYPE"):
                await link.ask("get", "HGETALL", "text")

        assert link.up
    assert ["state_refused"] == log.names


async def test_a_wrong_password_is_said_without_it(unused_port: int, server: RedisServer) -> None:
    """What goes wrong names the place and the setting, never the password."""
    locked = RedisServer(
        server.folder, "--requirepass", "right", port=unused_port, program=server.program
    )
    server.kill()
    config = State.model_validate({"url": f"redis://:wr0ng-one@127.0.0.1:{unused_port}/2"})
    link = Link(config)
    with locked, pytest.raises(StateLost) as failed:
        await link.ask("get", "GET", "x")
    await link.stop()

    assert f"redis://127.0.0.1:{unused_port}/2" in str(failed.value)
    assert "state.url" in str(failed.value)
    assert "wr0ng-one" not in str(failed.value)
    assert "wr0ng-one" not in repr(config)


@pytest.mark.parametrize("server", [REDIS], indirect=True)  # the Valkey at hand is without TLS
async def test_tls_is_checked(server: RedisServer, unused_port: int) -> None:
    """A certificate counts if its authority is known, or when it is said not to be checked."""
    folder, authority = server.folder, trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    files = ("--tls-cert-file", str(folder / "cert.pem"), "--tls-key-file", str(folder / "key.pem"))
    server.kill()
    secure = RedisServer(folder, *files, "--tls-auth-clients", "no", port=unused_port, tls=True)
    answers = []
    with secure:
        for more in ({"tls_ca": str(folder / "ca.pem")}, {"tls_verify": False}, {}):
            link = Link(secure.config(timeout_s=5, **more))
            try:
                answers.append(await link.ask("set", "SET", "a", 1))
            except StateLost as error:
                answers.append("certificate" in str(error).lower())
            await link.stop()

    assert [True, True, True] == answers
    with pytest.raises(StateLost, match="no such file"):
        Link(secure.config(tls_ca=str(folder / "other.pem")))


@pytest.fixture
def unused_port() -> int:
    return free_port()
