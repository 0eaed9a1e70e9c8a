"""peers.py: several gateways in one process, with a real Redis between them that may go away."""

import asyncio
from typing import Any

import msgspec
import pytest

from headrace.conformance import answers
from headrace.conformance.answers import after
from headrace.conformance.wire import Answer, Client
from headrace.gateway.app import Gateway
from headrace.routing.lane import Lane
from tests.edge.rig import CHAT_PATH, Rig, eventually, streamed
from tests.state.conftest import server
from tests.state.server import RedisServer

__all__ = ["server"]

SHARE_S = 0.05
STICKY = {"sticky_ms": 10_000}  # so that nothing else decides
PATIENCE_S = 10.0


def question(topic: str, words: int = 300) -> dict[str, Any]:
    """A streamed question of some hundred tokens that has nothing in common with other topics."""
    return streamed(messages=[{"role": "user", "content": f"{topic} " * words}])


async def post(gateway: Gateway, body: dict[str, Any], session: str = "") -> Answer:
    named = [("x-session-id", session)] if session else []
    async with Client(gateway.url) as client:
        return await client.post(CHAT_PATH, body, named)


async def replica(gateway: Gateway, body: dict[str, Any], session: str = "") -> str:
    """Who answers; the answer's last byte may be here before its record is."""
    before = len(gateway.records)
    answer = await post(gateway, body, session)
    assert 200 == answer.status, answer
    await eventually(lambda: len(gateway.records) == before + 1, str, PATIENCE_S)
    return gateway.records[-1].replica


def lanes(gateway: Gateway) -> dict[str, Lane]:
    return {lane.name: lane for lane in gateway.placement.lanes}


def pins(gateway: Gateway) -> int:
    return len(gateway.placement.models["m"].pool.sessions)


def value(gateway: Gateway, name: str, **labels: str) -> float:
    gateway.log.flush()
    return gateway.metrics.registry.get_sample_value(name, labels) or 0.0


async def hears(gateway: Gateway, peers: int) -> None:
    """Wait until it hears so many others."""
    await eventually(lambda: value(gateway, "headrace_peers") == peers, str, PATIENCE_S)


async def knows(gateway: Gateway, sessions: int) -> None:
    """Wait until it knows so many sessions."""
    await eventually(lambda: pins(gateway) == sessions, str, PATIENCE_S)


def held(gateway: Gateway) -> float:
    """Blocks that it believes to be cached, over all replicas."""
    return sum(gateway.placement.held().values())


class Pair:
    """Gateways that share a Redis, before the same engines."""

    def __init__(self, rig: Rig, server: RedisServer) -> None:
        self.rig = rig
        self.server = server
        self.state = {"url": server.url, "share_s": SHARE_S, "timeout_s": 10}

    async def gateway(self, **sections: Any) -> Gateway:
        return await self.rig.gateway(state=self.state, routing=STICKY, **sections)

    async def two(self) -> tuple[Gateway, Gateway]:
        """Two that have heard each other."""
        one, other = await self.gateway(), await self.gateway()
        for each in (one, other):
            await hears(each, 1)
        return one, other


@pytest.fixture
async def pair(rig: Rig, server: RedisServer) -> Pair:
    for _ in range(4):
        await rig.engine()
    return Pair(rig, server)


async def test_a_session_is_at_home_at_all_gateways(pair: Pair) -> None:
    """What one gateway has pinned the other goes by within a moment, whatever it would prefer."""
    one, other = await pair.two()
    for number in range(8):
        home = await replica(one, question(f"a{number}"), f"s{number}")
        await knows(other, number + 1)

        assert home == await replica(other, question(f"b{number}"), f"s{number}")
    assert 0 == value(other, "headrace_session_moves_total", model="m")


async def test_pins_survive_a_restart(pair: Pair) -> None:
    """A gateway that starts when all others are gone knows the sessions of before."""
    first = await pair.gateway()
    homes = {f"s{n}": await replica(first, question(f"a{n}"), f"s{n}") for n in range(6)}
    await first.stop(drain_s=0.1)
    second = await pair.gateway()
    await knows(second, 6)

    assert homes == {key: await replica(second, question(f"b{key}"), key) for key in homes}


async def test_a_pin_whose_replica_is_gone_is_made_anew(pair: Pair) -> None:
    """The session goes elsewhere, stays there, and both is counted and told."""
    one, other = await pair.two()
    home = await replica(one, question("a"), "s")
    await knows(other, 1)
    for gateway in (one, other):
        gateway.fleet.remove(home)
    second = await replica(other, question("b"), "s")

    assert home != second
    assert 1 == value(other, "headrace_session_repins_total", model="m")
    await eventually(
        lambda: second in one.placement.models["m"].pool.sessions._homes.values(), str, PATIENCE_S
    )
    assert second == await replica(one, question("c"), "s")


