"""rounds.py: a thread that goes on."""

import threading
from functools import partial

import pytest

from headrace.telemetry.rounds import Rounds, traced

PATIENCE_S = 60.0


def test_a_fault_ends_no_thread() -> None:
    """What a turn raises is told, and the next turn comes."""
    turns, told, enough = list[int](), list[str](), threading.Event()

    def turn() -> None:
        turns.append(len(turns))
        if len(turns) == 3:
            enough.set()
        raise ZeroDivisionError

    rounds = Rounds("test-rounds", 0.001, turn, lambda **traced: told.append(traced["error"]))
    assert not rounds.running
    rounds.start()
    assert rounds.running
    assert enough.wait(PATIENCE_S)
    rounds.end()
    rounds.wait(PATIENCE_S)

    assert not rounds.running
    assert ["ZeroDivisionError"] * len(turns) == told


def test_the_last_turn() -> None:
    """At the end there is one turn more, of its own kind if there is one."""
    done: list[str] = []
    turn, last = partial(done.append, "turn"), partial(done.append, "last")

    for rounds in (
        Rounds("test-rounds", 3600, turn, print),
        Rounds("test-rounds", 3600, turn, print, last),
    ):
        rounds.start()
        rounds.end()
        rounds.wait(PATIENCE_S)

    assert ["turn", "last"] == done


def test_who_never_began_is_not_awaited() -> None:
    """A thread that was not started can be ended, and nothing is done."""
    done: list[str] = []
    rounds = Rounds("test-rounds", 0.001, lambda: done.append("turn"), lambda **_: None)

    rounds.end()
    rounds.wait(PATIENCE_S)

    assert [] == done


def test_a_fault_without_its_words() -> None:
    """A log learns the kind and the places of a fault, never its text, which may be a client's."""
    with pytest.raises(ValueError, match="secret") as raised:
        int("the client's secret")

    told = traced(raised.value)

    assert "ValueError" == told["error"]
    assert "secret" not in str(told)
    assert str(told["where"]).startswith("['test_a_fault_without_its_words:")
