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
