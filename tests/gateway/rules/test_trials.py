"""trials.py: what counts for an arm, ramps, and roll-backs that happen by themselves."""

import random
from datetime import UTC, datetime
from typing import Any

import pytest

from headrace.config.rules import Rule
from headrace.gateway.rules.trials import Trials
from headrace.telemetry.records import Record

ARMS = [{"name": "old", "weight": 90}, {"name": "new", "weight": 10}]


class Log:
    """Remembers events."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def event(self, event: str, **fields: object) -> None:
        self.events.append({"event": event, **fields})


def rules(**guard: Any) -> list[Rule]:
    experiment = {"name": "e", "arms": ARMS, "guard": {"min_requests": 20, **guard}}
    return [Rule.model_validate({"name": "r", "experiment": experiment})]


def record(outcome: str = "completed", attempts: int = 1, ttft_ms: float | None = 20) -> Record:
    values: dict[str, Any] = dict.fromkeys(Record.__struct_fields__, 1)
    return Record(
        **values
        | {"time": datetime.now(UTC), "outcome": outcome, "attempts": attempts, "ttft_ms": ttft_ms}
    )


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def trials(log: Log) -> Trials:
    trials = Trials(log)  # type: ignore[arg-type]
    trials.adopt(rules())
    return trials


def run(trials: Trials, count: int, errors: tuple[float, float], seed: int = 0) -> None:
    """Requests of both arms by their weights, of which so many fail."""
    chance = random.Random(seed)
    for _ in range(count):
        weights = trials.weights["e"]
        arm = int(chance.random() * sum(weights) >= weights[0])
        failed = chance.random() < errors[arm]
        outcome = record("upstream_failed_500" if failed else "completed")
        trials.settled("e", ("old", "new")[arm], weights, outcome)


@pytest.mark.parametrize(
    ("outcome", "attempts", "counted"),
    [
        ("completed", 1, (1, 0)),
        ("upstream_failed_503", 2, (1, 1)),
        ("timed_out_first_byte", 1, (1, 1)),
        ("rejected_upstream", 1, (1, 1)),
        ("client_gone", 1, (0, 0)),
        ("rejected_draining", 1, (0, 0)),
        ("rejected_invalid", 0, (0, 0)),
        ("timed_out_queue", 0, (0, 0)),
    ],
)
def test_what_counts(trials: Trials, outcome: str, attempts: int, counted: tuple[int, int]) -> None:
    """Requests that reached an engine count; those whose client left say nothing about an arm."""
    trials.settled("e", "new", (90, 10), record(outcome, attempts))

    tally = trials.running["e"].trial.tallies[1]
    assert counted == (tally.requests, tally.failed)


def test_other_rules_since(trials: Trials) -> None:
    """The end of a request whose experiment or arm is gone is nobody's."""
    trials.settled("gone", "new", (90, 10), record())
    trials.settled("e", "gone", (90, 10), record())
    trials.settled("e", "new", (1, 1, 1), record())

    assert [0, 0] == [tally.requests for tally in trials.running["e"].trial.tallies]


def test_roll_back(trials: Trials, log: Log) -> None:
    """An arm that fails loses its share at once; the log says by which metric and how far."""
    run(trials, 3000, (0.01, 0.5))

    assert (100, 0) == trials.weights["e"]
    assert 1 == len(log.events)
    event = log.events[0]
    assert ("experiment_rolled_back", "e", "new", "error_rate") == tuple(
        event[key] for key in ("event", "experiment", "arm", "metric")
    )
    assert event["value"] > event["control"] + 0.02
    seen = trials.seen()
    assert [(0, 1.0), (1, 0.0)] == [(each.rollbacks, each.weight) for each in seen]


def test_a_guard_that_is_off(log: Log) -> None:
    """Then nothing happens by itself, and the comparison still tells."""
    trials = Trials(log)  # type: ignore[arg-type]
    trials.adopt(rules(enabled=False))
    run(trials, 1500, (0.01, 0.5))

    assert (90, 10) == trials.weights["e"]
    assert trials.running["e"].compare(1).error_p < 0.001


def test_back_again(trials: Trials, log: Log) -> None:
    """A ramp takes the arm back; evidence against its predecessor does not condemn it."""
    run(trials, 3000, (0.01, 0.5))
    trials.ramp("e", 1, 25)
    run(trials, 2000, (0.01, 0.01), seed=1)

    assert (75, 25) == trials.weights["e"]
    assert ["experiment_rolled_back", "experiment_ramped"] == [e["event"] for e in log.events]


def test_ramps_keep_the_counts(trials: Trials) -> None:
    """A ramp of an arm in good standing forgets nothing."""
    run(trials, 200, (0, 0))
    trials.ramp("e", 1, 50)

    assert 200 == sum(tally.requests for tally in trials.running["e"].trial.tallies)
    assert (50, 50) == trials.running["e"].percents


def test_an_unknown_experiment(trials: Trials) -> None:
    """There is nothing to ramp."""
    with pytest.raises(KeyError):
        trials.ramp("x", 0, 5)
