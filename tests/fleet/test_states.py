"""states.py: which state may follow which."""

from headrace.fleet.states import FOLLOWS, ROUTABLE, State


def reachable(start: State) -> set[State]:
    found, ahead = set[State](), [start]
    while ahead:
        state = ahead.pop()
        ahead += FOLLOWS[state] - found
        found |= FOLLOWS[state]
    return found


def test_every_state_is_reached_from_birth() -> None:
    """A replica can be in each state, beginning with starting."""
    assert set(State) == reachable(State.STARTING) | {State.STARTING}


def test_every_state_can_be_told_to_go() -> None:
    """Whatever state a replica is in, it can be drained and it can end."""
    for state in set(State) - {State.DRAINING, State.GONE}:
        assert {State.DRAINING, State.GONE} <= FOLLOWS[state]
    assert State.GONE in FOLLOWS[State.DRAINING]


def test_gone_is_the_end() -> None:
    """What has ended never serves again; its successor is another replica."""
    assert frozenset() == FOLLOWS[State.GONE]


def test_an_ejected_replica_is_warmed_before_it_serves() -> None:
    """No way leads from ejected to a user's request but by warming."""
    assert FOLLOWS[State.EJECTED].isdisjoint(ROUTABLE)
