"""The scheduler, without a clock: its limits hold, its cache is exact, and everybody finishes."""

from collections.abc import Iterator
from collections.abc import Sequence as Ordered
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engines.sim import text
from headrace.engines.sim.cost import Cost
from headrace.engines.sim.scheduler import Iteration, Limits, Scheduler, Sequence

SIZE = 4
COST = Cost(10.0, 2.0, 0.1, 0.001, 0.05, 0.0001)


@dataclass(frozen=True)
class Wanted:
    """A request: when it comes (iteration), its prompt's tokens, how many tokens it wants."""

    at: int
    prompt: tuple[str, ...]
    answer: int


letters = st.sampled_from("ab")
wanted = st.builds(
    Wanted,
    at=st.integers(0, 20),
    prompt=st.lists(letters, min_size=1, max_size=24).map(tuple),
    answer=st.integers(1, 12),
)
limits = st.builds(
    Limits,
    max_num_seqs=st.integers(1, 4),
    max_num_batched_tokens=st.integers(1, 40),
    block_size=st.just(SIZE),
    num_gpu_blocks=st.integers(9, 16),  # the longest of 36 tokens fits alone
    max_model_len=st.just(36),
)


def sequence(want: Wanted) -> Sequence:
    pieces = [*want.prompt, *(f"{want.prompt}{n}" for n in range(want.answer))]
    return Sequence(len(want.prompt), want.answer, text.Names(pieces, SIZE))


def run(scheduler: Scheduler, wants: Ordered[Wanted]) -> Iterator[tuple[Iteration, list[Sequence]]]:
    """Every iteration until all is done, with those that advanced in it."""
    coming = sorted(((want.at, number, sequence(want)) for number, want in enumerate(wants)))
    for step in range(100_000):
        while coming and coming[0][0] <= step:
            scheduler.add(coming.pop(0)[2])
        iteration = scheduler.plan()
        if iteration is not None:
            yield iteration, scheduler.finish(iteration)
        elif not coming:
            return
    raise AssertionError("it never ends")


@given(limits, st.lists(wanted, max_size=12))
def test_limits_hold_and_all_finish(bounds: Limits, wants: list[Wanted]) -> None:
    """
    No batch is over its limits, every sequence gets every token once, preempted or not, and at
    the end every block is free.
    """
    scheduler = Scheduler(bounds, COST)
    said = 0
    for iteration, advanced in run(scheduler, wants):
        held = [block for running in scheduler.running for block in running.blocks]
        assert 0 < iteration.size <= bounds.max_num_batched_tokens
        assert len(iteration.tokens) <= bounds.max_num_seqs
        assert len(set(held)) == scheduler.blocks.used
        assert iteration.ms > 0
        said += len(advanced)

    assert sum(want.answer for want in wants) == said
    assert not scheduler.waiting
    assert not scheduler.running
    assert bounds.num_gpu_blocks == scheduler.blocks.free


@given(limits, st.lists(wanted, max_size=8))
def test_same_requests_same_timeline(bounds: Limits, wants: list[Wanted]) -> None:
    """Two schedulers with the same requests take the same time in each of the same iterations."""
    timelines = [
        [(i.ms, i.size, len(advanced)) for i, advanced in run(Scheduler(bounds, COST), wants)]
        for _ in range(2)
    ]

    assert timelines[0] == timelines[1]


@given(st.lists(st.lists(letters, min_size=1, max_size=24), max_size=8))
def test_prefix_hits_are_exact(prompts: list[list[str]]) -> None:
    """
    One after the other, with room for all: each finds the longest run of whole blocks that it
    shares with any before it, short of its last token.
    """
    scheduler = Scheduler(Limits(block_size=SIZE, num_gpu_blocks=10_000), COST)
    seen: set[tuple[str, ...]] = set()
    for prompt in prompts:
        want = Wanted(0, tuple(prompt), 1)
        alone = sequence(want)
        scheduler.add(alone)
        while (iteration := scheduler.plan()) is not None:
            scheduler.finish(iteration)
        hit = 0
        while hit + SIZE < len(prompt) and tuple(prompt[: hit + SIZE]) in seen:
            hit += SIZE
        assert hit == alone.cached
        seen |= {tuple(prompt[:end]) for end in range(SIZE, len(prompt) + 1, SIZE)}

    assert sum(map(len, prompts)) == scheduler.prefix_queries


