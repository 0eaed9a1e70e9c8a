"""decision.py: what a decision says of itself."""

from headrace.routing.decision import LOWEST, ONLY, Decision
from headrace.routing.terms import Terms
from tests.routing.fleet import Stage


def test_the_next_best_and_the_gap() -> None:
    """The gap is what the next best would have cost more, and replaying gives the same choice."""
    stage = Stage(3)
    first = stage.send(6000, family=1)
    decision = stage.send(6000, family=1).decision
    assert decision is not None
    other = decision.runner_up

    assert first.decision is not None
    assert first.decision.replica == decision.replica
    assert other is not None
    assert decision.gap_ms == decision.terms[other][0] - decision.terms[decision.chosen][0] > 0
    assert decision.chosen == decision.replay()


def test_a_better_one_that_was_full() -> None:
    """A gap below zero says that the best had no room."""
    better: Terms = (40.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 3)
    chosen: Terms = (60.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0)
    decision = Decision(
        "lowest_cost", LOWEST, ("a", "b"), 1, 10.0, seeds=(1, 2), terms=(better, chosen), open=(1,)
    )

    assert -20.0 == decision.gap_ms
    assert 1 == decision.replay()


def test_nothing_to_weigh() -> None:
    """Without another replica there is no gap, and nothing but the choice."""
    decision = Decision("lowest_cost", ONLY, ("r0",), 0, 10.0)

    assert (None, 0.0, "r0", 0) == (
        decision.runner_up, decision.gap_ms, decision.replica, decision.replay(),
    )  # fmt: skip
