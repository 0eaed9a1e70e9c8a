"""stickiness.py: what is remembered of stored responses, and for how long."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.routing.stickiness import Holder, Stickiness


class TestStickiness:
    def test_what_is_remembered(self) -> None:
        """A key leads to its latest holder; an unknown key to none."""
        sticky = Stickiness()
        sticky.remember("resp_1", "m", "a")
        sticky.remember("resp_1", "m", "b")

        assert (Holder("m", "b"), None) == (sticky.recall("resp_1"), sticky.recall("resp_2"))

    @given(st.lists(st.integers(0, 6), max_size=30), st.integers(1, 4))
    def test_the_oldest_are_forgotten(self, keys: list[int], limit: int) -> None:
        """Never more than the limit are held: those that were remembered last."""
        sticky = Stickiness(limit)
        for turn, key in enumerate(keys):
            sticky.remember(str(key), "m", str(turn))
        last = {key: str(turn) for turn, key in enumerate(keys)}
        kept = sorted(last, key=lambda key: int(last[key]))[-limit:]

        found = {key: sticky.recall(str(key)) for key in range(7)}

        assert {key: Holder("m", last[key]) for key in kept} == {
            key: holder for key, holder in found.items() if holder is not None
        }

    def test_what_is_used_is_kept(self) -> None:
        """A conversation that goes on is not forgotten before one that rests."""
        sticky = Stickiness(limit=2)
        sticky.remember("used", "m", "a")
        sticky.remember("rests", "m", "a")
        sticky.recall("used")
        sticky.remember("new", "m", "a")

        assert Holder("m", "a") == sticky.recall("used")
