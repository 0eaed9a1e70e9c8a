"""Other routers without KV events: each chooses as its documentation says."""

from collections import Counter

from headrace.simulate.engine import Job
from headrace.simulate.rivals import (
    Blend,
    CacheAware,
    LeastRequests,
    Matched,
    Mirror,
    PowerOfTwo,
    RoundRobin,
    SessionHash,
)
from tests.simulate.fleets import BLOCK, Bench, request


def test_round_robin_takes_turns() -> None:
    """Each replica gets the same."""
    bench = Bench(RoundRobin())

    assert {0: 3, 1: 3, 2: 3} == Counter(bench.send() for _ in range(9))


def test_least_requests_fills_up() -> None:
    """No replica has two more than another."""
    bench = Bench(LeastRequests())
    bench.policy.inflight.update({0: 4, 1: 2, 2: 3})

    assert [1] == [bench.send()]
    assert {0: 5, 1: 5, 2: 5} == Counter(bench.send() for _ in range(5)) + Counter(
        {0: 4, 1: 3, 2: 3}
    )


def test_power_of_two_spares_the_fullest() -> None:
    """The one with the most requests loses every comparison."""
    bench = Bench(PowerOfTwo())
    bench.policy.inflight.update({0: 100})

    assert {1, 2} == {bench.send() for _ in range(20)}


def test_power_of_two_of_one() -> None:
    """One replica gets all."""
    assert 0 == Bench(PowerOfTwo(), 1).send()


def test_a_session_stays() -> None:
    """A session goes to its replica, and when one dies only that one's sessions move."""
    bench = Bench(SessionHash(), 4)
    before = {session: bench.send(session=session) for session in range(60)}

    bench.policy.left(2, 0.0)

    after = {session: bench.send(session=session) for session in range(60)}
    assert {0, 1, 2, 3} == set(before.values())
    assert all(before[each] == after[each] for each in before if before[each] != 2)
    assert 2 not in after.values()


class TestCacheAware:
    """Affinity by an endless tree, but for a gate on the whole fleet."""

    def test_goes_where_the_prefix_was(self) -> None:
        """More than 30 % of the prompt known: the owner; else the least loaded."""
        bench = Bench(CacheAware())

        assert 0 == bench.send([1, 2])
        assert 0 == bench.send([1, 9])
        assert 1 == bench.send([1, *range(20, 24)], tokens=5 * BLOCK)
        assert 2 == bench.send([7, 8])

    def test_gives_up_affinity_for_all(self) -> None:
        """A replica that is far too full makes the fleet ignore every prefix."""
        bench = Bench(CacheAware())
        bench.send([1, 2])
        bench.policy.inflight.update({2: 70})

        assert 1 == bench.send([1, 2])

    def test_the_dead_own_nothing(self) -> None:
        """What a lost replica held is nobody's."""
        bench = Bench(CacheAware())
        bench.send([1, 2])

        bench.policy.left(0, 0.0)

        assert 1 == bench.send([1, 2])


class TestBlend:
    """Three parts prefix, two parts queue, two parts KV."""

    def test_prefers_the_prefix(self) -> None:
        """Where nothing else differs the cached replica wins."""
        bench = Bench(Blend())
        home = bench.send([1, 2])

        assert {home} == {bench.send([1, 2]) for _ in range(5)}

    def test_a_queue_outweighs_half_a_prefix(self) -> None:
        """The longest queue costs two points, half a prefix brings one and a half."""
        bench = Bench(Blend())
        home = bench.send([1, 2])
        bench.fleet[home].waiting.append(Job(request(99)))

        assert home == bench.send([1, 9]), "the gauge is 50 ms old"
        bench.policy.tick(0.05)
        assert home != bench.send([1, 8])

    def test_a_full_cache_counts(self) -> None:
        """Free KV cache decides among strangers."""
        bench = Bench(Blend())
        bench.fleet[0].used, bench.fleet[1].used = 100_000, 50_000
        bench.policy.tick(0.05)

        assert 2 == bench.send([1, 2])


class TestMatched:
    """The longest match among those that are not too full."""

    def test_prefers_the_longest_match(self) -> None:
        """More of the prompt is better."""
        bench = Bench(Matched())
        bench.policy.mirror.note(1, [1])
        bench.policy.mirror.note(2, [1, 2])

        assert 2 == bench.send([1, 2])

    def test_imbalance_ends_affinity(self) -> None:
        """Over eight requests more than another: only the least loaded."""
        bench = Bench(Matched())
        bench.policy.mirror.note(2, [1, 2])
        bench.policy.inflight.update({2: 9})

        assert 0 == bench.send([1, 2])

    def test_strangers_go_to_the_least_loaded(self) -> None:
        """Without any match the load decides."""
        bench = Bench(Matched())
        bench.policy.inflight.update({0: 2, 1: 1, 2: 2})

        assert 1 == bench.send([1, 2])


def test_the_mirror_is_bounded() -> None:
    """It forgets what was not used for the longest time, the end of a prompt before its head."""
    mirror = Mirror()
    mirror.add(0, 3)
    mirror.note(0, [1, 2])
    mirror.note(0, [3, 4])

    assert [1, 2] == [mirror.matched(0, [1, 2]), mirror.matched(0, [3, 4])]
    mirror.drop(0)
    mirror.add(0, 3)
    assert 0 == mirror.matched(0, [3])
