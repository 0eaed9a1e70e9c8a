"""shift.py: who starts and who rests, decided from what is seen."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engines.shift import ADD_AFTER_S, Orders, Place, Rules, Seat, decide, full

ZERO = Rules(least=0, idle_s=60, full_at=4)
OFF = Seat("a", Place.OFF)
ASLEEP = Seat("b", Place.ASLEEP)
READY = Seat("c", Place.UP, routable=True)
IDLE = replace(READY, idle_s=60.0)
LOADING = Seat("d", Place.UP, arriving=True)


def seats(*given: Seat) -> list[Seat]:
    """With names of their own."""
    return [replace(seat, name=f"{seat.name}{number}") for number, seat in enumerate(given)]


def test_nobody_calls_and_nothing_starts() -> None:
    """At zero it stays at zero."""
    assert Orders() == decide(ZERO, seats(OFF, OFF), waiting=0, full_s=0)


@pytest.mark.parametrize("waiting", [1, 20, 1000])
def test_a_call_starts_one(waiting: int) -> None:
    """One, however many wait."""
    assert Orders(start=("a0",)) == decide(ZERO, seats(OFF, OFF), waiting, full_s=0)


def test_the_sleeper_is_there_sooner() -> None:
    """It is woken before another one is started."""
    assert Orders(start=("b1",)) == decide(ZERO, seats(OFF, ASLEEP), waiting=1, full_s=0)


def test_one_on_its_way_is_enough() -> None:
    """While one starts, no second one is started, whoever waits."""
    assert Orders() == decide(ZERO, seats(LOADING, OFF), waiting=9, full_s=9)


@pytest.mark.parametrize("place", [Place.LEAVING, Place.FAILED])
def test_what_cannot_start_now(place: Place) -> None:
    """One that is on its way out, or has failed just now, must come to rest first."""
    assert Orders() == decide(ZERO, [Seat("a", place)], waiting=1, full_s=0)


def test_a_failed_one_is_tried_again() -> None:
    """When its time has come and somebody waits, and only when no other is there."""
    failed = Seat("f", Place.FAILED, again=True)

    assert Orders(start=("f0",)) == decide(ZERO, seats(failed), waiting=1, full_s=0)
    assert Orders(start=("a1",)) == decide(ZERO, seats(failed, OFF), waiting=1, full_s=0)
    assert Orders() == decide(ZERO, seats(failed), waiting=0, full_s=0)


def test_the_least_always_run() -> None:
    """As many as are missing, without any call; one that loads counts, a failed one does not."""
    rules = replace(ZERO, least=2)

    assert Orders(start=("a0", "a1")) == decide(rules, seats(OFF, OFF, OFF), waiting=0, full_s=0)
    assert Orders(start=("a1",)) == decide(rules, seats(LOADING, OFF, OFF), waiting=0, full_s=0)
    failed = Seat("f", Place.FAILED)
    assert Orders(start=("a2",)) == decide(rules, seats(failed, READY, OFF), waiting=0, full_s=0)


def test_full_ones_get_company() -> None:
    """After two seconds, and not before; with nobody left to start, nothing happens."""
    assert Orders() == decide(ZERO, seats(READY, OFF), waiting=0, full_s=ADD_AFTER_S - 0.1)
    assert Orders(start=("a1",)) == decide(ZERO, seats(READY, OFF), waiting=0, full_s=ADD_AFTER_S)
    assert Orders() == decide(ZERO, seats(READY), waiting=0, full_s=ADD_AFTER_S)


def test_full_is_all_of_those_that_serve() -> None:
    """With those that wait for room they have as many as they should; nobody is never full."""
    busy, idle = replace(READY, inflight=7), replace(READY, inflight=1)

    assert full(ZERO, [busy, idle], queued=0)
    assert not full(ZERO, [replace(busy, inflight=6), idle], queued=0)
    assert full(ZERO, [replace(busy, inflight=6), idle], queued=1)
    assert not full(ZERO, [LOADING, OFF], queued=9)


def test_the_idle_rest() -> None:
    """All above the least, the last ones first."""
    assert Orders(rest=("c1", "c0")) == decide(ZERO, seats(IDLE, IDLE), waiting=0, full_s=0)
    one = replace(ZERO, least=1)
    assert Orders(rest=("c1",)) == decide(one, seats(IDLE, IDLE), waiting=0, full_s=0)
    two = replace(ZERO, least=2)
    assert Orders() == decide(two, seats(IDLE, IDLE), waiting=0, full_s=0)


@pytest.mark.parametrize(
    "seat", [replace(IDLE, inflight=1), replace(IDLE, idle_s=59.9), replace(IDLE, routable=False)]
)
def test_who_does_not_rest(seat: Seat) -> None:
    """One with a request, one that had one lately, one that is set aside for being sick."""
    assert Orders() == decide(ZERO, [seat], waiting=0, full_s=0)


def test_nobody_rests_while_somebody_waits() -> None:
    """A request that waits is on its way to one of them."""
    assert Orders() == decide(ZERO, seats(IDLE), waiting=1, full_s=0)


def test_what_an_operator_drained_is_left_alone() -> None:
    """It is neither started nor stopped, and counts as absent."""
    barred = [replace(seat, barred=True) for seat in seats(IDLE, ASLEEP)]

    assert Orders() == decide(ZERO, barred, waiting=1, full_s=0)
    assert Orders(start=("a",)) == decide(replace(ZERO, least=1), [*barred, OFF], 0, full_s=0)


SEATS = st.lists(
    st.builds(
        Seat,
        name=st.uuids().map(str),
        place=st.sampled_from(Place),
        arriving=st.booleans(),
        routable=st.booleans(),
        barred=st.booleans(),
        again=st.booleans(),
        inflight=st.integers(0, 3),
        idle_s=st.floats(0, 100),
    ),
    max_size=5,
)


@given(SEATS, st.integers(0, 3), st.floats(0, 5), st.integers(0, 3))
def test_no_order_breaks_a_promise(
    found: list[Seat], waiting: int, full_s: float, least: int
) -> None:
    """
    Whatever is seen: only what rests is started, never two for requests; no replica with a request
    rests, and never so many that fewer than the least are left.
    """
    orders = decide(Rules(least, 60, 4), found, waiting, full_s)
    by_name = {seat.name: seat for seat in found}
    up = [seat for seat in found if seat.place is Place.UP and not seat.barred]

    startable = {Place.OFF, Place.ASLEEP, Place.FAILED}
    assert {by_name[name].place for name in orders.start} <= startable
    assert len(orders.start) <= max(1, least - len(up))
    assert not any(by_name[name].inflight or by_name[name].barred for name in orders.rest)
    assert not orders.rest or len(up) - len(orders.rest) >= least
