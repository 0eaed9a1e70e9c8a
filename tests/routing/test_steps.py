"""steps.py: how long a step is, how few answers may run, and what a request waits for."""

from math import inf

import pytest

from headrace.routing.cost import SHIPPED, USUAL, Rates
from headrace.routing.lane import Lane
from headrace.routing.steps import (
    FITS,
    FULL,
    STEPS,
    Answers,
    fewest,
    hastened,
    lane_ms,
    mean,
    step_ms,
)
from headrace.routing.terms import COST, KV_WAIT, PREFILL, SLOWDOWN, WAIT, Terms

RATES = Rates(6.0, 2.0, 0.02, 0.0, 0.01, 4e-5)


def lane(decodes: int = 0, tokens: float = 0.0) -> Lane:
    found = Lane("r", 0, rates=RATES)
    found.decodes, found.decode_tokens = decodes, tokens
    return found


def test_a_step_reads_the_weights_or_computes() -> None:
    """Few answers take as long as the weights do, more as long as they need; each reads its KV."""
    assert 6.0 == step_ms(RATES, Answers())
    assert 6.0 + 1.0 + 4.0 == pytest.approx(step_ms(RATES, Answers(100, 100_000)))
    assert 2.0 + 8.0 + 4.0 + 4.0 == pytest.approx(step_ms(RATES, Answers(400, 100_000)))


def test_what_runs_grows() -> None:
    """Tokens of prompts, and of answers by their age; and the mean over several replicas."""
    old = lane(2, 1000.0)
    old.firsts, old.pace_s = 20.0, 0.1

    assert step_ms(RATES, Answers(2, 1100.0)) == lane_ms(old, 15.0)
    assert step_ms(RATES, Answers(400, 1e5)) == lane_ms(lane(400, 1e5), 0.0)
    assert Answers(1, 550.0) == mean([old, lane()], 15.0)


@pytest.mark.parametrize("rates", SHIPPED.values(), ids=SHIPPED)
@pytest.mark.parametrize("count", [20.0, 150.0, 600.0])
@pytest.mark.parametrize("loss", [0.02, 0.1, 0.5])
def test_fewest_lose_what_they_may(rates: Rates, count: float, loss: float) -> None:
    """A request takes 1 / (1 - loss) as much of a replica's time as where the usual ones run."""
    usual, prefill_ms, output = Answers(count, count * 900), 25.0, 200.0
    found = fewest(rates, usual, prefill_ms, output, loss)

    def takes_ms(answers: Answers) -> float:
        return prefill_ms + output * step_ms(rates, answers) / answers.number

    assert takes_ms(usual) == pytest.approx((1 - loss) * takes_ms(found))
    assert found.tokens == pytest.approx(900 * found.number)


def test_fewer_where_prompts_are_what_costs() -> None:
    """Where most of the time goes into prompts, running few answers costs little: fewer run."""
    usual = Answers(200.0, 200_000.0)
    counts = [fewest(USUAL, usual, each, 100.0, 0.05).number for each in (0.0, 20.0, 200.0)]

    assert sorted(counts, reverse=True) == counts
    assert 3 == len(set(counts))


def test_no_more_than_usual() -> None:
    """Where nothing may be lost as many run as elsewhere, and none where none runs elsewhere."""
    usual = Answers(200.0, 200_000.0)

    assert usual == fewest(USUAL, usual, 0.0, 0.0, 0.1)
    assert 200.0 == pytest.approx(fewest(USUAL, usual, 20.0, 100.0, 0.0).number)
    assert Answers() == fewest(USUAL, Answers(), 20.0, 100.0, 0.1)


def test_who_is_in_a_hurry_counts_steps() -> None:
    """The steps it waits for are in its wait; how slow it makes others is not in its cost."""
    terms: Terms = (30.0, 5.0, 0.0, 10.0, 8.0, 7.0, 0.0, 0.0, 100.0, 3)
    idle, busy = hastened(150.0, [terms, terms], [lane(), lane(100, 100_000.0)], 0.0)

    assert (23.0, 5.0, 0.0) == (idle[COST], idle[WAIT], idle[SLOWDOWN])
    steps = STEPS * 11.0
    assert (23.0 + steps, 5.0 + steps) == pytest.approx((busy[COST], busy[WAIT]))
    assert terms[2:SLOWDOWN] == busy[2:SLOWDOWN]
    assert terms[SLOWDOWN + 1 :] == busy[SLOWDOWN + 1 :]
    assert terms[PREFILL] == busy[PREFILL]


def test_a_full_cache_is_no_place_to_hurry_to() -> None:
    """Where an engine may keep it waiting for answers to end, what these cost stays in its cost."""
    terms: Terms = (50.0, 5.0, 20.0, 10.0, 8.0, 7.0, 0.0, 0.0, 100.0, 3)
    room, full = lane(), lane()
    room.kv_tokens = full.kv_tokens = 1000.0
    room.kv_used, full.kv_used = 1000 * FULL, 1000 * FULL + 1
    found = hastened(inf, [terms, terms], [room, full], 0.0)

    assert [43.0, 50.0] == [each[COST] for each in found]
    assert [0.0, 7.0] == [each[SLOWDOWN] for each in found]
    assert [20.0, 20.0] == [each[KV_WAIT] for each in found]


def test_a_prompt_that_fits_now_does_not_wait_for_kv() -> None:
    """What the answers there will have grown to is nothing to it; what is cached needs no room."""
    terms: Terms = (50.0, 5.0, 20.0, 10.0, 8.0, 7.0, 0.0, 0.0, 100.0, 3)
    fits, not_ = lane(), lane()
    fits.kv_tokens = not_.kv_tokens = 1000.0
    fits.kv_used, not_.kv_used = 1000 * FITS - 15, 1000 * FITS - 14
    found = hastened(115.0, [terms, terms], [fits, not_], 0.0)

    assert [23.0, 50.0] == [each[COST] for each in found]
    assert [(0.0, 0.0), (20.0, 7.0)] == [(each[KV_WAIT], each[SLOWDOWN]) for each in found]
