"""limits.py and limits.lua: the accounts in a real Redis do what those in memory do, for all."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.admission.limits import Accounts, Amounts, Bound, Claim, Kind, Level, Refusal
from headrace.errors import StateLost
from headrace.state.limits import Reply, Row, SharedLimits
from headrace.state.redis import Link, Silent
from tests.state.server import RedisServer

SECOND = 1_000_000
TAG = "tenant:acme"
RATE = Row("tokens_per_minute", 0, "rate", 1000, 60e6, 300, 50)
DAY = Row("tokens_per_day", 20261121, "window", 1000, 60e6, 300, 50)
SLOT = Row("concurrent_requests", 0, "slots", 2, 60e6, 1, 1)
ONCE = Row("requests_per_minute", 0, "once", 60, 60e6, 1, 1)


@pytest.fixture
async def link(server: RedisServer) -> AsyncIterator[Link]:
    link = Link(server.config())
    yield link
    await link.stop()


@pytest.fixture(scope="module")
def lasting() -> Iterator[RedisServer]:
    """One server for all examples of a property."""
    with TemporaryDirectory(prefix="hr-", dir="/tmp") as folder, RedisServer(Path(folder)) as found:
        yield found


async def take(shared: SharedLimits, *rows: Row) -> tuple[str, Reply]:
    lease = shared.lease()
    return lease, (await shared.take(lease, {TAG: rows}))[0]


async def levels(shared: SharedLimits, *rows: Row) -> list[tuple[float, int]]:
    asked = [(row.field, row.window, row.kind) for row in rows]
    return (await shared.look({TAG: asked}))[TAG]


async def test_held_and_settled(link: Link) -> None:
    """What is held is free again at the end, and what was used is spent."""
    shared = SharedLimits(link, 30, at_us=SECOND)
    lease, first = await take(shared, RATE, DAY, SLOT)
    held = await levels(shared, RATE, DAY, SLOT)
    shared.settle(lease, {TAG: [60, 60, 1]})
    await shared.flush()

    assert (0, [(0, 300), (0, 300), (0, 1)]) == (first.refused, [*first.levels])
    assert [(0, 300), (0, 300), (0, 1)] == held
    assert [(3.6 * SECOND, 0), (60, 0), (0, 0)] == await levels(shared, RATE, DAY, SLOT)
    assert (0, 0, 1) == (shared.leases, shared.waiting, shared.written)


class Trips(Silent):
    """Counts round trips by what they are for."""

    def __init__(self) -> None:
        self.count = Counter[str]()

    def took(self, operation: str, _seconds: float) -> None:
        self.count[operation] += 1


async def test_one_round_trip_each_way(server: RedisServer) -> None:
    """
    A request is one command to be held, however many limits it has, and one when it has ended;
    requests that end together are told in one round trip.
    """
    trips = Trips()
    link = Link(server.config(), trips)
    shared = SharedLimits(link, 30, at_us=SECOND)
    await take(shared, RATE)  # from here on the server knows the script
    trips.count.clear()
    reader, writer = await asyncio.open_unix_connection(server.path)
    writer.write(b"MONITOR\r\n")
    assert b"+OK\r\n" == await reader.readline()
    slot = SLOT._replace(most=9)
    first, _ = await take(shared, RATE, DAY, slot, ONCE)
    held = dict(trips.count)
    others = [(await take(shared, RATE._replace(cost=1), DAY, slot))[0] for _ in range(2)]
    for lease in (first, *others):
        shared.settle(lease, {})
    await shared.flush()
    sent = [await command(reader) for _ in range(6)]
    writer.close()
    await writer.wait_closed()
    await link.stop()

    assert {"limits": 1} == held
    assert {"limits": 3, "limits_settled": 1} == trips.count
    assert ["EVALSHA"] * 6 == sent


async def command(reader: asyncio.StreamReader) -> str:
    """The next that a client has sent, as MONITOR tells it; what a script does inside is none."""
    while b" lua] " in (line := await reader.readline()):
        pass
    return line.decode().split('"')[1].upper()


async def test_the_limit_that_refuses(link: Link) -> None:
    """It is named by its place, with what it lacks; nothing of the others is taken."""
    shared = SharedLimits(link, 30, at_us=SECOND)
    found = [(await take(shared, RATE, SLOT))[1] for _ in range(3)]
    more = (await take(shared, RATE._replace(cost=401)))[1]

    assert [0, 0, 2] == [reply.refused for reply in found]
    assert (1, 60_000) == (more.refused, more.lacking)
    assert [(0, 600), (0, 2)] == await levels(shared, RATE, SLOT)


async def test_the_server_forgets_the_script(link: Link) -> None:
    """After SCRIPT FLUSH it is loaded again, and no request notices."""
    shared = SharedLimits(link, 30)
    await take(shared, ONCE)
    await link.ask("test", "SCRIPT", "FLUSH")

    assert 0 == (await take(shared, ONCE))[1].refused
    assert 1 < (await levels(shared, ONCE))[0][0] <= 2 * SECOND


async def test_one_round_trip(link: Link) -> None:
    """All limits of a request, of both tags, are asked for in one operation."""
    took: list[str] = []

    class Meter:
        def up(self, state: str, now: bool) -> None: ...
        def failed(self, operation: str) -> None: ...
        def took(self, operation: str, seconds: float) -> None:
            took.append(operation)

    shared = SharedLimits(link, 30)
    await take(shared, ONCE)
    link.meter = Meter()
    await shared.take(shared.lease(), {TAG: [ONCE, RATE, DAY, SLOT], "model:m": [RATE, SLOT]})

    assert ["limits"] == took


async def test_two_tags(link: Link) -> None:
    """Where a model has no room for all tenants, the tenant's part is given back."""
    shared = SharedLimits(link, 30)
    replies = await shared.take(shared.lease(), {TAG: [RATE], "model:m": [RATE._replace(most=9)]})
    await shared.flush()

    assert [0, 1] == [reply.refused for reply in replies]
    assert [(0, 0)] == await levels(shared, RATE)
    assert 0 == shared.leases


