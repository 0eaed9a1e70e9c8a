"""cost.py: rates are found from what prefills took, whatever some of them say."""

from math import exp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.routing.cost import HIGHEST, LOWEST, SHIPPED, USUAL, Fit, share


def teach(fit: Fit, factor: float, times: int = 40) -> None:
    """Prefills of growing length on a replica that is so many times slower."""
    for number in range(times):
        tokens = 200.0 + 150 * number
        took = factor * fit.start.prefill_ms(tokens, 0)
        fit.prefilled(took, 1, tokens, tokens * tokens / 2)


def test_prefill() -> None:
    """4,000 tokens take an H100 some 90 ms, as measured; half of them cached, half of that."""
    whole, half = USUAL.prefill_ms(4000, 0), USUAL.prefill_ms(4000, 2000)

    assert 86.6 == pytest.approx(whole, abs=0.1)
    assert 46.0 == pytest.approx(half, abs=0.1)


@pytest.mark.parametrize("factor", [0.1, 1 / 3, 1.0, 3.0, 50.0])
def test_the_factor_is_found(factor: float) -> None:
    """From half to 50 times as slow: after forty prefills within 5 %."""
    fit = Fit()
    teach(fit, factor)
    share([fit])

    assert factor == pytest.approx(fit.rates.b / USUAL.b, rel=0.05)


def test_what_is_out_of_the_ordinary_counts_little() -> None:
    """One prefill in five that took twenty times as long moves the factor by less than half."""
    fit = Fit()
    teach(fit, 2.0)
    for number in range(100):
        took = (20 if number % 5 == 0 else 1) * 2 * USUAL.prefill_ms(1000, 0)
        fit.prefilled(took, 1, 1000, 500_000)

    assert 2.0 <= exp(fit.level) < 3.0


def test_a_busy_replica_is_not_a_slow_one() -> None:
    """What the others' decoding takes is not held against the prefills."""
    fit = Fit()
    for number in range(40):
        tokens = 300.0 + 50 * number
        busy = USUAL.w + USUAL.ds * 60 + USUAL.kv * 400_000
        took = USUAL.prefill_ms(tokens, 0) + 1.5 * busy
        fit.prefilled(took, 1, tokens, tokens * tokens / 2, (60, 400_000.0))

    assert 0.0 == pytest.approx(fit.level, abs=0.05)


def test_what_says_little_is_not_learned() -> None:
    """A prompt of a few tokens takes one iteration, however fast prefills are."""
    fit = Fit()
    fit.prefilled(50.0, 1, 10, 50, (100, 400_000.0))

    assert 0 == fit.samples


def test_equal_replicas_share_their_rates() -> None:
    """A tenth of difference is noise: the very same rates for all, those of the mean."""
    fits = [Fit() for _ in range(4)]
    for fit, factor in zip(fits, (0.9, 1.0, 1.1, 1.2), strict=True):
        teach(fit, factor)
    share(fits)

    assert 1 == len({id(fit.rates) for fit in fits})
    assert 1.05 == pytest.approx(fits[0].rates.b / USUAL.b, rel=0.05)


def test_two_kinds_of_replicas_stay_apart() -> None:
    """Those that are three times as slow have rates of their own."""
    fast, slow = [Fit() for _ in range(3)], [Fit() for _ in range(3)]
    for fit in fast:
        teach(fit, 1.0)
    for fit in slow:
        teach(fit, 3.0)
    share([*fast, *slow])

    assert [1.0] * 3 + [3.0] * 3 == pytest.approx(
        [fit.rates.b / USUAL.b for fit in [*fast, *slow]], rel=0.05
    )


def test_start_values_are_kept_apart() -> None:
    """Replicas of one kind that began with different rates each keep the shape of theirs."""
    fits = [Fit(SHIPPED["h100"]), Fit(SHIPPED["a100"])]
    for fit in fits:
        teach(fit, 1.0)
    share(fits)

    assert [1.0, 1.0] == pytest.approx([fit.rates.w / fit.start.w for fit in fits], rel=0.05)


def test_who_is_not_known_is_not_taken_for_a_wonder() -> None:
    """On slow machines a replica that nobody has tried yet does not count by the shipped rates."""
    old, new = Fit(), Fit()
    teach(old, 5.0)
    share([old, new])

    assert old.rates == new.rates != USUAL


@given(st.lists(st.tuples(st.floats(-10, 1e9), st.integers(0, 20), st.floats(0, 1e6)), max_size=60))
def test_nothing_drives_it_out_of_bounds(samples: list[tuple[float, int, float]]) -> None:
    """Whatever is measured, rates stay positive and within what machines are."""
    fit = Fit()
    for took_ms, requests, tokens in samples:
        fit.prefilled(took_ms, requests, tokens, tokens * tokens / 2)
    share([fit])

    assert LOWEST <= fit.level <= HIGHEST
    assert min(fit.rates) > 0


def test_who_is_not_known_counts_among_the_fastest() -> None:
    """A replica that nobody has tried yet is not taken for slower than those that were."""
    quick, slow, new = Fit(), Fit(), Fit()
    teach(quick, 0.1)
    teach(slow, 3.0)

    share([quick, slow, new])

    assert quick.rates == new.rates
    assert new.rates.b < slow.rates.b
