"""
All that is known of one replica's health: probes in a row, failures, signs of life, the load view.

What is done about it is health.py's.
"""

import time
from collections.abc import Callable, Iterable

from headrace.config.fleet import Health, Outliers
from headrace.fleet import ramp
from headrace.fleet.load import LoadView
from headrace.fleet.outliers import Sentence, Streak, Window
from headrace.fleet.probe import Probe
from headrace.fleet.registry import Replica
from headrace.fleet.states import State
from headrace.fleet.stuck import Suspect, Vitals


class Progress:
    """What a replica's running requests show: streams, when a byte last came, what waits."""

    __slots__ = ("byte_at", "streams", "waiting_prompt")

    def __init__(self) -> None:
        self.streams = 0
        self.byte_at = 0.0  # monotonic, s
        self.waiting_prompt = 0  # tokens of the longest prompt without a byte yet


NONE = Progress()


class Ward:
    """One replica under watch. Times are monotonic (s)."""

    def __init__(self, replica: Replica, health: Health, outliers: Outliers) -> None:
        self.replica = replica
        self.probed = health.enabled and replica.backend.probe
        self.probe = Probe(replica, health.timeout_s)
        self.good = 0  # probes in a row
        self.bad = 0
        self.good_at = time.monotonic()  # the last good probe, at first its birth
        self.streak = Streak()
        self.window = Window(outliers.window_s)
        self.sentence = Sentence(outliers)
        self.suspect = Suspect(health.stuck_s)
        self.vitals = Vitals(inflight=0)
        self.confirming = False  # a token that it must answer is on its way
        self.still_s = 0.0  # busy without a sign of life for so long
        self._rested: tuple[int, LoadView | None] | None = None  # as it was at a look, if it idled
        self.joined_at: float | None = None  # when its slow start began
        self.load: LoadView | None = None
        self.load_at = 0.0
        self.load_failures = 0  # readings in a row

    def heard(self, *, good: bool) -> None:
        """Count a probe."""
        if good:
            self.good_at = time.monotonic()
        self.good = self.good + 1 if good else 0
        self.bad = 0 if good else self.bad + 1

    def renew(self) -> None:
        """Forget what was held against it."""
        self.good = self.bad = 0
        self.streak = Streak()
        self.window.clear()

    def look(self, now: float, progress: Progress) -> None:
        """Take its vital signs; of one that goes on idling they are what they were."""
        replica, load = self.replica, self.load
        rested, self._rested = self._rested, None
        if not replica.inflight_requests and (load is None or not load.running):
            answered = replica.answered
            self._rested = answered, load
            if rested is not None and rested[0] == answered and rested[1] is load:
                return
        self.vitals = Vitals(
            inflight=replica.inflight_requests,
            streams=progress.streams,
            waiting_prompt=progress.waiting_prompt,
            byte_at=progress.byte_at,
            answered=replica.answered,
            pulse=load.pulse if load is not None else None,
            pulse_at=self.load_at,
            running=load.running if load is not None else 0.0,
        )
        self.still_s = self.suspect.look(now, self.vitals)

    def weigh(self, now: float, slow_start_s: float, peers: Callable[[], Iterable["Ward"]]) -> None:
        """Set what routing sees beyond the replica's load: slow start, or a lower share."""
        replica, weight = self.replica, 1.0
        if self.joined_at is not None:
            weight = ramp.weight(now - self.joined_at, slow_start_s)
            if weight == 1.0:
                self.joined_at = None
        if replica.state is State.DEGRADED:
            weight = min(weight, ramp.DEGRADED)
        if weight < 1.0 or replica.penalty:
            loads = [peer.replica.inflight_tokens for peer in peers()]
            replica.penalty, replica.weight = ramp.penalty(weight, loads), weight