async def test_days_change(link: Link) -> None:
    """A new day begins with nothing; an end of yesterday does not count in it."""
    shared = SharedLimits(link, 30)
    lease, _ = await take(shared, DAY._replace(cost=1000))
    today = DAY._replace(window=20261122, cost=900)
    _, reply = await take(shared, today)
    shared.settle(lease, {TAG: [1000]})
    await shared.flush()

    assert 0 == reply.refused
    assert [(0, 900)] == await levels(shared, today)


class TestDead:
    async def test_leases_expire(self, link: Link) -> None:
        """What a killed gateway held is free after its lease, and its estimate is spent."""
        dead, alive = SharedLimits(link, 30, at_us=0), SharedLimits(link, 30, at_us=0)
        await take(dead, DAY, SLOT)
        await take(dead, DAY, SLOT)
        alive.at_us = 29 * SECOND
        before = (await take(alive, DAY, SLOT))[1].refused
        alive.at_us = 31 * SECOND
        after = (await take(alive, DAY, SLOT))[1]

        assert 2 == before
        assert (0, [(100, 300), (0, 1)]) == (after.refused, [*after.levels])

    async def test_leases_are_renewed(self, link: Link) -> None:
        """A gateway that lives keeps what its long requests hold."""
        shared = SharedLimits(link, 30, at_us=0)
        await take(shared, SLOT)
        await take(shared, SLOT)
        shared.at_us = 20 * SECOND
        await shared.renew()
        shared.at_us = 45 * SECOND

        assert 1 == (await take(shared, SLOT))[1].refused

    async def test_it_was_only_slow(self, link: Link) -> None:
        """An end that comes after the lease corrects the estimate."""
        shared = SharedLimits(link, 30, at_us=0)
        lease, _ = await take(shared, DAY)
        shared.at_us = 60 * SECOND
        await levels(shared, DAY)
        await shared.renew()
        shared.settle(lease, {TAG: [20]})
        await shared.flush()

        assert [(20, 0)] == await levels(shared, DAY)

    async def test_nothing_stays_for_good(self, link: Link) -> None:
        """An hour later nothing is left of leases that nobody settled; all keys expire."""
        shared = SharedLimits(link, 30, at_us=0)
        await take(shared, DAY, SLOT)
        for at_s in (60, 4000):
            shared.at_us = at_s * SECOND
            await levels(shared, DAY)
        keys = await link.ask("test", "KEYS", "*")
        claims = link.key(f"limits:{TAG}", "claims")

        assert 0 == await link.ask("test", "HLEN", claims)
        assert [link.key(f"limits:{TAG}", "accounts").encode()] == keys
        assert 0 < await link.ask("test", "PTTL", keys[0])

    async def test_a_settlement_twice(self, link: Link) -> None:
        """One that is sent again, since nobody heard that it arrived, counts once."""
        shared = SharedLimits(link, 30)
        lease, _ = await take(shared, DAY)
        shared.settle(lease, {TAG: [70]})
        again = [*shared._outbox]
        await shared.flush()
        shared._outbox.extend(again)
        await shared.flush()

        assert [(70, 0)] == await levels(shared, DAY)