async def test_prefixes_of_others_are_known(pair: Pair) -> None:
    """A prompt that one gateway has sent somewhere the other sends there, too."""
    one, other = await pair.two()
    for topic in ("x", "y", "z"):
        before = held(other)
        home = await replica(one, question(topic, 900))
        await eventually(lambda before=before: held(other) > before, str, PATIENCE_S)  # type: ignore[misc]

        assert home == await replica(other, question(topic, 900))
    decision = other.records[-1].decision
    assert decision is not None
    assert 0 < decision.cached


async def test_requests_of_others_count(rig: Rig, server: RedisServer) -> None:
    """What one gateway has at a replica the other sees, until it ends or its gateway stops."""
    go = asyncio.Event()
    for _ in range(2):
        await rig.engine(after(go, answers.like_vllm))
    one, other = await Pair(rig, server).two()
    task = asyncio.create_task(post(one, question("a")))
    await eventually(lambda: sum(lane.own for lane in one.placement.lanes) == 1)
    (busy,) = [lane.name for lane in one.placement.lanes if lane.own]
    lane = lanes(other)[busy]
    await eventually(lambda: lane.inflight == 1, str, PATIENCE_S)

    assert (0, 1) == (lane.own, one.placement.promised(one.fleet.replicas[busy]))
    assert 0 == other.placement.promised(other.fleet.replicas[busy])
    assert lane.unprefilled > 0

    go.set()
    assert 200 == (await task).status
    await eventually(lambda: lane.inflight == 0 and lane.unprefilled == 0, str, PATIENCE_S)

    await one.stop(drain_s=0.1)
    await hears(other, 0)


async def test_redis_may_die_under_requests(pair: Pair) -> None:
    """
    Nothing fails and nobody waits while Redis is away; gateways go on alone, and find each other
    again when it is back.
    """
    one, other = await pair.two()
    statuses: list[int] = []

    async def ask(number: int) -> None:
        gateway = (one, other)[number % 2]
        statuses.append((await post(gateway, question(f"q{number}"), f"s{number % 5}")).status)

    pair.server.kill()
    await asyncio.gather(*(ask(number) for number in range(20)))
    await hears(one, 0)

    assert [200] * 20 == statuses
    assert 0 == value(one, "headrace_state_up", state=one.config.state.place)
    assert 0 < value(one, "headrace_peer_reports_total", result="lost")
    assert {0} == {lane.others.inflight for lane in one.placement.lanes}

    pair.server.start()
    for each in (one, other):
        await hears(each, 1)
    before = pins(other)
    home = await replica(one, question("later"), "later")
    await knows(other, before + 1)

    assert home == await replica(other, question("again"), "later")


async def test_words_that_are_no_report_are_counted(pair: Pair) -> None:
    """Whatever is said in the channel by whomever, a gateway only counts what it cannot read."""
    one, other = await pair.two()
    assert other.state is not None
    lane = one.placement.models["m"].pool.lanes[0].name
    wrong = msgspec.msgpack.encode(["else", 1, {}, [[lane, [-1]]]])
    for word in (b"", b"hello", wrong):
        await other.state.ask("share", "PUBLISH", other.state.key("peers", "channel"), word)

    await eventually(
        lambda: value(one, "headrace_peer_reports_total", result="bad") == 3, str, PATIENCE_S
    )
    assert 1 == value(one, "headrace_peers")


async def test_what_is_too_much_is_not_told(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report has a size that it does not pass; what is left out is counted, and nobody waits."""
    monkeypatch.setattr("headrace.gateway.peers.MOST_BLOCKS", 4)
    monkeypatch.setattr("headrace.gateway.peers.MOST_PINS", 2)
    one, other = await pair.two()
    await asyncio.gather(*(post(one, question(f"q{n}", 900), f"s{n}") for n in range(20)))
    await eventually(lambda: value(one, "headrace_peer_untold_total") > 0, str, PATIENCE_S)

    assert 200 == (await post(other, question("more"))).status


async def test_alone_there_is_nothing_to_tell(rig: Rig) -> None:
    """Without a shared state nothing is kept for others."""
    for _ in range(2):
        await rig.engine()
    gateway = await rig.gateway()
    await replica(gateway, question("a"), "s")

    assert gateway.peers is None
    assert gateway.placement.sent is None
    assert gateway.placement.models["m"].pool.sessions.fresh is None
    assert None is gateway.metrics.registry.get_sample_value("headrace_peers")
