"""The world: every request ends once, runs repeat by their seed, and replicas come and go."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest

from headrace.engines.sim.presets import PRESETS
from headrace.errors import ConfigError
from headrace.simulate.engine import Engine, Job
from headrace.simulate.policy import Policy
from headrace.simulate.rivals import RIVALS, RoundRobin
from headrace.simulate.world import Change, Fleet, Outcome, Sample, World
from tests.simulate.fleets import H100, families, request, small, trace

STREAM = families(300, 12, 0.02)
FOUR = Fleet((H100,) * 4)


def run(fleet: Fleet = FOUR, policy: Policy | None = None, seed: int = 1) -> Outcome:
    return World(STREAM, fleet, policy or RoundRobin(), seed).run()


def times(outcome: Outcome) -> list[tuple[float, float, float, int]]:
    return [(job.dispatched_s, job.first_s, job.end_s, job.replica) for job in outcome.jobs]


@pytest.mark.parametrize("name", RIVALS)
def test_every_request_is_answered(name: str) -> None:
    """Arrival, dispatch, first and last token follow each other; nothing stays in an engine."""
    outcome = run(policy=RIVALS[name]())

    for job in outcome.jobs:
        assert job.request.arrival_s <= job.dispatched_s < job.first_s < job.end_s
        assert 0 <= job.cached < job.request.prompt_tokens
    assert [0] * 4 == [engine.used for engine in outcome.engines]
    assert [] == outcome.failed


@pytest.mark.parametrize("name", RIVALS)
def test_runs_repeat(name: str) -> None:
    """Equal seeds give equal runs."""
    assert times(run(policy=RIVALS[name]())) == times(run(policy=RIVALS[name]()))


def test_the_seed_counts() -> None:
    """Where a policy draws by chance another seed gives another run."""
    one, other = (run(policy=RIVALS["power_of_two"](), seed=seed) for seed in (1, 2))

    assert times(one) != times(other)


def test_a_gap_is_counted_for_each_token() -> None:
    """All tokens but first ones have a gap before them."""
    outcome = run()

    tokens = sum(job.request.output_tokens - 1 for job in outcome.jobs)
    assert not sum(engine.preemptions for engine in outcome.engines)
    assert tokens == sum(outcome.gaps.values())


@pytest.mark.parametrize("name", RIVALS)
def test_a_replica_dies(name: str) -> None:
    """
    Those that had a first token fail, those that had none are answered elsewhere, and nobody is
    sent to the dead.
    """
    outcome = run(Fleet((H100,) * 4, (Change(2.0, None),)), RIVALS[name]())

    assert all(0 <= job.first_s <= 2.0 and job.replica == 0 for job in outcome.failed)
    assert all(job.end_s < 0 for job in outcome.failed)
    retried = [job for job in outcome.jobs if job.retries]
    assert outcome.failed or retried
    assert all(job.end_s > 2.0 and job.replica != 0 for job in retried)
    later = [job for job in outcome.jobs if job.request.arrival_s > 2.0]
    assert 0 not in {job.replica for job in later}


@pytest.mark.parametrize("name", RIVALS)
def test_a_replica_joins(name: str) -> None:
    """It gets requests, but none before it came."""
    outcome = run(Fleet((H100,) * 2, (Change(1.0, H100),)), RIVALS[name]())

    mine = [job for job in outcome.jobs if job.replica == 2]
    assert mine or name == "consistent_hash"
    assert all(job.dispatched_s >= 1.0 for job in mine)
    assert [(1.0, 2)] == outcome.joins


def test_kinds_of_replicas_differ() -> None:
    """Each replica takes its own preset's time."""
    outcome = run(Fleet((H100, PRESETS["l40s-8b"])))
    waits: dict[int, list[float]] = {0: [], 1: []}
    for job in outcome.jobs:
        waits[job.replica].append(job.first_s - job.dispatched_s)

    fast, slow = (sum(found) / len(found) for found in waits.values())
    assert slow > 2 * fast


def test_samples_count_what_is_in_flight() -> None:
    """Each has a number for every live replica, and the ratio is the fullest's to the mean."""
    outcome = run(Fleet((H100,) * 2, (Change(1.0, H100),)))

    assert [0.0, 0.5, 1.0] == [sample.at_s for sample in outcome.samples[:3]]
    assert [2, 2, 3] == [len(sample.inflight) for sample in outcome.samples[:3]]
    assert 1.5 == Sample(0.0, {0: 1, 1: 3}).ratio
    assert 1.0 == Sample(0.0, {0: 0, 1: 0}).ratio


def test_progress_is_told() -> None:
    """Some hundred requests at a time."""
    told: list[int] = []
    World(families(1200, 12, 0.05), FOUR, RoundRobin(), 1).run(told.append)

    assert [500, 1000] == told


def test_a_request_that_never_fits_is_told() -> None:
    """The error says which, and what to do."""
    with pytest.raises(ConfigError, match=r"Request 1 .* 3000 \+ 20 tokens.* --max-tokens"):
        World(trace(request(0), request(1, 1, 3000)), Fleet((small(3000),)), RoundRobin(), 1)


def test_the_last_replica_must_stay() -> None:
    """A fleet of none is told before the run."""
    changes = (Change(5.0, None), Change(3.0, H100), Change(9.0, None))

    with pytest.raises(ConfigError, match="At 9 s the last replica"):
        World(STREAM, Fleet((H100,), changes), RoundRobin(), 1)


class Forgetful(Policy):
    """Never sends on."""

    def begin(self, fleet: Mapping[int, Engine], block_tokens: int, seed: int) -> None:
        pass

    def offer(self, job: Job, now_s: float) -> None:
        pass

    def due(self, now_s: float) -> Iterable[tuple[Job, int]]:
        return ()


def test_a_policy_that_forgets_is_a_fault() -> None:
    """A run that cannot end does not hang and does not count."""
    world = World(replace(STREAM, requests=STREAM.requests[:3]), FOUR, Forgetful(), 1)

    with pytest.raises(RuntimeError, match="3 requests were never sent on"):
        world.run()


class Listening(RoundRobin):
    """Notes whose first tokens it hears of."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[int] = []

    def first(self, job: Job, now_s: float) -> None:
        self.heard.append(job.request.number)


def test_first_tokens_are_heard_of_streams_only() -> None:
    """A router does not see the first token of an answer that comes as a whole."""
    requests = [replace(each, streamed=each.number % 2 == 0) for each in STREAM.requests[:6]]
    policy = Listening()

    World(replace(STREAM, requests=tuple(requests)), FOUR, policy, 1).run()

    assert [0, 2, 4] == sorted(policy.heard)
