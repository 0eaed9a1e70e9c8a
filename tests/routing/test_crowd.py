"""crowd.py: who leaves room for others, how much, and for how long others are remembered."""

import pytest

from headrace.routing.cost import USUAL
from headrace.routing.crowd import (
    FEW_GATE,
    FEW_KV,
    FOLLOW,
    LOSS,
    LOSS_MOST,
    MEMORY_S,
    MOST,
    MOST_GATE,
    MOST_KV,
    OPEN_GATE,
    Crowd,
    Room,
)
from headrace.routing.lane import Ask, Lane
from headrace.routing.score import Outlook
from headrace.routing.steps import Answers, fewest, hastened
from headrace.routing.terms import Terms
from headrace.types import Usage
from tests.routing.fleet import Stage


def asked(tenant: str, rank: int = 0, tokens: float = 1000.0, weight: float = 1.0) -> Ask:
    return Ask(tokens, [], 1.0, tenant=tenant, rank=rank, weight=weight)


def met(crowd: Crowd, ask: Ask, now: float = 0.0, *, runs: float = 0.0) -> Ask:
    """A request that has come, and has so many tokens in flight."""
    crowd.meet(ask, (), now)
    if runs and ask.flow is not None:
        ask.flow.take(runs)
    return ask


def test_one_tenant_has_all_of_it() -> None:
    """Nobody has to leave room for others that were never seen, however much is in flight."""
    crowd = Crowd(Outlook())
    asks = [met(crowd, asked("a"), runs=1e6) for _ in range(9)]

    assert not any(crowd.surplus(ask) for ask in asks)
    assert {} == crowd.flows


def test_who_has_more_than_its_share_leaves_room() -> None:
    """Of two tenants the one with more in flight by its weight leaves room, the other does not."""
    crowd = Crowd(Outlook())
    met(crowd, asked("a"))
    big, small = met(crowd, asked("b"), runs=900.0), met(crowd, asked("a"), runs=100.0)
    heavy = met(crowd, asked("c", weight=9.0), runs=900.0)

    assert [True, False, False] == [crowd.surplus(ask) for ask in (big, small, heavy)]
    assert big.flow is not None
    big.flow.give(900.0)
    assert not crowd.surplus(big)


def test_lower_classes_always_leave_room() -> None:
    """A class below the usual one leaves room even alone; any other while a higher one is about."""
    crowd = Crowd(Outlook())
    alone = met(crowd, asked("a", rank=-50))
    assert crowd.surplus(alone)
    usual = met(crowd, asked("a"))
    assert not crowd.surplus(usual)
    met(crowd, asked("a", rank=10))

    assert crowd.surplus(usual)


def test_others_are_forgotten() -> None:
    """Who was not seen for ten minutes and has nothing in flight is nobody to leave room for."""
    crowd = Crowd(Outlook())
    met(crowd, asked("a"))
    met(crowd, asked("b", rank=10), runs=10.0)
    runs = met(crowd, asked("b", rank=10))
    later = 2 * MEMORY_S
    ask = met(crowd, asked("a"), later)
    assert crowd.surplus(ask)
    assert runs.flow is not None
    runs.flow.give(10.0)
    ask = met(crowd, asked("a"), 2 * later)

    assert not crowd.surplus(ask)
    assert {} == crowd.flows


@pytest.mark.parametrize(("lanes", "kept"), [(1, 0), (2, 0), (3, 1), (8, 1), (16, 2), (64, 8)])
def test_replicas_that_are_kept_open(lanes: int, kept: int) -> None:
    """One of eight is, and one of three to seven; of fewer none."""
    stage = Stage(lanes)
    crowd = stage.pool.crowd

    assert kept == crowd.kept(asked("a", rank=-50))
    assert kept == sum(crowd.keeps(lane, kept) for lane in stage.lanes)


@pytest.mark.parametrize(("others", "kept"), [(0.0, 1), (0.1, 1), (0.3, 3), (0.5, 4), (0.99, 6)])
def test_more_are_kept_open_for_more(others: float, kept: int) -> None:
    """As many as those are of all that is in flight for whom room is left, up to a part."""
    crowd = Stage(8).pool.crowd
    met(crowd, asked("a"))
    met(crowd, asked("b"), runs=1000.0 * others)
    flood = met(crowd, asked("a"), runs=1000.0 * (1 - others))
    assert kept == crowd.kept(flood)
    low = met(crowd, asked("c", rank=-50))

    assert 8 * MOST == crowd.kept(low)


def lane(**numbers: float) -> Lane:
    found = Lane("r", 0, gate=1000.0, kv_tokens=10_000.0)
    found.inflight = 1
    for name, value in numbers.items():
        setattr(found, name, value)
    return found


