"""Whatever clients, engines and the fleet do, in whatever order: nothing is left, nothing grows."""

import asyncio
import contextlib
import gc
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import uvloop
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace.conformance import answers, fake, wire
from headrace.fleet.registry import Lease
from headrace.gateway.door.client import Client
from headrace.gateway.door.request import Request
from headrace.gateway.exchange import Exchange
from headrace.gateway.send.relay import Relay
from headrace.gateway.send.stream import Frames
from headrace.upstream.connection import Connection, Reply
from tests.edge.rig import CHAT_PATH, Rig, ask, eventually, streamed

ENGINES = 2
FRAMES = answers.chat_frames("m")
# Everything that lives as long as one request.
BRIEF = (Exchange, Relay, Frames, Request, Reply, Lease)

MOODS: dict[str, fake.Script] = {
    "well": answers.like_vllm,
    "refuses": answers.says(503, answers.error(503)),
    "rejects": answers.says(400, answers.ERR_CONTEXT),
    "resets": answers.resets,
    "hangs": answers.hangs,
    "nonsense": answers.raw(b"nonsense\r\n\r\n", close=True),
    "breaks off": answers.streams_then(*FRAMES[:2], then=answers.resets),
    "dries up": answers.streams_then(*FRAMES[:2], then=answers.hangs),
}
LEAVES = ("stays", "in its request", "at once", "after the head", "in the stream", "asks again")


@dataclass(frozen=True)
class Visit:
    """A client comes: how the engine feels about it, and when it leaves."""

    mood: str = "well"
    leaves: str = "stays"
    stream: bool = True
    rude: bool = False  # leaves by a reset


@dataclass(frozen=True)
class Turn:
    """Something happens to an engine: it dies, comes back, joins or leaves the fleet."""

    what: str
    engine: int = 0


@dataclass(frozen=True)
class Pause:
    """The loop goes round some times."""

    turns: int = 1


Action = Visit | Turn | Pause
actions = st.lists(
    st.builds(
        Visit, st.sampled_from([*MOODS]), st.sampled_from(LEAVES), st.booleans(), st.booleans()
    )
    | st.builds(Turn, st.sampled_from(["die", "live", "join", "part"]), st.integers(0, ENGINES - 1))
    | st.builds(Pause, st.integers(1, 30)),
    max_size=25,
)
OUTAGE: list[Action] = [
    Turn("die"), Visit(), Pause(5), Turn("live"), Turn("part", 1), Visit(), Turn("join", 1),
]  # fmt: skip
EVERY: list[Action] = [
    *(
        step
        for mood in MOODS
        for leaves in LEAVES
        for step in (Visit(mood, leaves), Visit(mood, leaves, stream=False, rude=True), Pause(9))
    ),
    *OUTAGE,
]


