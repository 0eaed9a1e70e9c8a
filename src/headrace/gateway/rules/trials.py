"""
The experiments that run: who has which share now, what their arms have seen, ramps by hand and
roll-backs by themselves. The statistics are routing/experiments.py's.
"""

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from headrace.config.rules import Experiment, Rule
from headrace.routing.experiments import Alarm, Bounds, Comparison, Outcome, Trial
from headrace.routing.shares import reweighed
from headrace.telemetry.records import Record
from headrace.telemetry.steering import ArmSeen
from headrace.telemetry.writer import Writer

# Requests that say nothing about an arm: the client left, or the gateway refused them itself.
_SILENT = frozenset({"client_gone", "rejected_draining"})


class Running:
    """One experiment now. ``alarms`` has the arms that were taken out, and why."""

    def __init__(self, rule: str, experiment: Experiment) -> None:
        guard = experiment.guard
        self.rule = rule
        self.experiment = experiment
        self.since = datetime.now(UTC)
        self.weights: tuple[float, ...] = tuple(arm.weight for arm in experiment.arms)
        self.alarms: dict[int, Alarm] = {}
        self.rollbacks = [0] * len(experiment.arms)
        self._bounds = Bounds(guard.error_rate, guard.ttft_p95, guard.min_requests, guard.alpha)
        self.trial = Trial(len(experiment.arms), self._bounds)

    @property
    def percents(self) -> tuple[float, ...]:
        """The arms' shares out of a hundred."""
        whole = sum(self.weights)
        return tuple(100 * weight / whole for weight in self.weights)

    def restart(self) -> None:
        """Forget what was seen: evidence against an arm must not condemn its successor."""
        self.since = datetime.now(UTC)
        self.alarms.clear()
        self.trial = Trial(len(self.experiment.arms), self._bounds)

    def compare(self, arm: int) -> Comparison:
        """An arm beside the control."""
        return self.trial.compare(arm)


class Trials:
    """All experiments of the rules in force."""

    def __init__(self, log: Writer) -> None:
        self._log = log
        self.running: dict[str, Running] = {}
        self.weights: dict[str, Sequence[float]] = {}  # by experiment, for the rules

    def adopt(self, rules: Iterable[Rule]) -> None:
        """
        Other rules are in force. An experiment that is the same goes on where it was, with its
        ramps; one that has changed begins anew.
        """
        before, self.running = self.running, {}
        for rule in rules:
            experiment = rule.experiment
            if experiment is None:
                continue
            kept = before.get(experiment.name)
            if kept is None or kept.experiment != experiment:
                kept = Running(rule.name, experiment)
            kept.rule = rule.name
            self.running[experiment.name] = kept
        self.weights = {name: each.weights for name, each in self.running.items()}

    def ramp(self, name: str, arm: int, percent: float) -> Running:
        """
        Give an arm this share from now on; the others keep their proportions. Where it was taken
        out, it is back, and all counts begin anew.

        Raises:
            KeyError: there is no such experiment.

        """
        running = self.running[name]
        if arm in running.alarms:
            running.restart()
        self._weigh(running, reweighed(running.weights, arm, percent))
        self._log.event(
            "experiment_ramped",
            experiment=name,
            arm=running.experiment.arms[arm].name,
            percent=percent,
        )
        return running

    def settled(self, name: str, arm_name: str, weights: Sequence[float], record: Record) -> None:
        """A request of an arm has ended; ``weights`` are those by which it got there."""
        running = self.running.get(name)
        if running is None or record.outcome in _SILENT or not record.attempts:
            return
        names = [arm.name for arm in running.experiment.arms]
        if arm_name not in names or len(weights) != len(names):
            return  # other rules are in force since
        arm = names.index(arm_name)
        outcome = Outcome(
            failed=record.outcome != "completed",
            ttft_ms=record.ttft_ms,
            tokens_in=record.tokens_in,
            tokens_out=record.tokens_out,
        )
        alarm = running.trial.observe(arm, weights, outcome)
        if alarm is not None and running.experiment.guard.enabled and running.weights[arm] > 0:
            self._roll_back(running, alarm)

    def seen(self) -> tuple[ArmSeen, ...]:
        """All arms, for the metrics."""
        return tuple(
            _seen(running, arm)
            for running in [*self.running.values()]
            for arm in range(len(running.experiment.arms))
        )

    def _roll_back(self, running: Running, alarm: Alarm) -> None:
        running.alarms[alarm.arm] = alarm
        running.rollbacks[alarm.arm] += 1
        self._weigh(running, reweighed(running.weights, alarm.arm, 0.0))
        self._log.event(
            "experiment_rolled_back",
            experiment=running.experiment.name,
            arm=running.experiment.arms[alarm.arm].name,
            metric=alarm.metric,
            value=round(alarm.value, 4),
            control=round(alarm.control, 4),
        )

    def _weigh(self, running: Running, weights: tuple[float, ...]) -> None:
        """Set new weights; the mapping is replaced, since a scrape may be reading it."""
        running.weights = weights
        self.weights = {**self.weights, running.experiment.name: weights}


def _seen(running: Running, arm: int) -> ArmSeen:
    tally = running.trial.tallies[arm]
    p50_ms, p95_ms = tally.ttft_ms(0.5), tally.ttft_ms(0.95)
    return ArmSeen(
        experiment=running.experiment.name,
        arm=running.experiment.arms[arm].name,
        weight=running.percents[arm] / 100,
        ok=tally.requests - tally.failed,
        failed=tally.failed,
        tokens_in=tally.tokens_in,
        tokens_out=tally.tokens_out,
        ttft_p50_s=math.nan if p50_ms is None else p50_ms / 1000,
        ttft_p95_s=math.nan if p95_ms is None else p95_ms / 1000,
        rollbacks=running.rollbacks[arm],
    )
