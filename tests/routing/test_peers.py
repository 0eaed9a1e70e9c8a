"""peers.py: what gateways make of each other's reports."""

import pytest

from headrace.routing.lane import NOBODY, Ask, Part
from headrace.routing.peers import Peers, Report, learn, part
from tests.routing.fleet import Stage


def ask(tokens: float = 1000.0, blocks: int = 8, first: int = 1) -> Ask:
    return Ask(tokens, list(range(first, first + blocks)), 128.0)


def report(gateway: str, number: int, **parts: Part) -> Report:
    return Report(gateway, number, parts)


def test_others_are_in_a_lanes_numbers() -> None:
    """What all others have in flight is added to what this gateway has, once."""
    lane, other = Stage(2).lanes
    peers = Peers(1.0)
    peers.hear(report("b", 1, **{lane.name: Part(2, 300.0, 200.0, 40.0, 1, 100.0)}), 10.0)
    peers.hear(report("c", 1, **{lane.name: Part(1, 50.0, 50.0, 10.0)}), 10.0)
    for _ in range(2):
        peers.join([lane, other], 10.0)

    assert (3, 350.0, 250.0, 1) == (lane.inflight, lane.tokens, lane.unprefilled, lane.decodes)
    assert 100.0 == lane.decode_tokens
    assert 50.0 == pytest.approx(lane.wait_ms(10.0))
    assert 30.0 == pytest.approx(lane.wait_ms(10.02))
    assert 0.0 == lane.wait_ms(11.0)
    assert 0 == other.inflight == lane.own


def test_own_requests_come_and_go_beside_them() -> None:
    """Whatever the order of reports and requests, what remains at the end is the others' alone."""
    stage = Stage(1)
    lane, pool = stage.lanes[0], stage.pool
    peers = Peers(60.0)
    before = part(lane, 0.0)
    (lease,) = pool.offer(ask(), 0.0)
    peers.hear(report("b", 1, **{lane.name: Part(5, 5000.0, 2000.0, 100.0, 2, 3000.0)}), 0.0)
    peers.join([lane], 0.0)

    assert 1 == lane.own == part(lane, 0.0).inflight
    assert 1000.0 == part(lane, 0.0).unprefilled

    pool.first_token(lease, 0.1)
    peers.hear(report("b", 2, **{lane.name: Part(4, 4000.0, 1000.0, 50.0, 3, 3000.0)}), 0.2)
    peers.join([lane], 0.2)

    assert (5, 1000.0) == (lane.inflight, lane.unprefilled)
    assert (1, 0.0, 1) == (lane.own, part(lane, 0.2).unprefilled, part(lane, 0.2).decodes)

    pool.end(lease, 0.3)

    assert (4, 4000.0, 3) == (lane.inflight, lane.tokens, lane.decodes)
    assert before == part(lane, 0.3)


def test_who_is_silent_is_taken_out() -> None:
    """A gateway that was not heard for ``stale_s`` has nothing in flight any more."""
    (lane,) = Stage(1).lanes
    peers = Peers(1.0)
    peers.hear(report("b", 1, **{lane.name: Part(2)}), 0.0)
    peers.join([lane], 0.9)
    assert (2, 1) == (lane.inflight, len(peers))
    assert 0.9 == peers.oldest(0.9)

    peers.join([lane], 1.1)

    assert (0, 0) == (lane.inflight, len(peers))
    assert NOBODY is lane.others
    assert 0.0 == peers.oldest(1.1)


def test_who_leaves_is_taken_out_at_once() -> None:
    """The last report of a gateway that stops says so."""
    (lane,) = Stage(1).lanes
    peers = Peers(10.0)
    peers.hear(report("b", 1, **{lane.name: Part(2)}), 0.0)
    peers.hear(Report("b", 2, {}, leaving=True), 0.1)
    peers.join([lane], 0.1)

    assert 0 == lane.inflight


def test_older_reports_change_nothing() -> None:
    """Reports that overtake each other do not bring back the past."""
    (lane,) = Stage(1).lanes
    peers = Peers(10.0)

    assert peers.hear(report("b", 2, **{lane.name: Part(2)}), 0.0)
    assert not peers.hear(report("b", 1, **{lane.name: Part(7)}), 0.1)

    peers.join([lane], 0.1)
    assert 2 == lane.inflight


def test_prompts_that_others_sent_are_cached() -> None:
    """A prefix that another gateway sent to a replica is believed to be there."""
    stage = Stage(4)
    lane = stage.lanes[2]
    learn(stage.index, lane, ask().blocks)
    (lease,) = stage.pool.offer(ask(), 0.0)

    assert lane is lease.lane
    assert 8 == lease.depth
    assert 0 < lease.predicted.cached


def test_nothing_is_learned_of_a_replica_that_left() -> None:
    """Its place in the index may be another's by now."""
    stage = Stage(2)
    lane = stage.lanes[1]
    lane.closed = True
    learn(stage.index, lane, ask().blocks)

    assert 0 == stage.index.held(lane.slot)


def test_a_full_lane_is_full_for_all() -> None:
    """The gate counts what all gateways have: who finds every replica full waits."""
    stage = Stage(2)
    full = Part(9, 9e4, stage.lanes[0].gate + 1, 2000.0)
    peers = Peers(10.0)
    peers.hear(report("b", 1, r0=full, r1=full), 0.0)
    peers.join(stage.lanes, 0.0)

    assert [] == stage.pool.offer(ask(), 0.0)

    peers.hear(report("b", 2), 0.1)
    peers.join(stage.lanes, 0.1)

    assert 1 == len(stage.pool.pump(0.1))