class Storm:
    """A gateway, its engines, and the clients that are on their way."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self._visits: set[asyncio.Task[None]] = set()

    async def play(self, actions: list[Action]) -> None:
        """Do all of it, then wait for those who stay."""
        for action in actions:
            if isinstance(action, Visit):
                self._visits.add(asyncio.create_task(self._visit(action)))
            elif isinstance(action, Turn):
                await self._turn(action)
            else:
                for _ in range(action.turns):
                    await asyncio.sleep(0)
        if self._visits:
            await asyncio.wait(self._visits, timeout=10)
        for visit in self._visits:
            visit.result()
        self._visits.clear()
        await self.rig.idle()

    async def calm(self) -> None:
        """Every engine lives and is in the fleet again."""
        for number in range(ENGINES):
            await self._turn(Turn("live", number))
            await self._turn(Turn("join", number))

    async def _turn(self, turn: Turn) -> None:
        engine, fleet = self.rig.engines[turn.engine], self.rig.gateway_now.fleet
        match turn.what:
            case "die":
                await engine.kill()
            case "live" if engine._server is None:
                await engine.start()
            case "join":
                fleet.add(self.rig.backend(engine))
            case "part":
                fleet.remove(f"127.0.0.1:{engine.port}")

    async def _visit(self, visit: Visit) -> None:
        body = (streamed if visit.stream else ask)(mood=visit.mood)
        whole = wire.request("POST", CHAT_PATH, body)
        client = wire.Client(self.rig.gateway_now.url)
        with contextlib.suppress(ConnectionError, EOFError):
            async with client:
                await self._talk(client, visit, whole)
                if visit.rude:
                    client.reset()

    async def _talk(self, client: wire.Client, visit: Visit, whole: bytes) -> None:
        half = visit.leaves == "in its request"
        await client.send(whole[: len(whole) // 2] if half else whole)
        if visit.leaves == "asks again":
            await client.send(whole)
        if visit.leaves in {"in its request", "at once"}:
            await asyncio.sleep(0)
            return
        answer = await client.answer()
        if visit.leaves == "after the head":
            return
        if visit.leaves == "in the stream":
            await answer.event()
            return
        await answer.finish()


async def moody(exchange: fake.Exchange) -> None:
    """Answer as the request says."""
    await MOODS[exchange.json()["mood"]](exchange)


@contextlib.asynccontextmanager
async def storm() -> AsyncIterator[Storm]:
    """A fleet in front of which anything may happen; when it is over nothing may be left."""
    rig = Rig()
    for _ in range(ENGINES):
        await rig.engine(moody)
    clocks = {"queue_s": 0.05, "first_byte_s": 0.1, "chunk_s": 0.1, "total_s": 0.3}
    await rig.gateway(timeouts=clocks)
    try:
        yield Storm(rig)
    finally:
        await rig.close()


def living(*kinds: type) -> Counter[str]:
    """How many objects of these kinds there are."""
    return Counter(type(each).__name__ for each in gc.get_objects() if isinstance(each, kinds))


@pytest.mark.timeout(240)
@settings(max_examples=10)
@given(actions)
@example([Turn("die", 0), Turn("die", 1), Visit(), Visit("hangs", "at once"), Turn("live", 1)])
@example([Visit("dries up", "stays"), Pause(30), Turn("part", 0), Turn("part", 1), Turn("join", 0)])
def test_after_any_storm_nothing_is_left(actions: list[Action]) -> None:
    """No lease, no held byte, no task and no object; and the next request is answered."""

    async def play() -> None:
        async with storm() as run:
            gateway = run.rig.gateway_now
            await run.play(actions)
            sums = (gateway.fleet.inflight_requests, gateway.fleet.inflight_tokens)
            held = gateway.buffered_bytes
            await run.calm()
            answer = await run.rig.post(ask(mood="well"))

            assert ((0, 0), 0, 200) == (sums, held, answer.status)
            records = [record for record in gateway.records if record.attempts]
            assert all(record.outcome for record in records)

    uvloop.run(play())
    gc.collect()
    assert Counter() == living(*BRIEF, Client, Connection)


@pytest.mark.timeout(240)
def test_memory_is_flat() -> None:
    """Storm after storm as much is left, and none of our objects waits for the collector."""

    async def play() -> None:
        async with storm() as run:
            gateway = run.rig.gateway_now
            sizes = []
            for number in range(14):
                await run.play(EVERY)
                await run.calm()
                await eventually(lambda: not gateway.clients, lambda: repr(gateway.clients))
                gateway.records.clear()
                if gateway.diary.ring is not None:
                    gateway.diary.ring.clear()
                gateway.log.flush()
                for engine in run.rig.engines:  # what the test itself remembers
                    engine.exchanges.clear()
                    engine.links[:] = engine.open_links
                assert Counter() == living(*BRIEF, Client), number
                assert living(Connection)["Connection"] <= 2 * ENGINES
                gc.collect()  # the test's own engines leave cycles
                sizes.append(sys.getallocatedblocks())
            # In seven storms of some hundred requests; one block each would be more than 600.
            if sys.gettrace() is None:  # who measures coverage remembers more and more lines
                assert sizes[-1] - sizes[6] < 600, sizes

    gc.collect()
    gc.disable()
    try:
        uvloop.run(play())
    finally:
        gc.enable()
