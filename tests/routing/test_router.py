"""router.py: stickiness first, then the policy; and what is remembered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.routing.router import LEAST, ONLY, STICKY, Holder, Stickiness, choose, without
from headrace.types import Decision

fleets = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 9), min_size=1).map(
    lambda loads: (list(loads), list(loads.values()))
)


@pytest.mark.parametrize(
    ("loads", "holder", "decision"),
    [
        ([7], None, Decision(0, ONLY)),
        ([7], "b", Decision(0, ONLY)),
        ([7, 3], None, Decision(1, LEAST)),
        ([7, 3], "a", Decision(0, STICKY)),
        ([7, 3], "gone", Decision(1, LEAST)),
    ],
)
def test_choose(loads: list[int], holder: str | None, decision: Decision) -> None:
    """The holder of a stored response wins over load, if it is a candidate; the reason is told."""
    assert decision == choose(["a", "b"][: len(loads)], loads, 0, holder)


@given(fleets, st.integers(0, 10**6), st.none() | st.sampled_from("abcdefghz"))
def test_choices_explain_themselves(
    fleet: tuple[list[str], list[int]], turn: int, holder: str | None
) -> None:
    """Whatever was decided, the reason is true."""
    names, loads = fleet

    decision = choose(names, loads, turn, holder)

    reasons = {
        ONLY: len(names) == 1,
        STICKY: names[decision.index] == holder and len(names) > 1,
        LEAST: loads[decision.index] == min(loads) and holder not in names and len(names) > 1,
    }
    assert reasons[decision.reason]


@given(fleets, st.lists(st.sampled_from("abcdefghz")))
def test_without(fleet: tuple[list[str], list[int]], tried: list[str]) -> None:
    """What was tried is gone; the others keep their order and their loads."""
    expected = [(name, load) for name, load in zip(*fleet, strict=True) if name not in tried]

    names, loads = without(tried, *fleet)

    assert expected == list(zip(names, loads, strict=True))


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
