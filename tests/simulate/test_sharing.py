"""sharing.py: whose requests are whose, fair parts, and the bars of fairness in small."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engines.sim.presets import PRESETS
from headrace.errors import ConfigError
from headrace.simulate import sharing
from headrace.simulate.ours import Ours
from headrace.simulate.sharing import Party
from headrace.simulate.synthetic import chat
from headrace.simulate.world import Fleet

FLEET = Fleet((PRESETS["l4-8b"],) * 3)
PARTIES = (Party("small", 1.0), Party("big", 9.0))


def test_parties_by_text() -> None:
    """A tenant is a name, its part of the requests, and its class if that is not the usual one."""
    assert Party("small", 1.0) == sharing.party("small:1")
    assert Party("big", 2.5, -50) == sharing.party("big:2.5:batch")
    for text in ("big", "big:no", ":1", "big:0", "big:1:urgent"):
        with pytest.raises(ConfigError, match="NAME:SHARE"):
            sharing.party(text)


def test_sessions_belong_to_one_tenant() -> None:
    """Each session is some tenant's, about as many as its part; nothing else has changed."""
    trace = chat(5.0, 600, 1)
    parted = sharing.parted(trace, PARTIES, 1)
    owners: dict[int, set[str]] = {}
    for request in parted.requests:
        owners.setdefault(request.session, set()).add(request.tenant)
    small = sharing.only(parted, "small")

    assert all(len(each) == 1 for each in owners.values())
    assert 20 < len(small.requests) < 140
    assert [*range(len(small.requests))] == [each.number for each in small.requests]
    assert trace == sharing.unknown(parted)


def test_merged_traces_share_nothing() -> None:
    """Requests of two traces stand in the order of arrival, with blocks of their own."""
    one, two = chat(3.0, 50, 1), chat(3.0, 50, 1)
    both = sharing.merged([one, two])
    times = [request.arrival_s for request in both.requests]

    assert (100, sorted(times)) == (len(times), times)
    assert {0.0} == {one.shared - both.shared}


@given(
    st.dictionaries(st.sampled_from("abcd"), st.floats(0, 100), min_size=1),
    st.floats(0, 300),
    st.lists(st.floats(0.1, 10), min_size=4, max_size=4),
)
def test_fair_parts(demands: dict[str, float], total: float, weights: list[float]) -> None:
    """Nobody has more than it asks for; all is given; who got less has as much by its weight."""
    by_name = dict(zip("abcd", weights, strict=True))
    parts = sharing.water_level(total, demands, by_name)
    given_ = sum(parts.values())

    assert all(parts[name] <= demands[name] + 1e-6 for name in demands)
    assert pytest.approx(min(total, sum(demands.values())), abs=1e-6) == given_
    level = max((parts[name] / by_name[name] for name in parts), default=0.0)
    for name, part in parts.items():
        assert part >= demands[name] - 1e-6 or part / by_name[name] >= level - 1e-6


def test_jains_index() -> None:
    """1 where all have the same, 1/n where one has everything."""
    assert [1.0, 0.5, 1.0] == [sharing.jain(parts) for parts in ([2, 2], [3, 0], [])]


def test_a_flood_does_not_reach_the_small_tenant() -> None:
    """At far more than the fleet can do the tenant with a tenth of it hardly waits."""
    trace = sharing.parted(chat(4.0, 300, 1), PARTIES, 1)
    found = sharing.share(trace, FLEET, Ours, lambda: Ours("lowest_cost", "fair"), 1)
    small, big = found.got["small"], found.got["big"]

    # The slowest of 48, so one meeting of two prompts; the flood waits for its turn.
    assert small.first.p99_ms < 3 * small.alone.p99_ms
    assert small.first.p50_ms < 2 * small.alone.p50_ms < big.first.p50_ms / 5
    assert found.jain > 0.97
    assert found.goodput > 0.75
    assert {"tenant", "small", "big"} == {row[0] for row in sharing.table([found])}
    assert "Jain's index" in sharing.sums([found])


def test_one_that_is_skipped() -> None:
    """A tenant whose own run is not wanted is compared with itself."""
    trace = sharing.parted(chat(3.0, 100, 1), PARTIES, 1)
    found = sharing.share(trace, FLEET, Ours, Ours, 1, ["big"])

    assert found.got["big"].first == found.got["big"].alone
    assert 1.0 == found.got["big"].ratio
