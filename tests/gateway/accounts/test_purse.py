"""purse.py: gateways that share limits in a real Redis, also when it is killed under load."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from headrace.admission.limits import Level
from headrace.conformance import answers
from headrace.conformance.wire import Answer, Client
from headrace.gateway.app import Gateway
from headrace.state.limits import Row, SharedLimits
from tests.edge.rig import CHAT_PATH, Rig, ask, eventually, openai_error, retry_after
from tests.state.server import RedisServer

SPENT = 41  # tokens of each answer of the fake engine


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A Redis on a socket whose path is short enough."""
    with TemporaryDirectory(prefix="hr-", dir="/tmp") as folder, RedisServer(Path(folder)) as found:
        yield found


def _told(shared: SharedLimits) -> bool:
    return not (shared.waiting or shared.leases)


class Fleet:
    """Several gateways with the same limits before one engine."""

    def __init__(self, rig: Rig, server: RedisServer, limits: dict[str, Any]) -> None:
        self._rig = rig
        self._server = server
        self._limits = limits
        self.gateways: list[Gateway] = []

    async def start(self, number: int = 2) -> "Fleet":
        await self._rig.engine(answers.like_vllm)
        state = {"url": self._server.url, "timeout_s": 10}
        for _ in range(number):
            gateway = await self._rig.gateway(limits=self._limits, state=state)
            self.gateways.append(gateway)
        for gateway in self.gateways:  # each sees those that came after it
            assert gateway.quota.purse.shared is not None
            await gateway.quota.purse.shared.renew()
        return self

    async def post(self, gateway: int = 0, **more: Any) -> Answer:
        async with Client(self.gateways[gateway].url) as client:
            return await client.post(CHAT_PATH, ask(**more))

    async def settled(self) -> None:
        """All ends are written."""
        for gateway in self.gateways:
            shared = gateway.quota.purse.shared
            assert shared is not None
            await eventually(partial(_told, shared), timeout_s=30)

    async def level(self, name: str) -> Level:
        found = await self.gateways[0].quota.shown()
        return next(
            Level(each.used, each.held)
            for each in found
            if (each.bound.whom, each.bound.name) == ("", name)
        )

    def asked_in_vain(self) -> bool:
        """Requests came to each gateway while it had no Redis."""
        return all(any(each.quota.seen().lost.values()) for each in self.gateways)

    def lost(self, number: int = 0) -> bool:
        state = self.gateways[number].state
        return state is not None and not state.up


async def test_one_limit_for_all(rig: Rig, server: RedisServer) -> None:
    """Two gateways together let as much pass as is allowed, however it is spread."""
    fleet = await Fleet(rig, server, {"tenant": {"requests_per_minute": 6}}).start()
    found = await asyncio.gather(*(fleet.post(number % 2) for number in range(12)))

    assert {200: 6, 429: 6} == Counter(answer.status for answer in found)
    assert {"0", "1", "2", "3", "4", "5"} == {
        answer.header("x-ratelimit-remaining-requests") for answer in found if answer.status == 200
    }


async def test_held_and_settled(rig: Rig, server: RedisServer) -> None:
    """The ends of requests at both are written behind, and nothing stays held."""
    limits = {"tokens_per_day": 100_000, "concurrent_requests": 50}
    fleet = await Fleet(rig, server, {"tenant": limits}).start()
    found = await asyncio.gather(*(fleet.post(number % 2) for number in range(8)))
    await fleet.settled()

    assert {200} == {answer.status for answer in found}
    assert Level(8 * SPENT, 0) == await fleet.level("tokens_per_day")
    assert Level(0, 0) == await fleet.level("concurrent_requests")


async def test_a_client_that_leaves_while_it_is_asked(rig: Rig, server: RedisServer) -> None:
    """What a request holds that is ended while Redis is asked is given back."""
    fleet = await Fleet(rig, server, {"tenant": {"tokens_per_day": 100_000}}).start(1)
    gateway = fleet.gateways[0]
    for _ in range(5):
        client = await Client(gateway.url).__aenter__()
        task = asyncio.create_task(client.post(CHAT_PATH, ask()))
        await asyncio.sleep(0.001)
        client.reset()
        await asyncio.gather(task, return_exceptions=True)
    await rig.idle()
    await fleet.settled()

    assert 0 == (await fleet.level("tokens_per_day")).held


