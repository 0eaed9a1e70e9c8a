"""
Moves replicas from state to state: probes them, warms them, sets them aside, takes them back.

The driver only: what a probe sends is probe.py's, and the decisions are those of outliers.py,
stuck.py and ramp.py. Everything here runs beside the requests; none of them waits for it.
"""

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Mapping

from headrace.config.schema import Config
from headrace.fleet import load, outliers, pace
from headrace.fleet.outliers import Count
from headrace.fleet.probe import Failed
from headrace.fleet.registry import Fleet, Replica
from headrace.fleet.states import ROUTABLE, State, Transition
from headrace.fleet.ward import NONE, Progress, Ward
from headrace.telemetry.fleet import FleetMetrics, Shown
from headrace.telemetry.writer import Writer

TICK_S = 0.5
SOON_S = 0.1  # between two looks whether a replica that is set aside, or asleep, may come back
STARTING_S = 0.5  # between two probes of a replica that users wait for
CONFIRM_S = 2.0  # for the token that a replica must answer when it only seems stuck
HALF_OPEN_S = 30.0  # for the first token after an ejection: it has been warm before
METRICLESS_S = 30.0  # between two looks for metrics that were not there
DEAF_S = 60.0  # a front end under any load answers something in this time
STALE = 3  # readings of the load that fail in a row before it counts as degraded
SHORT = 256 * 1024  # bytes of /metrics that are read in 0.4 ms, less than a thread costs others

CAUSES = ("health", "slow", "failures", "success_rate", "stuck", "warm_up")

Look = Callable[[], Mapping[Replica, Progress]]


