"""lessons.py: what finished requests teach."""

import pytest

from headrace.routing.lane import Lane, Lease
from headrace.types import Usage
from tests.routing.fleet import Stage


def answered(stage: Stage, lease: Lease, usage: Usage | None, first: bool = True) -> None:
    if first:
        stage.pool.first_token(lease, stage.now + 0.1)
    stage.now += 2.1
    stage.pool.end(lease, stage.now, usage)


def test_output_and_residence_are_followed() -> None:
    """After many answers of 40 tokens in two seconds, that is what is expected."""
    stage = Stage(2)
    for _ in range(400):
        answered(stage, stage.send(500), Usage(500, 40, 0))

    assert 40 == pytest.approx(stage.pool.lessons.outlook.output, rel=0.05)
    assert 2000 == pytest.approx(stage.pool.lessons.outlook.residence_ms, rel=0.05)


def test_a_failed_request_brought_nothing_into_the_cache() -> None:
    """Without a first token its blocks were never computed; what others brought stays."""
    stage = Stage(2)
    answered(stage, stage.send(2000, family=1), None, first=False)
    assert 0 == len(stage.index)
    answered(stage, stage.send(1000, family=1), Usage(1000, 5, 0))
    held = len(stage.index)
    answered(stage, stage.send(2000, family=1), None, first=False)

    assert held == len(stage.index) == 15


def test_an_aborted_stream_was_computed() -> None:
    """Whose client left after the first token has left its prompt in the cache."""
    stage = Stage(2)
    answered(stage, stage.send(1000, family=1), None)

    assert 15 == len(stage.index)


def test_caches_that_hold_less_than_believed_are_believed_to_be_smaller() -> None:
    """An engine that keeps reporting fewer cached tokens shrinks what the index believes of it."""
    stage = Stage(1)
    lane = stage.lanes[0]
    for number in range(200):
        lease = stage.pool.bind(stage.ask(4000, family=1), lane, stage.now)
        answered(stage, lease, Usage(4000, 10, 64 if number % 2 else 0))

    assert lane.shrink < 0.8
    assert lane.reports


def test_engines_that_report_nothing_are_not_judged() -> None:
    """No cached tokens ever may mean that the engine does not tell."""
    lane: Lane
    stage = Stage(1)
    (lane,) = stage.lanes
    for _ in range(50):
        lease = stage.pool.bind(stage.ask(4000, family=1), lane, stage.now)
        answered(stage, lease, Usage(4000, 10, 0))

    assert (False, 1.0) == (lane.reports, lane.shrink)


def test_the_first_token_of_all_teaches_all() -> None:
    """On machines far slower than shipped rates, replicas that nobody tried look no faster."""
    stage = Stage(3)
    for lane in stage.lanes:
        lane.learns = True
    lease = stage.send(4000)
    stage.now += 40.0  # 100 times what the shipped rates say
    stage.pool.first_token(lease, stage.now)

    waits = [lane.rates.prefill_ms(4000, 0) for lane in stage.lanes]
    assert [pytest.approx(40_000, rel=0.2)] * 3 == waits
