"""score.py: each term of the cost, in milliseconds."""

import math
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.routing.cost import SHIPPED, USUAL
from headrace.routing.lane import Ask, Lane, Taken
from headrace.routing.score import Outlook, score
from headrace.routing.terms import (
    CACHED,
    COST,
    EXTERNALITY,
    KV_WAIT,
    PREFILL,
    SLOWDOWN,
    STICKY,
    WAIT,
    WARM_UP,
    Terms,
)
from tests.routing.fleet import GRAIN, Stage

OUTLOOK = Outlook(kappa=3.0, lam=0.02, sticky_ms=20.0, output=200.0, residence_ms=5000.0)


class Case(NamedTuple):
    stage: Stage
    one: Lane
    other: Lane
    ask: Ask


@pytest.fixture
def case() -> Case:
    stage = Stage(2)
    one, other = stage.lanes
    return Case(stage, one, other, stage.ask(2048))


def test_idle_and_alike(case: Case) -> None:
    """On an idle fleet a request costs its prefill, what that delays, and its decoding."""
    one, other = score(case.ask, case.stage.lanes, {}, 100.0, OUTLOOK)
    prefill = USUAL.prefill_ms(2048, 0)

    assert one == other
    assert (0.0, 0.0, prefill, 3 * prefill) == one[WAIT : EXTERNALITY + 1]
    assert 0.02 * 200 * USUAL.w == pytest.approx(one[SLOWDOWN])
    assert sum(one[WAIT:CACHED]) == pytest.approx(one[COST])


def test_cached_tokens_need_no_prefill(case: Case) -> None:
    """Blocks that are cached are taken off; of a prompt all cached the last token is left."""
    blocks = len(case.ask.blocks)
    half, whole = (
        score(case.ask, [case.one], {case.one.slot: depth}, 100.0, OUTLOOK)[0]
        for depth in (blocks // 2, blocks)
    )

    assert (1024.0, USUAL.prefill_ms(2048, 1024)) == (half[CACHED], half[PREFILL])
    assert 2047 == whole[CACHED]
    assert USUAL.prefill_ms(2048, 2047) == pytest.approx(whole[PREFILL])


def test_a_slower_replica_costs_more(case: Case) -> None:
    """Each replica's own rates count, in whatever order they stand."""
    case.other.rates = SHIPPED["a100"]
    third = case.stage.lane("third")
    terms = score(case.ask, [case.one, case.other, third], {}, 100.0, OUTLOOK)

    assert terms[0] == terms[2]
    assert SHIPPED["a100"].prefill_ms(2048, 0) == terms[1][PREFILL]


def test_decodes_are_slowed_down(case: Case) -> None:
    """Who decodes already costs more the more there are, and the more they have to read."""
    case.one.decodes, case.one.decode_tokens = 10, 20_000.0
    busy, free = score(case.ask, case.stage.lanes, {}, 100.0, OUTLOOK)
    extra = 0.02 * 200 * (20 * USUAL.ds + USUAL.kv * (20_000 + 10 * 2048))

    assert extra == pytest.approx(busy[SLOWDOWN] - free[SLOWDOWN])


def test_short_answers_decode_less(case: Case) -> None:
    """A request that allows few tokens is not charged for many."""
    case.ask.max_tokens = 20
    (terms,) = score(case.ask, [case.one], {}, 100.0, OUTLOOK)

    assert 0.02 * 20 * USUAL.w == pytest.approx(terms[SLOWDOWN])


@pytest.mark.parametrize(
    ("room", "share"), [(0.0, 0.0), (20_000.0, 0.0), (9_000.0, 1048 / 8000), (100.0, 9948 / 8000)]
)
def test_where_kv_is_short(case: Case, room: float, share: float) -> None:
    """What is missing, as a share of what is used, of the usual residence; unknown rooms never."""
    case.one.kv_tokens, case.one.kv_used = room, 8000.0
    (terms,) = score(case.ask, [case.one], {}, 100.0, OUTLOOK)

    assert 5000 * share == pytest.approx(terms[KV_WAIT])


def test_slow_start(case: Case) -> None:
    """A replica of a quarter of the weight seems four times as slow to answer."""
    case.one.drag = 1 / 0.25 - 1
    (terms,) = score(case.ask, [case.one], {}, 100.0, OUTLOOK)

    assert 3 * USUAL.prefill_ms(2048, 0) == pytest.approx(terms[WARM_UP])


def test_home(case: Case) -> None:
    """To leave the session's replica costs what the settings say."""
    one, other = score(case.ask, case.stage.lanes, {}, 100.0, OUTLOOK, case.other)

    assert (20.0, 0.0) == (one[STICKY], other[STICKY])


def test_wait_of_what_was_taken(case: Case) -> None:
    """What is in flight before its first token is waited for; quiet ones only until predicted."""
    for loud in (True, False):
        case.stage.pool.bind(case.stage.ask(1000, loud=loud), case.one, case.stage.now)
    each = USUAL.prefill_ms(1000, 0)
    now, later = (
        score(case.ask, [case.one], {}, case.stage.now + after, OUTLOOK)[0][WAIT]
        for after in (0.0, 2.1 * each / 1000)
    )

    assert 2 * each == pytest.approx(now)
    assert later < each
    assert GRAIN == case.ask.grain


def alone(ask: Ask, lanes: list[Lane], place: int, depths: dict[int, int]) -> Terms:
    """
    The cost of one lane, with nobody beside it but the first one, to which others are compared.

    What others had there and was prefilled long ago makes it no idle one, so that no other's terms
    are taken for its.
    """
    lane, first = lanes[place], lanes[0]
    lane.ahead_ms = math.ulp(0.0)
    found = score(ask, [first, lane], depths, 100.0, OUTLOOK)[1]
    lane.ahead_ms = 0.0
    return found


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["h100", "a100"]),  # rates
            st.integers(0, 3),  # requests in flight
            st.integers(0, 3),  # blocks cached
            st.sampled_from([0.0, 0.0, 0.5]),  # drag
            st.sampled_from([0.0, 1000.0, 100_000.0]),  # of KV
        ),
        min_size=1,
        max_size=12,
    ),
    st.booleans(),
)
def test_those_alike_share_what_each_would_have_alone(
    given_: list[tuple[str, int, int, float, float]], loud: bool
) -> None:
    """Idle lanes share their terms; they are, to the last bit, what each has by itself."""
    stage, depths = Stage(len(given_)), dict[int, int]()
    for lane, (kind, busy, depth, drag, kv_tokens) in zip(stage.lanes, given_, strict=True):
        lane.rates, lane.drag, lane.kv_tokens = SHIPPED[kind], drag, kv_tokens
        for _ in range(busy):
            lane.take(stage.ask(300, loud=loud), Taken(0.0, 40.0, 0.0), 99.9)
        if depth:
            depths[lane.slot] = depth
    ask = stage.ask(2048)
    found = score(ask, stage.lanes, depths, 100.0, OUTLOOK)

    assert [alone(ask, stage.lanes, place, depths) for place in range(len(found))] == found