class Keeper:
    """Watches over the replicas of a fleet. ``progress`` tells what their requests show."""

    def __init__(
        self, fleet: Fleet, config: Config, log: Writer, metrics: FleetMetrics, progress: Look
    ) -> None:
        self._fleet = fleet
        self._health = config.health
        self._outliers = config.outliers
        self._load = config.load
        self._log = log
        self._metrics = metrics
        self._progress = progress
        self._wards: dict[Replica, Ward] = {}
        self._tasks: dict[Replica, list[asyncio.Task[None]]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._ticks: asyncio.Task[None] | None = None
        fleet.watch(self._moved)
        metrics.watch(self._shown)

    def start(self) -> None:
        """Probe from now on; replicas that come later are probed from their birth."""
        self._ticks = asyncio.get_running_loop().create_task(self._tick_always())
        for ward in tuple(self._wards.values()):
            self._begin(ward)

    async def stop(self) -> None:
        """Probe no more, and close the probes' connections."""
        ticks, self._ticks = self._ticks, None
        for replica in tuple(self._tasks):
            self._end(replica)
        if ticks is not None:
            ticks.cancel()
            self._ending.add(ticks)
        if self._ending:
            await asyncio.wait(tuple(self._ending))
        await asyncio.sleep(0)  # connections that were aborted are closed in the next turn

    def ward(self, replica: Replica) -> Ward | None:
        """What is known of a replica."""
        return self._wards.get(replica)

    def view(self, replica: Replica) -> load.LoadView | None:
        """What a replica last said about itself."""
        ward = self._wards.get(replica)
        return ward.load if ward is not None else None

    # --- births and deaths ------------------------------------------------------------------

    def _moved(self, replica: Replica, step: Transition) -> None:
        """Tell, count, and take note (``Watcher``)."""
        self._log.event(
            "replica_state",
            replica=step.replica,
            **{"from": step.before, "to": step.after, "reason": step.reason},
        )
        if step.before is None:
            self._metrics.born(step.replica)
            ward = self._wards[replica] = Ward(replica, self._health, self._outliers)
            replica.on_failure, replica.probed = self._failed, ward.probed
            if self._ticks is not None:
                self._begin(ward)
        self._metrics.moved(step.replica, step.after)
        if step.after is State.GONE:
            self._end(replica)
            if step.replica not in self._fleet.replicas:
                self._metrics.left(step.replica)
            return
        joins = step.after in ROUTABLE and step.before in {State.STARTING, State.WARMING}
        if joins and self._ticks is not None:
            ward = self._wards[replica]
            ward.joined_at = time.monotonic()
            self._weigh(ward, ward.joined_at)

    def _begin(self, ward: Ward) -> None:
        loop = asyncio.get_running_loop()
        loops = [self._check_always(ward)]
        if self._load.enabled and ward.replica.backend.probe:
            loops.append(self._read_always(ward))
        self._tasks[ward.replica] = [loop.create_task(each) for each in loops]

    def _end(self, replica: Replica) -> None:
        ward = self._wards.pop(replica, None)
        if ward is not None:
            ward.probe.close()
        for task in self._tasks.pop(replica, ()):
            task.cancel()
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    # --- probes -----------------------------------------------------------------------------

    async def _check_always(self, ward: Ward) -> None:
        replica, rules = ward.replica, self._health
        if replica.state in ROUTABLE:
            await asyncio.sleep(pace.jittered(rules.interval_s))
        while True:
            if replica.state is State.EJECTED and ward.sentence.until > time.monotonic():
                await asyncio.sleep(min(SOON_S, rules.interval_s))
                continue
            if replica.state is State.SLEEPING:  # whoever put it to sleep watches its process
                await asyncio.sleep(min(SOON_S, rules.interval_s))
                continue
            now, many = time.monotonic(), len(self._wards)
            if not pace.may_check_later(ward, now, rules.interval_s, many):
                self._heard(ward, await self._check(ward))
            if replica.state is State.WARMING:
                await self._warm(ward)
            waited_for = replica.state is State.STARTING
            soon = min(STARTING_S, rules.interval_s)
            await asyncio.sleep(pace.jittered(soon if waited_for else rules.interval_s))

    async def _check(self, ward: Ward) -> Failed | None:
        """Probe once; what is not to be probed always passes."""
        if not ward.probed:
            return None
        try:
            await ward.probe.health(self._health.timeout_s)
        except Failed as failed:
            if ward.replica.state is not State.DRAINING:  # whoever leaves may stop listening first
                self._metrics.check_failed(ward.replica.name)
            return failed
        return None

    def _heard(self, ward: Ward, failed: Failed | None) -> None:
        replica = ward.replica
        if failed is not None and failed.unasked:
            return
        alive_s = time.monotonic() - ward.suspect.signed_at
        if failed is not None and failed.slow and alive_s < self._health.timeout_s + TICK_S:
            # Too busy for its own /health, but it answers: taking it out would only move the load.
            self._fleet.move(replica, State.DEGRADED, f"{failed}, though it answers requests")
            return
        ward.heard(good=failed is None)
        if failed is not None:
            self._ail(ward, failed)
        elif replica.state is State.STARTING:
            self._fleet.move(replica, State.WARMING, "its health check passed")
        elif replica.state is State.EJECTED:
            if not ward.probed or ward.good >= self._health.successes:
                self._fleet.move(replica, State.WARMING, "its time is over, and it is healthy")
        elif replica.state is State.DEGRADED and ward.good >= self._health.successes:
            self._recover(ward)

    def _ail(self, ward: Ward, failed: Failed) -> None:
        """A probe has failed."""
        replica, reason = ward.replica, str(failed)
        if replica.state is State.STARTING:
            replica.reason = reason  # no transition, but what people wait for
        if replica.state not in ROUTABLE:
            if failed.slow and not self._works(ward):
                self._take_back(replica, f"it is silent: {reason}")
            return
        if ward.bad >= self._health.failures:
            cause = "slow" if failed.slow and self._works(ward) else "health"
            self._eject(ward, cause, f"{ward.bad} health checks failed, the last: {reason}")
        elif replica.state is State.READY:
            self._fleet.move(replica, State.DEGRADED, reason)

    def _works(self, ward: Ward) -> bool:
        """Whether it may be load that makes it slow: it has requests, and was well not long ago."""
        last_at = max(ward.good_at, ward.suspect.signed_at)
        return ward.replica.inflight_requests > 0 and time.monotonic() - last_at < DEAF_S

    def _recover(self, ward: Ward) -> None:
        if ward.load_failures < STALE:
            self._fleet.move(ward.replica, State.READY, "its health checks pass")

    async def _warm(self, ward: Ward) -> None:
        replica = ward.replica
        first = ward.sentence.count == 0
        try:
            if ward.probed and self._health.warm_up:
                within_s = self._health.warm_up_s
                await ward.probe.first_token(within_s if first else min(within_s, HALF_OPEN_S))
        except Failed as failed:
            if replica.state is State.WARMING and first:
                self._fleet.move(replica, State.STARTING, str(failed))
            elif replica.state is State.WARMING:
                self._eject(ward, "warm_up", str(failed))
            return
        if replica.state is State.WARMING:
            ward.renew()
            self._fleet.move(replica, State.READY, "it is warm")

    async def _read_always(self, ward: Ward) -> None:
        loop = asyncio.get_running_loop()
        while True:
            found, interval_s = ward.load is not None, self._load.interval_s
            many = len(self._wards)
            wait_s = interval_s if found or not ward.load_failures else METRICLESS_S
            begins = not found and not ward.load_failures
            await asyncio.sleep(pace.first(wait_s, many) if begins else pace.jittered(wait_s))
            if found and pace.may_read_later(ward, time.monotonic(), interval_s, many):
                continue
            try:
                text = await ward.probe.metrics(self._load.timeout_s) or b""
                far = loop.run_in_executor(None, load.read, text) if len(text) > SHORT else None
                view = load.read(text) if far is None else await far
            except (Failed, ValueError):
                view = None
            if view is not None:
                ward.load, ward.load_at, ward.load_failures = view, time.monotonic(), 0
                ward.replica.running = view.running
                continue
            ward.load_failures += 1
            ward.replica.running = 0.0
            if found and ward.load_failures == STALE:
                reason = f"its metrics could not be read {STALE} times"
                self._fleet.move(ward.replica, State.DEGRADED, reason)

    # --- what requests show -----------------------------------------------------------------

    def _failed(self, replica: Replica, kind: str) -> None:
        """A request failed by a replica's fault; called where it failed, so that it is rare."""
        ward = self._wards.get(replica)
        if ward is None or not self._outliers.enabled or replica.state not in ROUTABLE:
            return
        length = ward.streak.failed(replica.answered)
        if length >= self._outliers.consecutive:
            self._eject(ward, "failures", f"{length} requests failed in a row, the last: {kind}")

    async def _tick_always(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._tick(time.monotonic())

    def _tick(self, now: float) -> None:
        progress = self._progress() if self._health.stuck_s else {}
        for replica, ward in self._wards.items():
            ward.look(now, progress.get(replica, NONE))
            ward.probe.sweep(now)
        for ward in tuple(self._wards.values()):
            if ward.replica.state in ROUTABLE:
                self._weigh(ward, now)
            if ward.replica.state in ROUTABLE or ward.replica.state is State.DRAINING:
                self._seek_stuck(ward, now)
        if self._outliers.enabled:
            self._seek_laggards(now)

    def _seek_stuck(self, ward: Ward, now: float) -> None:
        if not self._health.stuck_s or ward.still_s < self._health.stuck_s or ward.confirming:
            return
        signed_at = max((peer.suspect.signed_at for peer in self._peers(ward)), default=0.0)
        finding = ward.suspect.judge(now, ward.vitals, peers_signed_at=signed_at)
        if finding is None:
            return
        if finding.certain:
            self._strand(ward, finding.reason)
        elif ward.probed:
            ward.confirming = True
            task = asyncio.get_running_loop().create_task(self._confirm(ward, finding.reason))
            self._tasks.setdefault(ward.replica, []).append(task)

    async def _confirm(self, ward: Ward, reason: str) -> None:
        """Ask for a token before a replica is called stuck for what may have another cause."""
        moved_at = ward.suspect.moved_at
        try:
            await ward.probe.first_token(CONFIRM_S)
        except Failed as failed:
            leaves = ward.replica.state is State.DRAINING  # and may refuse what is new
            told = failed.slow if leaves else not failed.unasked
            if ward.suspect.moved_at == moved_at and told:
                self._strand(ward, reason)
        else:
            ward.suspect.signed_at = ward.suspect.moved_at = time.monotonic()
        finally:
            ward.confirming = False

    def _strand(self, ward: Ward, reason: str) -> None:
        """Set a stuck replica aside, unless it leaves anyway."""
        replica = ward.replica
        if replica.state is State.DRAINING or self._eject(ward, "stuck", f"stuck: {reason}"):
            self._take_back(replica, f"it is stuck: {reason}")

    def _take_back(self, replica: Replica, reason: str) -> None:
        """Let others answer what it has not begun to; one that leaves is not waited for."""
        groups = self._fleet.groups.items()
        others = any(group.replicas for model, group in groups if model in replica.serves)
        if others or replica.state is State.DRAINING:
            replica.pool.give_up(reason)

    def _seek_laggards(self, now: float) -> None:
        counts = {
            ward.replica: ward.window.look(now, Count(ward.replica.answered, ward.replica.failures))
            for ward in self._wards.values()
            if ward.replica.state in ROUTABLE
        }
        for group in tuple(self._fleet.groups.values()):
            seen = {r.name: counts[r] for r in group.replicas if r in counts}
            for name, reason in outliers.laggards(seen, self._outliers).items():
                ward = self._wards.get(self._fleet.replicas[name])
                if ward is not None and ward.replica.state in ROUTABLE:
                    self._eject(ward, "success_rate", reason)

    # --- what is done about it --------------------------------------------------------------

    def _eject(self, ward: Ward, cause: str, reason: str) -> bool:
        """Set a replica aside; one whose peers are gone too is only degraded, unless it is dead."""
        replica, now = ward.replica, time.monotonic()
        if cause not in {"health", "warm_up"} and not self._may_eject(replica):
            if replica.state is State.READY:
                self._fleet.move(replica, State.DEGRADED, f"{reason}; too few others to eject it")
            return False
        if cause not in {"health", "slow"}:  # a dead replica returns as soon as it lives
            ward.sentence.begin(now)
        ward.renew()
        if not self._fleet.move(replica, State.EJECTED, reason):
            return False
        self._metrics.ejected(replica.name, cause)
        return True

    def _may_eject(self, replica: Replica) -> bool:
        """Whether each of its models keeps a replica, and the share of them that it must keep."""
        present = [
            peer
            for peer in self._fleet.replicas.values()
            if peer.state not in {State.SLEEPING, State.DRAINING, State.GONE}
        ]
        for model in replica.serves:
            peers = [peer for peer in present if model in peer.serves]
            away = sum(peer.state is State.EJECTED for peer in peers)
            left = any(peer.state in ROUTABLE for peer in peers if peer is not replica)
            share = self._outliers.max_ejected_share
            if not (left or share == 1) or not outliers.may_eject(away, len(peers), share):
                return False
        return True

    def _weigh(self, ward: Ward, now: float) -> None:
        ward.weigh(now, self._health.slow_start_s, lambda: self._peers(ward))

    def _peers(self, ward: Ward) -> list[Ward]:
        """The other routable replicas of its models."""
        serves = ward.replica.serves.keys()
        return [
            peer
            for peer in self._wards.values()
            if peer is not ward
            and peer.replica.state in ROUTABLE
            and not serves.isdisjoint(peer.replica.serves)
        ]

    def _shown(self) -> Iterable[Shown]:
        now = time.monotonic()
        for replica in tuple(self._fleet.replicas.values()):
            ward = self._wards.get(replica)
            age_s = now - ward.load_at if ward is not None and ward.load is not None else math.nan
            yield Shown(replica.name, replica.state, age_s)