def test_followers_in_the_same_batch_hit() -> None:
    """Blocks are found from when they are scheduled: of two equal prompts the second one hits."""
    scheduler = Scheduler(Limits(block_size=SIZE), COST)
    both = [sequence(Wanted(0, tuple("abababab"), 2)) for _ in range(2)]
    for one in both:
        scheduler.add(one)
    iteration = scheduler.plan()

    assert iteration is not None
    assert [(both[0], 8), (both[1], 4)] == iteration.tokens


def test_without_caching_nothing_hits() -> None:
    """The option turns the cache off."""
    scheduler = Scheduler(Limits(block_size=SIZE, enable_prefix_caching=False), COST)
    assert len([*run(scheduler, [Wanted(0, tuple("abababab"), 1)] * 3)]) == 1
    assert 0 == scheduler.prefix_hits


def test_a_long_prompt_is_computed_in_chunks() -> None:
    """A prompt over the budget takes several iterations, and says nothing until the last."""
    scheduler = Scheduler(Limits(block_size=SIZE, max_num_batched_tokens=10), COST)
    steps = [(i.size, len(said)) for i, said in run(scheduler, [Wanted(0, ("a",) * 24, 2)])]

    assert [(10, 0), (10, 0), (4, 1), (1, 1)] == steps


def test_decoding_goes_on_beside_a_prefill() -> None:
    """Running sequences are served first: each gets its token while a long prompt is computed."""
    scheduler = Scheduler(Limits(block_size=SIZE, max_num_batched_tokens=9), COST)
    wants = [Wanted(0, ("a",), 5), Wanted(1, tuple("b" * 24), 1)]
    steps = [(i.size, len(said)) for i, said in run(scheduler, wants)]

    assert [(1, 1), (9, 1), (9, 1), (9, 2), (1, 1)] == steps


def test_nobody_overtakes() -> None:
    """A prompt that does not fit holds back a shorter one behind it."""
    scheduler = Scheduler(Limits(block_size=SIZE, num_gpu_blocks=8), COST)
    first = sequence(Wanted(0, tuple("ab" * 10), 8))
    large, small = sequence(Wanted(0, ("b",) * 16, 1)), sequence(Wanted(0, ("a",), 1))
    for one in (first, large, small):
        scheduler.add(one)
    iteration = scheduler.plan()

    assert iteration is not None
    assert [first] == iteration.admitted
    assert [large, small] == [*scheduler.waiting]


def test_preemption_takes_the_last() -> None:
    """When the cache is full the last to come goes back to the queue's front, and is counted."""
    scheduler = Scheduler(Limits(block_size=SIZE, num_gpu_blocks=4), COST)
    one, two = sequence(Wanted(0, ("a",) * 8, 6)), sequence(Wanted(0, ("b",) * 8, 6))
    for each in (one, two):
        scheduler.add(each)
    first = scheduler.plan()
    assert first is not None
    scheduler.finish(first)
    second = scheduler.plan()

    assert second is not None
    assert [two] == second.preempted == [*scheduler.waiting]
    assert (1, 1) == (two.preemptions, scheduler.preemptions)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_abort_frees_everything(steps: int) -> None:
    """Aborted in the queue, in the prompt or in the answer, a sequence leaves no block behind."""
    scheduler = Scheduler(Limits(block_size=SIZE, max_num_batched_tokens=8), COST)
    one = sequence(Wanted(0, ("a",) * 12, 9))
    scheduler.add(one)
    for _ in range(steps):
        iteration = scheduler.plan()
        assert iteration is not None
        scheduler.finish(iteration)
    scheduler.abort(one)
    scheduler.abort(one)

    assert scheduler.plan() is None
    assert 0 == scheduler.blocks.used


def test_abort_in_an_iteration() -> None:
    """What was aborted while it was computed gets no token."""
    scheduler = Scheduler(Limits(block_size=SIZE), COST)
    one = sequence(Wanted(0, ("a",) * 4, 9))
    scheduler.add(one)
    iteration = scheduler.plan()
    assert iteration is not None
    scheduler.abort(one)

    assert [] == scheduler.finish(iteration)
    assert 0 == scheduler.blocks.used


def test_fits() -> None:
    """What can never be computed is known before it is queued."""
    scheduler = Scheduler(Limits(block_size=SIZE, num_gpu_blocks=2), COST)

    assert scheduler.fits(sequence(Wanted(0, ("a",) * 7, 1)))
    assert not scheduler.fits(sequence(Wanted(0, ("a",) * 8, 1)))
