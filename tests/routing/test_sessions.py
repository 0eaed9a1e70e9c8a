"""sessions.py: where a session is at home, and what happens when that is gone."""

from headrace.routing.blocks import hash_of
from headrace.routing.sessions import Sessions
from tests.routing.fleet import Stage


def test_it_is_at_home_where_it_was_answered() -> None:
    """The replica that answered last, while it is there; any other one is a move."""
    lanes = Stage(4).lanes
    sessions = Sessions()
    for lane in lanes:
        sessions.pin("alice", lane.name)

        assert lane is sessions.home("alice", lanes)
    assert 3 == sessions.moved


def test_unknown_and_homeless_ones_have_a_rendezvous() -> None:
    """Two gateways agree on the home of a session that neither knows, or whose home has left."""
    lanes = Stage(4).lanes
    one, other = Sessions(), Sessions()
    other.pin("key-1", "gone")

    for number in range(20):
        key = f"key-{number}"
        assert one.home(key, lanes) is other.home(key, lanes)
    assert 1 < len({one.home(f"key-{number}", lanes).name for number in range(20)})


def test_the_oldest_are_forgotten() -> None:
    """Memory is bounded; a session that comes again is younger."""
    sessions = Sessions(most=2)
    for key in ("a", "b", "a", "c"):
        sessions.pin(key, "r0")

    assert [hash_of("a"), hash_of("c")] == list(sessions._homes)


def test_a_pin_whose_replica_is_gone_is_counted_as_such() -> None:
    """A move because the replica has left counts twice: as a move, and as a new pin."""
    sessions = Sessions()
    sessions.pin("alice", "r0", ("r0", "r1"))
    sessions.pin("alice", "r1", ("r0", "r1"))
    sessions.pin("alice", "r2", ("r0", "r2"))

    assert (2, 1) == (sessions.moved, sessions.repinned)


def test_pins_travel() -> None:
    """What one gateway has pinned since the last time is at home in the other, without its key."""
    lanes = Stage(4).lanes
    one, other = Sessions(), Sessions()
    one.pin("before", "r1")
    assert {} == one.take()

    one.pin("alice", "r3")
    taken = one.take()
    other.pin("alice", "r0")
    other.adopt(taken)

    assert {hash_of("alice"): "r3"} == taken
    assert {} == one.take()
    assert "r3" == other.home("alice", lanes).name
    assert 0 == other.moved