class TestAway:
    async def test_nothing_is_held_for_good(self, link: Link, server: RedisServer) -> None:
        """Without a server it is said; whether or not it had arrived, it is given back later."""
        shared = SharedLimits(link, 30)
        await take(shared, ONCE)
        server.kill()
        with pytest.raises(StateLost):
            await take(shared, DAY)
        await shared.flush()
        waiting = shared.waiting
        server.start()
        await shared.flush()

        assert (1, 0, 0) == (waiting, shared.waiting, shared.leases)
        assert [(0, 0)] == await levels(shared, DAY)

    async def test_ends_wait_for_it(self, link: Link, server: RedisServer) -> None:
        """Ends that come meanwhile are written when it is back."""
        shared = SharedLimits(link, 30)
        lease, _ = await take(shared, DAY)
        server.kill()
        shared.settle(lease, {TAG: [60]})
        shared.lift(TAG, [(DAY.field, DAY.window, 0, 40)])
        await shared.flush()
        waiting = shared.waiting
        server.start()
        await shared.flush()

        assert (2, 0) == (waiting, shared.waiting)
        assert [(100, 0)] == await levels(shared, DAY)

    async def test_gateways_come_back_one_by_one(self, link: Link) -> None:
        """What one added counts beside what another says was before; said again it adds nothing."""
        first, second = SharedLimits(link, 30, at_us=0), SharedLimits(link, 30, at_us=0)
        for shared, before in ((first, 80), (second, 120)):  # an empty server hears of them
            shared.remind(TAG, [(DAY.field, DAY.window, before, 0)])
            shared.lift(TAG, [(DAY.field, DAY.window, 0, 80)])
            await shared.flush()
        told = await levels(first, DAY)
        second.at_us = 31 * SECOND  # the next outage
        second.remind(TAG, [(DAY.field, DAY.window, 280, 0)])
        await second.flush()

        assert [(280, 0)] == told == await levels(first, DAY)

    async def test_there_is_a_bound(self, link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
        """Ends beyond the bound are dropped, and counted."""
        monkeypatch.setattr("headrace.state.limits.MOST_WAITING", 2)
        shared = SharedLimits(link, 30)
        for _ in range(3):
            shared.lift(TAG, [(DAY.field, DAY.window, 0, 1)])
        await shared.flush()

        assert (1, 2) == (shared.dropped, shared.written)
        assert [(2, 0)] == await levels(shared, DAY)

    async def test_what_it_refuses_is_dropped(self, link: Link) -> None:
        """A server that is there and refuses does not hold up what comes after."""
        shared = SharedLimits(link, 30)
        await link.ask("test", "SET", link.key(f"limits:{TAG}", "accounts"), "no hash")
        shared.lift(TAG, [(DAY.field, DAY.window, 0, 1)])
        await shared.flush()

        assert (1, 0) == (shared.dropped, shared.waiting)


async def test_a_gateway_whose_clock_is_behind(link: Link) -> None:
    """At midnight it asks of a day that is over: what it holds is given back all the same."""
    shared = SharedLimits(link, 30, at_us=SECOND)
    early, late = DAY._replace(window=20261122, cost=300), DAY._replace(cost=600)
    await take(shared, early)
    lease, held = await take(shared, late)
    _, refused = await take(shared, late._replace(cost=200))
    shared.settle(lease, {TAG: [100]})
    await shared.flush()

    assert ((0, 1), [(0, 900)]) == ((held.refused, refused.refused), [*held.levels])
    assert [(100, 300)] == await levels(shared, early)


async def test_a_gateway_whose_clock_was_years_ahead(link: Link) -> None:
    """The day comes back to what it is for all, and what was used of it stays used."""
    shared = SharedLimits(link, 30, at_us=SECOND)
    lease, _ = await take(shared, DAY._replace(window=20291231, cost=1000))
    shared.settle(lease, {TAG: [1000]})
    await shared.flush()
    _, today = await take(shared, DAY)
    _, tomorrow = await take(shared, DAY._replace(window=20261122))

    assert (1, 0) == (today.refused, tomorrow.refused)


async def test_a_server_whose_clock_is_set_back(link: Link) -> None:
    """Buckets go back with it: nobody waits an hour for what was full a moment ago."""
    shared = SharedLimits(link, 30, at_us=7200 * SECOND)
    lease, _ = await take(shared, ONCE, RATE, DAY)
    shared.settle(lease, {TAG: [300, 300]})
    await shared.flush()
    before = await levels(shared, ONCE, RATE, DAY)
    shared.at_us = 3600 * SECOND
    _, reply = await take(shared, ONCE, RATE, DAY)

    assert [(SECOND, 0), (18 * SECOND, 0), (300, 0)] == before
    assert (0, [(2 * SECOND, 0), (18 * SECOND, 300), (300, 300)]) == (
        reply.refused, [*reply.levels],
    )  # fmt: skip


async def test_gateways_are_counted(link: Link) -> None:
    """Each sees how many there are; one that says nothing any more is not counted."""
    first, second = SharedLimits(link, 30, at_us=0), SharedLimits(link, 30, at_us=0)
    for each in (first, second, first):
        await each.renew()
    both = first.gateways, second.gateways
    first.at_us = 31 * SECOND
    await first.renew()

    assert ((2, 2), 1) == (both, first.gateways)


async def test_it_writes_by_itself(link: Link) -> None:
    """Between start and stop ends are written soon, and what is left at the stop, too."""
    shared = SharedLimits(link, 30)
    await shared.start()
    lease, _ = await take(shared, DAY)
    shared.settle(lease, {TAG: [60]})
    async with asyncio.timeout(30):
        while shared.waiting:  # noqa: ASYNC110 - what is waited for is seen from outside only
            await asyncio.sleep(0.005)
    other, _ = await take(shared, DAY)
    shared.settle(other, {TAG: [40]})
    await shared.stop()

    assert [(100, 0)] == await levels(shared, DAY)


# --- the same as in memory --------------------------------------------------------------------

KINDS: tuple[tuple[Kind, float, int, int], ...] = (
    ("once", 30, 0, 0), ("rate", 1000, 3, 0), ("slots", 4, 5, 0), ("window", 3000, 3, 1),
)  # fmt: skip
BOUNDS = tuple(
    Bound("tenant", "acme", kind, most, kind, unit, "day" if day else "", TAG, kind, kind, 30e6)
    for kind, most, unit, day in KINDS
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(1, 600), st.integers(0, 2)),
        st.tuples(st.just("end"), st.integers(0, 99), st.integers(0, 700)),
        st.tuples(st.just("wait"), st.integers(0, 20_000_000), st.just(0)),
    ),
    max_size=40,
)
examples = itertools.count()


