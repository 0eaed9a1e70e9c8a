"""app.py: what stops a start, where the gateway listens, and that stop is the end of everything."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from headrace.config.schema import Config
from headrace.conformance import answers
from headrace.conformance.wire import Client
from headrace.errors import StartError
from headrace.gateway.app import Gateway
from tests.edge.rig import Rig, ask, openai_error, streamed


def gateway(**tree: Any) -> Gateway:
    server = {"port": 0, **tree.pop("server", {})}
    return Gateway(Config.model_validate({"server": server, **tree}))


class TestStart:
    async def test_the_port_is_in_use(self) -> None:
        """The error names the port and what to do; nothing keeps listening."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]

            with pytest.raises(StartError, match=f"^Port {port} on 127.0.0.1 is in use; "):
                await gateway(server={"port": port}).start()

    @pytest.mark.parametrize("host", ["192.0.2.1", "nowhere.invalid"])
    async def test_no_such_address(self, host: str) -> None:
        """An address that is not this machine's, or none at all, is named."""
        with pytest.raises(StartError, match=rf"^Cannot listen on {host}:0: .+\.$"):
            await gateway(server={"host": host}, identity={"anonymous": True}).start()

    @pytest.mark.parametrize("file", ["/nowhere/log", "/", "/proc/sys/kernel/version"])
    async def test_no_log_file(self, file: str) -> None:
        """A log file that cannot be opened is named, whatever the reason; the port is free."""
        broken = gateway(logging={"file": file})

        with pytest.raises(StartError, match=f"^Cannot open the log file {file}: "):
            await broken.start()

    async def test_after_a_failed_start_the_port_is_free(self, unused_tcp_port: int) -> None:
        """What failed for its log file does not hold the port."""
        with pytest.raises(StartError):
            await gateway(server={"port": unused_tcp_port}, logging={"file": "/"}).start()

        works = gateway(server={"port": unused_tcp_port})
        await works.start()
        await works.stop(drain_s=0)

        assert unused_tcp_port == works.port


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:7"),
        ("0.0.0.0", "http://127.0.0.1:7"),
        ("::", "http://[::1]:7"),
        ("::1", "http://[::1]:7"),
        ("gateway", "http://gateway:7"),
    ],
)
def test_url(host: str, url: str) -> None:
    """An address that a client on this machine can use."""
    assert url == gateway(server={"host": host, "port": 7}).url


def test_the_catalogue_without_one() -> None:
    """When no model is declared, what the backends serve is: each name once, in order."""
    backends = [
        {"url": "http://a", "serves": ["n", "m"]},
        {"url": "http://b", "serves": {"m": "x", "o": "y"}},
    ]

    built = gateway(backends=backends)

    assert ["n", "m", "o"] == [model.name for model in built.catalogue.models]
    assert ["n", "m", "o"] == [*built.fleet.groups]


async def test_the_log_tells_the_life(rig: Rig, tmp_path: Path) -> None:
    """Start, requests, drain and stop are lines of the log, in this order."""
    await rig.engine()
    started = await rig.gateway(logging={"file": str(tmp_path / "log")})
    await rig.post(ask())
    await rig.idle()
    await started.stop(drain_s=0)

    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [
        "replica_state",  # starting
        "replica_state",  # ready
        "gateway_started",
        "request",
        "gateway_draining",
        "gateway_stopped",
    ] == [line["event"] for line in lines]
    assert (started.url, "completed") == (lines[2]["url"], lines[3]["outcome"])


async def test_old_records_are_forgotten(rig: Rig) -> None:
    """The latest thousand requests are kept for whoever asks, no more."""
    await rig.engine()
    started = await rig.gateway()
    async with rig.client() as client:
        for number in range(1003):
            started.records.append(f"before {number}")  # type: ignore[arg-type]
        await client.post("/v1/chat/completions", ask())

    assert 1000 == len(started.records)
    assert "completed" == started.records[-1].outcome


async def test_a_scrape_whose_client_left(rig: Rig) -> None:
    """A client that leaves during a scrape is nobody's error."""
    await rig.gateway(urls=[])
    async with rig.client() as client:
        await client.send(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
    answer = await rig.get("/metrics")

    assert 200 == answer.status


async def test_an_unexpected_error_is_an_answer(rig: Rig) -> None:
    """What no line of ours foresaw is a 500 in the client's dialect, not a client that waits."""
    engine = await rig.engine()
    started = await rig.gateway()
    [replica] = started.fleet.replicas.values()
    replica.serves.clear()  # no such thing can be configured
    async with rig.client() as client:
        await client.send(b"")
        failed = await client.post("/v1/chat/completions", ask())

    openai_error(failed, 500)
    assert [] == engine.exchanges
    assert 500 == started.records[-1].status


async def test_engines_see_the_places_that_requests_have(rig: Rig) -> None:
    """A request is at its replica from the decision to its end, and keeps it from being stopped."""
    engine = await rig.engine(answers.streams_then(answers.chat_frames("m")[0], then=answers.hangs))
    started = await rig.gateway()
    [replica] = started.fleet.replicas.values()
    async with rig.client() as client:
        answer = await client.open("POST", "/v1/chat/completions", streamed())
        await answer.event()
        during = started.floor.traffic(replica.name), started.placement.promised(replica)
        kept = not started.floor.leave(replica.name, "idle")
    await engine.exchanges[0].wait_closed()
    await rig.idle()
    after = started.floor.traffic(replica.name), started.placement.promised(replica)

    assert (((1, 1), 1), True, ((1, 0), 0)) == (during, kept, after)
    assert (0, 0) == (started.placement.queued("m"), started.placement.queued("unknown"))
    assert started.floor.leave(replica.name, "idle")
    assert 0 == started.placement.promised(replica)


@pytest.mark.parametrize("times", [2])
async def test_stop_ends_streams_and_connections(rig: Rig, times: int) -> None:
    """After stop no connection is open: the engine sees its stream end, idle clients theirs."""
    engine = await rig.engine(answers.streams_then(answers.chat_frames("m")[0], then=answers.hangs))
    started = await rig.gateway()
    async with Client(started.url) as idle, Client(started.url) as busy:
        await idle.get("/health")
        answer = await busy.open("POST", "/v1/chat/completions", streamed())
        await answer.event()
        for _ in range(times):
            await started.stop(drain_s=0)
        await answer.finish()

        assert b"" == await idle.read_to_end()
        assert answer.ended
    await engine.exchanges[0].wait_closed()
    assert (set(), 0) == (started.clients, started.fleet.inflight_requests)
