"""line.py: who is next among those that wait, by class, by tenant, by place."""

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.routing.lane import Ask
from headrace.routing.line import AGED, AGED_S, Line

turns = count(1)


def wait(
    line: Line,
    tenant: str = "",
    *,
    rank: int = 0,
    weight: float = 1.0,
    tokens: float = 100.0,
    at: float = 0.0,
) -> Ask:
    """One more request in the line; of one tenant those with fewer tokens go first."""
    ask = Ask(tokens, [], 1.0, rank=rank, tenant=tenant, weight=weight)
    ask.arrived_at = at
    ask.place = tokens, next(turns)
    line.add(ask)
    return ask


def go(line: Line, now: float = 0.0) -> Ask:
    """Let the first one go, and charge it for its tokens."""
    ask = line.first(now)
    assert ask is not None
    line.granted(ask)
    line.charge(ask, ask.tokens)
    line.remove(ask)
    return ask


@given(st.lists(st.integers(1, 9), max_size=20))
def test_one_tenant_is_a_sorted_list(sizes: list[int]) -> None:
    """With one class and one tenant all go by their place."""
    line = Line()
    asks = [wait(line, tokens=float(size)) for size in sizes]
    expected = sorted(asks, key=lambda ask: ask.place or (0.0, 0))

    assert expected == list(line)
    assert expected == [go(line) for _ in sizes]
    assert (0, None) == (len(line), line.first(0.0))


def test_who_is_passed_over() -> None:
    """Whoever cannot go now is left out; the next one's turn comes."""
    line = Line()
    first, second = wait(line, tokens=1.0), wait(line, tokens=2.0)

    assert second is line.first(0.0, {first})
    assert None is line.first(0.0, {first, second})


def test_a_flood_of_one_tenant_does_not_delay_another() -> None:
    """Who comes with one request to the line of somebody with a hundred waits for one of them."""
    line = Line()
    for _ in range(100):
        wait(line, "many")
    for _ in range(30):
        go(line)
    alone = wait(line, "one")

    assert alone in (go(line), go(line))


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 500)), min_size=30, max_size=90),
    st.sampled_from([1.0, 2.0, 5.0]),
)
def test_shares_follow_the_weights(sizes: list[tuple[str, int]], heavy: float) -> None:
    """While two tenants wait, what they get for their weight differs by two requests at most."""
    line = Line()
    weights = {"a": 1.0, "b": 1.0, "c": heavy}
    for tenant, tokens in sizes:
        wait(line, tenant, weight=weights[tenant], tokens=float(tokens))
    had = dict.fromkeys(weights, 0.0)
    while True:
        waiting = {ask.tenant for ask in line}
        if len(waiting) < 2:
            break
        ask = go(line)
        had[ask.tenant] += ask.tokens / ask.weight
        both = [had[tenant] for tenant in waiting & {each.tenant for each in line}]
        if len(both) > 1:
            assert max(both) - min(both) <= 2 * 500


def test_who_was_away_saves_nothing_up() -> None:
    """A tenant that had nothing to send goes in turns with the others, not before all of them."""
    line = Line()
    for _ in range(40):
        wait(line, "busy")
    gone = wait(line, "away")
    line.remove(gone)
    for _ in range(20):
        go(line)
    for _ in range(10):
        wait(line, "away")

    assert 5 <= [go(line).tenant for _ in range(10)].count("busy")


def test_what_is_given_back_counts() -> None:
    """A tenant whose answers were shorter than thought is charged for what they were."""
    line = Line()
    asks = [wait(line, tenant) for tenant in ("a", "b") * 4]
    account = line.charge(asks[1], 1000.0)
    account.had -= 1000.0

    assert ["a", "b"] * 2 == [go(line).tenant for _ in range(4)]


@pytest.mark.parametrize("old_s", [0.0, AGED_S])
def test_classes_are_strict_but_for_the_old(old_s: float) -> None:
    """A lower class goes when no higher one waits; an old request of it gets one place of many."""
    line = Line()
    low = [wait(line, rank=-20) for _ in range(4)]
    for _ in range(3 * AGED):
        wait(line, rank=0, at=old_s)
    order = [go(line, now=old_s) for _ in range(2 * AGED + 2)]

    assert (2 if old_s else 0) == sum(ask in low for ask in order)
    assert order[0] not in low


def test_who_comes_anew_goes_next() -> None:
    """A tenant that had nothing to send goes right after the one that went last, not after more."""
    line = Line()
    for _ in range(10):
        wait(line, "busy", tokens=500.0)
    for _ in range(5):
        go(line)
    new = wait(line, "new", tokens=900.0)

    assert new is go(line)


def test_what_is_shut_is_passed_over() -> None:
    """Classes and tenants that have no room now are left out, old requests of them as well."""
    line = Line()
    low = wait(line, "a", rank=-50)
    first, second = wait(line, "a", at=AGED_S), wait(line, "b", tokens=200.0, at=AGED_S)
    for _ in range(AGED):
        line.granted(first)

    assert low is line.first(AGED_S)
    assert first is line.first(AGED_S, (), {-50})
    assert second is line.first(AGED_S, (), {-50, (0, "a")})
    assert low is line.first(AGED_S, (), {0})
    assert line.first(AGED_S, (), {-50, 0}) is None


def test_how_much_waits() -> None:
    """Requests, bytes and tokens are counted by class, and the longest queue of one is found."""
    line = Line()
    asks = [Ask(1.0, [], 1.0, tenant=t, charge=c, body=10) for t, c in (("a", 5.0), ("b", 9.5))]
    for ask in [*asks, *(Ask(1.0, [], 1.0, tenant="a", charge=2.0, body=1) for _ in range(3))]:
        ask.place = 0.0, next(turns)
        line.add(ask)
    found = line.of(0)
    assert (5, 23, 20.5) == (found.requests, found.body, found.tokens)
    longest = line.longest(0)
    assert longest is not None
    assert ("a", 11.0) == longest[:2]
    line.remove(longest[2])
    assert ("b", 9.5, asks[1]) == line.longest(0)
    for ask in list(line):
        line.remove(ask)

    assert (0, 0, 0.0, None) == (*(getattr(line.of(0), n) for n in ("requests", "body", "tokens")),
                                 line.longest(0))  # fmt: skip


def test_one_that_does_not_wait() -> None:
    """A request without a place cannot be in the line."""
    with pytest.raises(LookupError):
        Line().add(Ask(1.0, [], 1.0))
