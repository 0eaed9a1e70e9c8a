"""ward.py: what is known of one replica; idling replicas are looked at for nearly nothing."""

import random

from headrace.config.backends import Backend
from headrace.config.fleet import Health, Outliers
from headrace.fleet.load import LoadView
from headrace.fleet.registry import Replica
from headrace.fleet.stuck import Suspect, Vitals
from headrace.fleet.ward import NONE, Progress, Ward


def test_idling_changes_nothing_that_counts() -> None:
    """However work, rest and readings follow each other: signs and silence are as by full looks."""
    chance = random.Random(7)
    replica = Replica(Backend(url="http://a:8000", serves={"m": "m"}), 1.0)
    ward, plain = Ward(replica, Health(), Outliers()), Suspect(Health().stuck_s)
    now, tokens, leases, rests = 1000.0, 0.0, [replica.lease(1)], 0
    for _ in range(3000):
        now += 0.5
        if chance.random() < 0.2:
            leases.append(replica.lease(1))
        while leases and chance.random() < 0.3:
            leases.pop().release()
        if chance.random() < 0.2:
            running = float(chance.random() < 0.4)
            tokens += chance.random() < 0.3
            ward.load, ward.load_at = LoadView(running=running, generation_tokens=tokens), now
        progress = Progress() if replica.inflight_requests else NONE
        before = ward.vitals
        ward.look(now, progress)
        load = ward.load
        seen = Vitals(
            inflight=replica.inflight_requests,
            answered=replica.answered,
            pulse=load.pulse if load is not None else None,
            pulse_at=ward.load_at,
            running=load.running if load is not None else 0.0,
        )
        rests += ward.vitals is before

        assert plain.look(now, seen) == ward.still_s
        assert plain.signed_at == ward.suspect.signed_at
        assert seen == ward.vitals
        assert plain.judge(now, seen, peers_signed_at=now) == ward.suspect.judge(
            now, ward.vitals, peers_signed_at=now
        )
    assert 100 < rests < 2900


def test_a_slow_start_lasts_until_its_end() -> None:
    """The share grows from look to look, with a penalty that falls; at the end both are gone."""
    new, old = (
        Ward(Replica(Backend(url=f"http://{host}:8000", serves={"m": "m"}), 1.0), Health(),
             Outliers())
        for host in "ab"
    )  # fmt: skip
    old.replica.lease(1000)
    new.joined_at = 50.0

    seen = []
    for now in (50.0, 55.0, 59.0, 60.0, 55.0):  # it does not begin again
        new.weigh(now, 10.0, lambda: [old])
        seen.append((round(new.replica.weight, 2), new.replica.penalty))

    assert [(0.1, 900), (0.55, 450), (0.91, 90), (1.0, 0), (1.0, 0)] == seen