@pytest.mark.parametrize(("kept", "kv", "gate"), [(0, FEW_KV, FEW_GATE), (1, MOST_KV, MOST_GATE)])
def test_how_much_room_is_left(kept: int, kv: float, gate: float) -> None:
    """
    The gate and the cache of a replica are filled to their parts, answers by their age; where none
    is kept open these are less.
    """
    used = 10_000 * kv - 2000
    room = Room(kept)
    crowd, grown = Crowd(Outlook()), lane(kv_used=used, decodes=10, firsts=10 * 50.0, pace_s=0.1)

    assert crowd.leaves(lane(unprefilled=1000 * gate - 1), 100.0, room, 60.0)
    assert not crowd.leaves(lane(unprefilled=1000 * gate), 100.0, room, 60.0)
    assert crowd.leaves(lane(kv_used=10_000 * kv - 101), 100.0, room, 60.0)
    assert not crowd.leaves(lane(kv_used=10_000 * kv - 99), 100.0, room, 60.0)
    assert 1000.0 == grown.grown(60.0)
    assert crowd.leaves(grown, 999.0, room, 60.0)
    assert not crowd.leaves(grown, 1001.0, room, 60.0)
    grown.kv_bias = 0.9
    assert crowd.leaves(grown, 1001.0, room, 60.0)
    assert crowd.leaves(lane(inflight=0, kv_used=1e9), 1e9, room, 60.0)


def test_one_that_never_fits() -> None:
    """A prompt larger than the part it may fill goes once half of that is free."""
    crowd = Crowd(Outlook())
    half = 10_000 * FEW_KV / 2

    assert crowd.leaves(lane(kv_used=half - 1), 1e6, Room(), 0.0)
    assert not crowd.leaves(lane(kv_used=half + 1), 1e6, Room(), 0.0)


def test_open_replicas_have_more_room() -> None:
    """What may be put on a replica that is kept open is less, by its gate and its answers."""
    crowd, kept = Crowd(Outlook()), lane(unprefilled=1000 * OPEN_GATE)
    crowd.seat([kept, lane(), lane()])
    room = Room(1, Answers(10, 5000.0))
    assert not crowd.leaves(kept, 1.0, room, 0.0)
    assert crowd.leaves(kept, 1.0, Room(), 0.0)
    kept.unprefilled, kept.decodes, kept.decode_tokens = 0.0, 10, 5000.0
    assert crowd.leaves(kept, 1.0, room, 0.0)
    kept.decode_tokens += 1.0

    assert not crowd.leaves(kept, 1.0, room, 0.0)
    assert crowd.leaves(kept, 1.0, Room(), 0.0)


@pytest.mark.parametrize(("lanes", "runs", "loss"), [(4, 50.0, 4 * LOSS), (64, 1.0, 8 * LOSS)])
def test_what_room_may_cost(lanes: int, runs: float, loss: float) -> None:
    """All that are kept open together lose as much as one part of the fleet, each its share."""
    crowd, others = Crowd(Outlook()), [lane() for _ in range(lanes)]
    crowd.seat(others)
    met(crowd, asked("a"), runs=1.0)
    many = met(crowd, asked("b"), runs=1000.0 - runs)
    met(crowd, asked("a"), runs=runs)
    crowd.sent(many, 50.0)
    kept = crowd.kept(many)
    for each in others[kept:]:
        each.decodes, each.decode_tokens, each.firsts = 100, 100_000.0, 0.0
    usual = Answers(100.0, 100_000.0)

    assert loss == LOSS * lanes / kept < LOSS_MOST
    assert Room(kept, fewest(USUAL, usual, 50.0, Outlook().output, loss)) == crowd.room(many, 0.0)


def test_no_room_is_kept_in_few_replicas() -> None:
    """With two replicas none is kept open, and nothing is said of how many answers run."""
    crowd = Crowd(Outlook())
    crowd.seat([lane(), lane()])

    assert Room() == crowd.room(met(crowd, asked("a", rank=-50)), 0.0)


def test_others_choose_by_their_own_first_token() -> None:
    """Who has room left for it counts the steps it waits for; who leaves room does not."""
    crowd, lanes, many = crowded()
    few = met(crowd, asked("a"), runs=1.0)
    lanes[1].decodes, found = 10, terms(50.0)

    assert found == crowd.hasten(many, lanes, found, 0.0)
    assert hastened(few.tokens, found, lanes, 0.0) == crowd.hasten(few, lanes, found, 0.0) != found


