"""outliers.py: failures in a row, the success rate against peers, and how long ejections last."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.config.fleet import Outliers
from headrace.fleet.outliers import Count, Sentence, Streak, Window, laggards, may_eject

RULES = Outliers()


class TestStreak:
    def test_failures_in_a_row_add_up(self) -> None:
        """As long as nothing went well in between, the streak grows."""
        streak = Streak()

        assert [1, 2, 3] == [streak.failed(7) for _ in range(3)]

    def test_a_success_ends_it(self) -> None:
        """One good answer between two failures begins a new streak."""
        streak = Streak()

        assert [1, 2, 1, 2] == [streak.failed(answered) for answered in (0, 0, 1, 1)]


class TestWindow:
    def test_the_first_look_has_seen_nothing(self) -> None:
        """Totals from before the window are not in it."""
        assert Count(0, 0) == Window(30).look(0, Count(500, 20))

    def test_old_requests_leave(self) -> None:
        """What ended longer ago than the window does not count."""
        window = Window(30)
        looks = [window.look(now, Count(now, 0)) for now in range(100)]

        assert Count(30, 0) == looks[-1]

    def test_idling(self) -> None:
        """Looks at totals that stay the same are one; what came before them leaves in time."""
        window = Window(30)
        window.look(0, Count(0, 0))
        looks = [window.look(now, Count(10, 10)) for now in range(1, 40)]

        assert [Count(10, 10)] * 30 == looks[:30]
        assert Count(0, 0) == looks[30]

    def test_clear(self) -> None:
        """A replica that returns begins at nothing."""
        window = Window(30)
        window.look(0, Count(0, 0))
        window.look(1, Count(10, 10))
        window.clear()

        assert Count(0, 0) == window.look(2, Count(10, 10))


class TestLaggards:
    def test_one_is_far_below(self) -> None:
        """A replica that fails half while its peers fail none is named, with both rates."""
        found = laggards({"a": Count(50, 0), "b": Count(25, 25), "c": Count(40, 0)}, RULES)

        assert {"b": "success rate 50% of 50 requests, its peers have 100%"} == found

    def test_all_are_bad(self) -> None:
        """When all fail alike, the cause is not one of them."""
        assert {} == laggards({name: Count(10, 40) for name in "abc"}, RULES)

    @pytest.mark.parametrize(
        "counts",
        [
            {"a": Count(0, 19), "b": Count(500, 0)},
            {"a": Count(0, 500), "b": Count(19, 0)},
            {"a": Count(0, 500)},
            {},
        ],
    )
    def test_too_few_requests(self, counts: dict[str, Count]) -> None:
        """Without enough requests on both sides a rate says nothing."""
        assert {} == laggards(counts, RULES)

    @given(st.dictionaries(st.text(), st.builds(Count, st.integers(0, 99), st.integers(0, 99))))
    def test_never_all(self, counts: dict[str, Count]) -> None:
        """However they fare, the best one is never named."""
        assert len(laggards(counts, RULES)) < max(1, len(counts))


@pytest.mark.parametrize(
    ("replicas", "allowed"), [(1, 0), (2, 1), (3, 1), (4, 2), (8, 4), (9, 4), (64, 32)]
)
def test_share_of_ejected(replicas: int, allowed: int) -> None:
    """Half of a model's replicas may be ejected, rounded down; the only one never."""
    assert allowed == sum(may_eject(ejected, replicas, 0.5) for ejected in range(replicas))


class TestSentence:
    def test_doubles_up_to_the_cap(self) -> None:
        """Each ejection that follows soon lasts twice as long, five minutes at most."""
        sentence, now, lasted = Sentence(RULES), 1000.0, []
        for _ in range(8):
            lasted.append(sentence.begin(now))
            now = sentence.until + 1

        assert [10, 20, 40, 80, 160, 300, 300, 300] == lasted

    def test_good_time_is_forgiven(self) -> None:
        """Who did well for twice as long as it was away begins anew."""
        sentence = Sentence(RULES)
        sentence.begin(1000)
        sentence.begin(sentence.until + 1)  # 20 s

        assert 10 == sentence.begin(sentence.until + 41)

    @given(st.lists(st.floats(0, 1e5), max_size=2000))
    def test_never_beyond_the_cap(self, gaps: list[float]) -> None:
        """Whatever happens, no ejection is longer than the cap or shorter than the first."""
        sentence, now = Sentence(RULES), 1.0
        for gap in gaps:
            assert 10 <= sentence.begin(now) <= 300
            now = sentence.until + gap