def amounts(tokens: int) -> Amounts:
    return (1, 0, tokens, tokens, 0, 1)


async def compare(server: RedisServer, plan: list[tuple[str, int, int]]) -> None:
    """Three gateways before one Redis, in any order; and the same before one set of accounts."""
    link = Link(server.config(prefix=f"example{next(examples)}"))
    gateways = [SharedLimits(link, 3600, at_us=0) for _ in range(3)]
    accounts, now_us, used = Accounts(), 0, 0
    running: list[tuple[SharedLimits, str, list[Claim]]] = []
    for word, number, more in plan:
        if word == "wait":
            now_us += number
        for each in gateways:
            each.at_us = now_us
        if word == "ask":
            claims = [Claim(b, 1 if b.span else 0, amounts(number)[b.unit]) for b in BOUNDS]
            rows = [Row(b.field, at, b.kind, b.most, b.burst_us, cost, 0) for b, at, cost in claims]
            gateway = gateways[more]
            lease, reply = await take(gateway, *rows)
            expected = accounts.take(claims, now_us)
            if isinstance(expected, Refusal):
                assert reply.refused == 1 + claims.index(expected.claim)
                assert reply.lacking == expected.lacking
            else:
                assert not reply.refused
                assert [Level(*level) for level in reply.levels] == expected
                running.append((gateway, lease, claims))
        elif word == "end" and running:
            gateway, lease, claims = running.pop(number % len(running))
            tokens = min(more, claims[1].cost)
            gateway.settle(lease, {TAG: [tokens, 1, tokens]})
            await gateway.flush()
            accounts.settle(claims, amounts(tokens), now_us)
            used += tokens
    assert used <= 3000
    await link.stop()


@given(plan=steps)
@settings(max_examples=40)
def test_the_script_is_the_same_arithmetic(
    lasting: RedisServer, plan: list[tuple[str, int, int]]
) -> None:
    """
    In whatever order gateways ask and end, Redis says what one set of accounts in memory says, to
    the token and the microsecond: what is proven of that holds of all gateways together.
    """
    asyncio.run(compare(lasting, plan))


async def test_gateways_at_the_same_time(link: Link) -> None:
    """Of many that ask at once, by eight gateways, as many pass as there is room for."""
    gateways = [SharedLimits(link, 30) for _ in range(8)]
    row = DAY._replace(cost=70)

    async def flood(shared: SharedLimits) -> int:
        passed = 0
        for _ in range(12):
            lease, reply = await take(shared, row)
            if not reply.refused:
                shared.settle(lease, {TAG: [70]})
                passed += 1
        await shared.flush()
        return passed

    passed = sum(await asyncio.gather(*map(flood, gateways)))

    assert 14 == passed
    assert [(980, 0)] == await levels(gateways[0], row)