def test_the_usual_prompt_is_learned_from_those_that_leave_room() -> None:
    """Their prefills count, a little each, and not those of whom they leave room for."""
    crowd = Crowd(Outlook())
    met(crowd, asked("a"))
    many, few = met(crowd, asked("b"), runs=900.0), met(crowd, asked("a"), runs=100.0)
    for ask, prefill_ms in ((few, 1.0), (many, 50.0), (few, 1.0), (many, 60.0)):
        crowd.sent(ask, prefill_ms)

    assert 50.0 + FOLLOW * 10.0 == crowd.usual_ms


def crowded() -> tuple[Crowd, list[Lane], Ask]:
    """Three busy replicas, the first kept open, and who has to leave room with 50 ms as usual."""
    crowd, lanes = Crowd(Outlook()), [lane(), lane(), lane()]
    crowd.seat(lanes)
    met(crowd, asked("a"))
    many = met(crowd, asked("b", tokens=100.0), runs=900.0)
    crowd.sent(many, 50.0)
    return crowd, lanes, many


def terms(prefill_ms: float) -> list[Terms]:
    return [(0.0, 0.0, 0.0, prefill_ms, 0.0, 0.0, 0.0, 0.0, 0.0, 1)] * 3


def test_long_prompts_go_elsewhere() -> None:
    """On a replica that is kept open nobody waits behind more than a usual prompt of others."""
    crowd, lanes, many = crowded()

    assert [0, 1, 2] == crowd.left(many, lanes, range(3), terms(50.0), 0.0)
    assert [1, 2] == crowd.left(many, lanes, range(3), terms(51.0), 0.0)
    lanes[0].ahead_ms = 30.0
    assert [0, 1, 2] == crowd.left(many, lanes, range(3), terms(20.0), 0.0)
    assert [1, 2] == crowd.left(many, lanes, range(3), terms(21.0), 0.0)
    assert [0, 1, 2] == crowd.left(many, lanes, range(3), terms(21.0), 0.002)
    assert [0, 1, 2] == crowd.left(many, lanes, range(3), (), 0.0)
    lanes[0].inflight = 0
    assert [0, 1, 2] == crowd.left(many, lanes, range(3), terms(1e6), 0.0)


def test_a_long_prompt_that_was_tried_elsewhere_goes_anywhere() -> None:
    """Where it may not go back it would wait for ever if only open replicas were left."""
    crowd, lanes, many = crowded()
    many.tried = {"r"}

    assert [0, 1, 2] == crowd.left(many, lanes, range(3), terms(1e6), 0.0)


def test_who_waits_hears_whether_it_is_the_size() -> None:
    """No room for any like it, none for one as long as this, or room."""
    crowd, lanes, many = crowded()
    for each in lanes[1:]:
        each.kv_used = 1e6
    many.shortest_ms = 50.0
    assert crowd.spare(many, lanes, 0.0)
    many.shortest_ms = 51.0
    assert crowd.spare(many, lanes, 0.0) is False
    lanes[0].kv_used = 1e6

    assert crowd.spare(many, lanes, 0.0) is None


def test_a_flood_leaves_room_for_another_tenant() -> None:
    """Who comes to a fleet that somebody floods goes at once; the flood waits for room."""
    stage = Stage(4, gate=8000.0)
    for _ in range(200):
        ask = stage.ask()
        ask.tenant = "many"
        stage.pool.offer(ask, stage.now)
    first = stage.ask()
    first.tenant = "one"
    stage.pool.offer(first, stage.now)
    flows = stage.pool.crowd.flows
    assert {(0, "many"), (0, "one")} == set(flows)
    for lane in stage.lanes:  # what was sent before anybody else was seen ends
        for lease in tuple(lane.pending):
            stage.pool.end(lease, stage.now, Usage(1000, 100))
    assert stage.pool.waiting
    again = stage.ask()
    again.tenant = "one"
    granted = stage.pool.offer(again, stage.now)

    assert [again] == [lease.ask for lease in granted]
    assert sum(lane.unprefilled for lane in stage.lanes) <= 4 * (8000 * MOST_GATE + 1000)


def test_a_single_replica_leaves_room_too() -> None:
    """The flood of one tenant waits before a single replica that could take more; another goes."""
    stage = Stage(1, gate=8000.0)
    asks = [stage.ask() for _ in range(9)]
    for ask, tenant in zip(asks, ["other", *["many"] * 8], strict=True):
        ask.tenant = tenant
    granted = [len(stage.pool.offer(ask, stage.now)) for ask in asks]
    assert [1, 1, 0, 0] == granted[:4]
    last = stage.ask()
    last.tenant = "other"

    assert [last] == [lease.ask for lease in stage.pool.offer(last, stage.now)]
