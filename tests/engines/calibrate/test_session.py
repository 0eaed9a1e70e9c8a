"""The questions to an engine: new prompts, several rounds, within the time; and what is refused."""

import asyncio

import pytest

from headrace.engines.calibrate import plan
from headrace.engines.calibrate.session import Session
from headrace.engines.sim.presets import PRESETS
from headrace.errors import StartError
from tests.engines.calibrate.rig import Habits, Imitation, run, surveyed

L4 = PRESETS["l4-8b"]


def test_rounds_fit_into_the_time() -> None:
    """Several rounds in a minute, which is used and not exceeded by more than a round."""

    async def timed() -> tuple[int, float]:
        survey = await surveyed(L4)
        return survey.rounds, asyncio.get_running_loop().time()

    rounds, took_s = run(timed())

    assert rounds >= 3
    assert 20 < took_s < 70


def test_every_prompt_is_new() -> None:
    """Nothing is found in the prefix cache, in no round."""
    survey = run(surveyed(L4))
    answers = [answer for answers in survey.prefills.values() for answer in answers]

    assert len(answers) > 3 * len(survey.prefills) / 2
    assert {0} == {answer.cached_tokens for answer in answers}


def test_a_busy_engine_is_left_alone() -> None:
    """Requests of others at the start: nothing is asked."""
    with pytest.raises(StartError, match="works on 2 requests of others"):
        run(surveyed(L4, habits=Habits(busy=2)))


def test_an_engine_that_does_not_tell_its_length() -> None:
    """Prompts grow until one is refused; what was answered counts."""
    survey = run(surveyed(L4, habits=Habits(tells_length=False, longest=700)))

    assert 512 == max(survey.prefills)


def test_a_refusal_is_told() -> None:
    """An error of the engine ends it, with the engine's own words."""

    async def refused() -> None:
        target = Imitation(L4, Habits(longest=20))
        facts = target.facts
        wrong = type(facts)(facts.kind, facts.version, facts.model, max_model_len=5000)
        await Session(target, wrong, lambda _: None, "n").run(10)

    with pytest.raises(StartError, match="refused a probe with 400: too long"):
        run(refused())


def test_the_progress_is_told() -> None:
    """A line for each probe, which names it."""
    told: list[str] = []

    async def listened() -> None:
        target = Imitation(L4)
        session = Session(target, target.facts, told.append, "n", asyncio.get_running_loop().time)
        await session.run(20)

    run(listened())

    assert "warm-up" == told[0]
    assert "round 1: a prompt of 16 tokens" in told
    assert any(line.endswith("sequences at 64 tokens") for line in told)


def test_plans_fit() -> None:
    """Lengths end at the longest prompt; batches fit into the cache; thinning keeps the ends."""
    room = plan.Room(1900, 5000)
    lengths, decodes = plan.lengths(room), plan.decodes(room)

    assert (16, 1900) == (lengths[0], lengths[-1])
    assert all(probe.held <= 5000 for probe in decodes)
    assert [1, 3, 5, 6] == plan.thinned([1, 2, 3, 4, 5, 6])
    assert [1, 2, 3] == plan.thinned([1, 2, 3])
    assert 4.0 == plan.prefill_s({100: 2.0}, 200)
