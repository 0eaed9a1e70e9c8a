"""pace.py: in a large fleet replicas are asked less often, but never those that need it."""

from headrace.config.backends import Backend
from headrace.config.fleet import Health, Outliers
from headrace.fleet import pace
from headrace.fleet.registry import Replica
from headrace.fleet.states import State
from headrace.fleet.ward import Ward

NOW = 1000.0


def watched(**known: float) -> Ward:
    """A replica that is well; ``known`` are fields of its ward."""
    replica = Replica(Backend(url="http://a:8000", serves={"m": "m"}), 1.0)
    replica.state = State.READY
    ward = Ward(replica, Health(), Outliers())
    ward.good_at = ward.load_at = ward.suspect.signed_at = NOW
    for name, value in known.items():
        setattr(ward, name, value)
    return ward


def test_a_small_fleet_is_asked_always() -> None:
    """Up to 64 replicas nothing waits longer than its interval."""
    assert not pace.may_check_later(watched(), NOW + 1.0, 2.0, 64)
    assert not pace.may_read_later(watched(), NOW + 2.0, 2.0, 64)


def test_checks_wait_while_answers_show_life() -> None:
    """In a large fleet a check waits for four intervals at most, while its answers come."""
    ward = watched()
    ward.suspect.signed_at = NOW + 6.0

    assert pace.may_check_later(ward, NOW + 7.0, 2.0, 256)
    assert not pace.may_check_later(ward, NOW + 8.0, 2.0, 256)


def test_checks_go_on_without_a_sign_of_life() -> None:
    """One that idles, failed its last check, or is not ready, is checked as ever."""
    silent, sick, degraded = watched(), watched(bad=1), watched()
    silent.suspect.signed_at = NOW - 2.0
    degraded.replica.state = State.DEGRADED

    for ward in (silent, sick, degraded):
        assert not pace.may_check_later(ward, NOW, 2.0, 256)


def test_readings_wait_while_it_idles() -> None:
    """Metrics of one that does nothing can wait; those that could not be read cannot."""
    idle, busy, failing = watched(), watched(), watched(load_failures=1)
    idle.suspect.signed_at = busy.suspect.signed_at = 0.0
    busy.replica.inflight_requests = 1

    assert pace.may_read_later(idle, NOW + 5.0, 1.5, 256)
    assert not pace.may_read_later(busy, NOW + 5.0, 1.5, 256)
    assert not pace.may_read_later(failing, NOW, 1.5, 256)


def test_first_readings_are_spread() -> None:
    """Hundreds of replicas that come together are not read together; a few are read at once."""
    few = [pace.first(1.0, 8) for _ in range(200)]
    many = [pace.first(1.0, 256) for _ in range(200)]

    assert max(few) <= 1.1
    assert 2.0 < max(many) <= 4.4
    assert min(few + many) >= 0.9