@pytest.mark.parametrize("limits", [{"models": {"m": {"tokens_per_day": 100}}}])
async def test_a_model_for_all_gateways(
    rig: Rig, server: RedisServer, limits: dict[str, Any]
) -> None:
    """What all tenants share of a model all gateways share; a refusal leaves nothing held."""
    limits |= {"tenant": {"tokens_per_day": 10_000}}
    fleet = await Fleet(rig, server, limits).start()
    passed = await fleet.post(0, max_tokens=50)
    await fleet.settled()
    refused = await fleet.post(1, max_tokens=50)
    await fleet.settled()

    assert 200 == passed.status
    openai_error(refused, 429, "insufficient_quota")
    assert Level(SPENT, 0) == await fleet.level("tokens_per_day")


class TestLost:
    async def load(self, fleet: Fleet, until: asyncio.Event) -> Counter[str]:
        """Requests at all gateways, one after the other at each, until they are to stop."""
        found: Counter[str] = Counter()

        async def ask_on(gateway: int) -> None:
            while not until.is_set():
                answer = await fleet.post(gateway, max_tokens=10)
                code = "" if answer.status == 200 else answer.json()["error"]["code"]
                found[f"{answer.status} {code}".strip()] += 1
                await asyncio.sleep(0)

        await asyncio.gather(*(ask_on(number) for number in range(len(fleet.gateways))))
        return found

    async def through(self, fleet: Fleet, server: RedisServer) -> Counter[str]:
        """Kill Redis in the middle of a load, and start it again."""
        over = asyncio.Event()
        task = asyncio.create_task(self.load(fleet, over))
        await asyncio.sleep(0.2)
        server.kill()
        await eventually(lambda: fleet.lost(0) and fleet.lost(1), timeout_s=30)
        await eventually(fleet.asked_in_vain, timeout_s=30)
        await asyncio.to_thread(server.start)
        await eventually(lambda: not (fleet.lost(0) or fleet.lost(1)), timeout_s=30)
        await asyncio.sleep(0.2)
        over.set()
        return await task

    async def test_open(self, rig: Rig, server: RedisServer) -> None:
        """Nobody is refused for it, and what was used meanwhile is counted afterwards."""
        fleet = await Fleet(rig, server, {"tenant": {"tokens_per_day": 10**9}}).start()
        found = await self.through(fleet, server)
        await fleet.settled()
        lost = [gateway.quota.seen().lost["open"] for gateway in fleet.gateways]

        assert {"200"} == set(found)
        assert min(lost) > 0
        level = await fleet.level("tokens_per_day")
        assert 0 == level.held
        # A settlement whose answer was lost with the server may be repeated, never forgotten.
        assert found["200"] * SPENT <= level.used <= (found["200"] + 4) * SPENT

    async def test_closed(self, rig: Rig, server: RedisServer) -> None:
        """Nothing passes while nobody can be asked: 503 with the reason; then all goes on."""
        limits = {"tenant": {"tokens_per_day": 10**9}, "on_loss": "closed"}
        fleet = await Fleet(rig, server, limits).start()
        found = await self.through(fleet, server)
        await fleet.settled()

        assert {"200", "503 limits_unavailable"} == set(found)
        assert found["503 limits_unavailable"] == sum(
            gateway.quota.seen().lost["closed"] for gateway in fleet.gateways
        )
        assert Level(found["200"] * SPENT, 0) == await fleet.level("tokens_per_day")

    async def test_a_part_of_a_rate(self, rig: Rig, server: RedisServer) -> None:
        """Two gateways that were seen have a half each, and say so."""
        fleet = await Fleet(rig, server, {"tenant": {"requests_per_minute": 8}}).start()
        server.kill()
        found = [await fleet.post(number % 2) for number in range(12)]

        assert {200: 8, 429: 4} == Counter(answer.status for answer in found)
        message = openai_error(found[-1], 429, "rate_limit_exceeded")["message"]
        assert "is 4 requests per minute, as this gateway's part while it cannot ask" in message

    async def test_each_outage_has_parts_of_its_own(self, rig: Rig, server: RedisServer) -> None:
        """What one let in by itself is forgotten when Redis answers: the next part is whole."""
        limits = {"tenant": {"requests_per_minute": 8}, "gateways": 2}
        fleet = await Fleet(rig, server, limits).start(1)
        server.kill()
        alone = [(await fleet.post()).status for _ in range(5)]
        await eventually(fleet.lost, timeout_s=30)
        await asyncio.to_thread(server.start)
        await eventually(lambda: not fleet.lost(), timeout_s=30)
        together = (await fleet.post()).status
        server.kill()
        again = (await fleet.post()).status

        assert ([200, 200, 200, 200, 429], 200, 200) == (alone, together, again)

    async def test_a_part_of_what_was_left(self, rig: Rig, server: RedisServer) -> None:
        """Of a day's budget it is a part of what was left when Redis was last heard."""
        limits = {"tenant": {"tokens_per_day": 4 * SPENT + 60}, "gateways": 2}
        fleet = await Fleet(rig, server, limits).start()
        for number in (0, 1, 0, 1):
            await fleet.post(number, max_tokens=10)
            await fleet.settled()
        server.kill()
        found = [(await fleet.post(number, max_tokens=10)).status for number in (0, 1, 0, 1)]

        assert [200, 200, 429, 429] == found

    async def test_closed_says_when_to_come_back(self, rig: Rig, server: RedisServer) -> None:
        """Its 503 has a time to come back, and no limit is blamed."""
        limits = {"tenant": {"requests_per_minute": 8}, "on_loss": "closed"}
        fleet = await Fleet(rig, server, limits).start(1)
        server.kill()
        refused = await fleet.post()

        openai_error(refused, 503, "limits_unavailable")
        assert 1 == retry_after(refused)
        assert {} == fleet.gateways[0].quota.seen().rejected

    async def test_an_empty_one_comes_back(self, rig: Rig, server: RedisServer) -> None:
        """One that has forgotten is told what was used of days."""
        fleet = await Fleet(rig, server, {"tenant": {"tokens_per_day": 10_000}}).start(1)
        for _ in range(3):
            await fleet.post()
            await fleet.settled()
        await fleet.post()
        await fleet.settled()
        server.kill()
        await eventually(fleet.lost, timeout_s=30)
        for file in server.folder.glob("appendonlydir/*"):
            file.unlink()
        await asyncio.to_thread(server.start)
        await eventually(lambda: not fleet.lost(), timeout_s=30)
        await fleet.settled()

        assert 3 * SPENT <= (await fleet.level("tokens_per_day")).used

    async def test_an_empty_one_hears_of_the_outage(self, rig: Rig, server: RedisServer) -> None:
        """What every gateway used meanwhile counts beside what all used before, not instead."""
        fleet = await Fleet(rig, server, {"tenant": {"tokens_per_day": 10_000}}).start(2)
        for number in (0, 1, 0, 1):
            await fleet.post(number)
            await fleet.settled()
        server.kill()
        await eventually(lambda: fleet.lost(0) and fleet.lost(1), timeout_s=30)
        for number in (0, 1, 0, 1):
            assert 200 == (await fleet.post(number)).status
        for file in server.folder.glob("appendonlydir/*"):
            file.unlink()
        await asyncio.to_thread(server.start)
        await eventually(lambda: not fleet.lost(0) and not fleet.lost(1), timeout_s=30)
        await fleet.settled()

        # The fourth was not asked about again before the server was lost.
        assert (3 + 4) * SPENT <= (await fleet.level("tokens_per_day")).used


async def test_a_killed_gateway(rig: Rig, server: RedisServer) -> None:
    """What a gateway held that is gone is free for the others after its lease."""
    limits = {"tenant": {"concurrent_requests": 1}, "lease_s": 2.0}
    fleet = await Fleet(rig, server, limits).start(1)
    gateway = fleet.gateways[0]
    bound = next(each.bound for each in await gateway.quota.shown() if each.bound.whom == "")
    assert gateway.state is not None
    # Killed in the middle of a request: it renews nothing and settles nothing.
    killed = SharedLimits(gateway.state, 2.0)
    row = Row(bound.field, 0, bound.kind, bound.most, bound.burst_us, 1, 1)
    await killed.take(killed.lease(), {bound.tag: [row]})
    refused = await fleet.post()
    statuses = []
    for _ in range(400):
        statuses.append((await fleet.post()).status)
        if statuses[-1] == 200:
            break
        await asyncio.sleep(0.05)

    assert 429 == refused.status
    assert 200 == statuses[-1]
