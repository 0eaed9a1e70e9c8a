"""shares.py: who is in a share, who has which arm, and that they stay there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.routing.shares import assign, fraction, reweighed, within

NAMES = ("a", "b", "c", "d")
WEIGHTS = st.one_of(st.just(0.0), st.floats(0.001, 100))  # as people write them
people = [f"user:{number}" for number in range(4000)]


def test_the_hash_is_for_ever() -> None:
    """These numbers may never change: a new release must not send everybody elsewhere."""
    drawn = [assign("e", f"user:{number}", NAMES[:3], (1, 2, 3)) for number in range(12)]

    assert 0.3449761987504208 == fraction("share:r", "user:1")
    assert [2, 0, 0, 2, 2, 1, 2, 2, 1, 2, 2, 2] == drawn


@given(st.text(max_size=20), st.text(max_size=20))
def test_fractions_are_inside(salt: str, identity: str) -> None:
    """Never 0, never 1, whatever the text (a logarithm is taken)."""
    assert 0 < fraction(salt, identity) < 1


@pytest.mark.parametrize("percent", [1, 10, 50, 90])
def test_shares_have_their_size(percent: float) -> None:
    """A share is as large as it says, give or take chance (4 standard deviations)."""
    inside = sum(within("share:r", who, percent) for who in people)

    expected, deviation = 4000 * percent / 100, (4000 * percent / 100 * (1 - percent / 100)) ** 0.5
    assert abs(inside - expected) < 4 * deviation


@given(st.floats(0, 100), st.floats(0, 100))
def test_shares_grow(first: float, second: float) -> None:
    """Whoever is in the smaller share is in the larger one."""
    small, large = sorted((first, second))
    assert all(within("s", who, large) for who in people[:200] if within("s", who, small))


def test_shares_of_different_rules_are_independent() -> None:
    """Half of one half: a quarter is in both."""
    both = sum(within("share:a", who, 50) and within("share:b", who, 50) for who in people)

    assert abs(both - 1000) < 110


@given(
    st.lists(st.floats(0, 10), min_size=2, max_size=4).filter(lambda w: sum(w) > 0.01),
    st.integers(0, 3),
    st.floats(1.01, 5),
)
def test_a_ramp_moves_nobody_between_others(weights: list[float], arm: int, times: float) -> None:
    """When an arm grows, identities only come to it; all others stay where they are."""
    arm %= len(weights)
    grown = [w * times if index == arm else w for index, w in enumerate(weights)]
    for who in people[:100]:
        before = assign("e", who, NAMES, weights)
        after = assign("e", who, NAMES, grown)
        assert after in {before, arm}


def test_arms_have_their_weights() -> None:
    """Arms get as many as their weights say, and an arm without weight gets none."""
    counts = [0, 0, 0]
    for who in people:
        counts[assign("e", who, NAMES, (80, 20, 0))] += 1

    assert 0 == counts[2]
    assert abs(counts[0] - 3200) < 100


@given(st.lists(WEIGHTS, min_size=2, max_size=5), st.data(), WEIGHTS)
def test_reweighed(weights: list[float], data: st.DataObject, percent: float) -> None:
    """The arm has its share out of a hundred, and the others their proportions."""
    arm = data.draw(st.integers(0, len(weights) - 1))
    found = reweighed(weights, arm, percent)

    assert percent == found[arm]
    assert 100 == pytest.approx(sum(found))
    rest = sum(weights) - weights[arm]
    for index, weight in enumerate(weights):
        if index != arm and rest > 1e-6:
            assert pytest.approx((100 - percent) * weight / rest, abs=1e-6) == found[index]
