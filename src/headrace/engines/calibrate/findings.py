"""
From a survey to a preset: observations for the fit, limits of the batch, and what stays unknown.

Pure. What is told to people about it is report.py's.
"""

import math
from dataclasses import dataclass

from headrace.engines.calibrate.fit import Fit, Observation, Step, fit, loss, median, quantile
from headrace.engines.calibrate.session import Mix, Survey
from headrace.engines.sim.cost import BLOCK_SIZE, Preset

# vLLM's defaults, where an engine does not show its own.
MAX_NUM_SEQS, MAX_NUM_BATCHED_TOKENS = 256, 2048
KV_TOKENS = 65_536
START_S = 60.0
# A gap belongs to a part of the prompt when it grows by so large a share of what the largest does.
PART = 0.2
FLAT = 0.2  # share of the gaps' sum by which they grow
# Numbers that are no power of two, of those that are tried. One of them is taken only when it
# explains so much more than the best power of two, and when that one is not good.
ODD = 8
BETTER = 0.5
GOOD = 0.01**2  # of each observation; nothing needs to be better


@dataclass(frozen=True, slots=True)
class Findings:
    """The preset, and how it came about."""

    preset: Preset
    fit: Fit
    checks: tuple[Observation, ...]  # measured, but not fitted to
    assumed: tuple[str, ...]  # sentences: what the engine did not show
    doubts: tuple[str, ...]  # sentences: what may have gone wrong


def findings(survey: Survey, name: str, source: str) -> Findings:
    """The preset that the survey gives."""
    limit, found, seen = _best(survey)
    facts = survey.facts
    preset = Preset(
        name=name,
        cost=found.cost,
        kv_tokens=facts.kv_tokens or KV_TOKENS,
        max_num_batched_tokens=limit,
        max_num_seqs=survey.max_num_seqs or max(MAX_NUM_SEQS, survey.most_at_once),
        start_s=START_S,
        source=source,
        request_ms=found.request_ms,
        block_size=facts.block_size or BLOCK_SIZE,
    )
    checks = tuple(_check(mix, limit) for mix in survey.mixes[:1] if sum(mix.gaps_ms) > 0)
    return Findings(preset, found, checks, _assumed(survey, preset, seen), _doubts(survey))


def _prompts(survey: Survey, limit: int) -> list[Observation]:
    found = []
    for length, answers in sorted(survey.prefills.items()):
        times = [answer.ttft_ms for answer in answers]
        tokens = round(median([answer.prompt_tokens - answer.cached_tokens for answer in answers]))
        found.append(
            Observation(
                f"prompt of {tokens} tokens" if tokens else f"prompt of {length} tokens",
                _chunks(tokens, limit),
                1,
                median(times),
                _noise(times),
                len(times),
            )
        )
    return found


def _batches(survey: Survey) -> list[Observation]:
    found = []
    for probe, beat in survey.beats.items():
        times = [median(samples) for samples in beat.samples]
        context = median(beat.contexts)
        every = [sample for samples in beat.samples for sample in samples]
        found.append(
            Observation(
                f"step of {probe.sequences} at {context:.0f} tokens",
                (Step(contexts=(context,) * probe.sequences),),
                0,
                median(every),
                _noise(every),
                len(times),
            )
        )
    return found


def _chunks(tokens: int, limit: int, beside: tuple[float, ...] = ()) -> tuple[Step, ...]:
    """The iterations of a prompt, each with the sequences that decode beside it."""
    size = limit - len(beside)
    return tuple(
        Step(((start, min(size, tokens - start)),), beside) for start in range(0, tokens, size)
    )


def _best(survey: Survey) -> tuple[int, Fit, bool]:
    """
    How many tokens an iteration takes, the formula that goes with it, and whether it was seen.

    The gaps beside a long prompt tell in how many parts it came, and so between which numbers the
    limit lies. Most engines have a power of two; of those that remain, the right one explains the
    times of all prompts best.
    """

    def tried(limit: int) -> tuple[float, int, Fit]:
        found = fit([*_prompts(survey, limit), *_batches(survey)])
        checks = [_check(mix, limit) for mix in survey.mixes if sum(mix.gaps_ms)]
        return found.distance + sum(loss(found.residual(one)) for one in checks), limit, found

    parts = round(median([_parts(mix) for mix in survey.mixes] or [1]))
    if parts < 2:
        limit = max(MAX_NUM_BATCHED_TOKENS, 2 ** math.ceil(math.log2(_longest(survey) + 1)))
        return limit, tried(limit)[2], False
    length = round(median([mix.prompt_tokens for mix in survey.mixes]))
    # A last part may be so small that its gap does not show; one token is the other sequence's.
    least, most = math.ceil(length / (parts + 1)) + 1, math.ceil(length / (parts - 1))
    powers = [2**power for power in range(4, 20) if least <= 2**power <= most]
    odd = [least + (most - least) * step // ODD for step in range(ODD + 1)]
    best = min(map(tried, powers), key=lambda one: one[0], default=None)
    if best is None or best[0] > GOOD * len(best[2].observations):
        other = min(map(tried, odd), key=lambda one: one[0])
        best = other if best is None or other[0] < BETTER * best[0] else best
    return best[1], best[2], True


def _longest(survey: Survey) -> int:
    """The longest prompt that was answered, in tokens."""
    answers = (answer for answers in survey.prefills.values() for answer in answers)
    return max((answer.prompt_tokens for answer in answers), default=0)


def _parts(mix: Mix) -> int:
    """
    In how many parts the prompt came: by how many gaps grew beyond the shortest.

    Where they hardly do, the engine takes one time for all: then their number tells the parts,
    and the first gap is the step before them.
    """
    base = min(mix.gaps_ms)
    grown = [gap - base for gap in mix.gaps_ms]
    if sum(grown) < FLAT * sum(mix.gaps_ms):
        return max(1, len(grown) - 1)
    return sum(gap > PART * max(grown) for gap in grown)


def _check(mix: Mix, limit: int) -> Observation:
    """The prompt's chunks beside a sequence, and the steps before and after them."""
    chunks = _chunks(mix.prompt_tokens, limit, (mix.context,))
    alone = max(0, len(mix.gaps_ms) - len(chunks))
    steps = (*chunks, *(Step(contexts=(mix.context,)) for _ in range(alone)))
    name = f"prompt of {mix.prompt_tokens} beside a sequence"
    return Observation(name, steps, 0, sum(mix.gaps_ms), 0.0, 1)


def _assumed(survey: Survey, preset: Preset, seen: bool) -> tuple[str, ...]:
    facts = survey.facts
    found = []
    if not seen:
        found.append(
            f"max_num_batched_tokens is {preset.max_num_batched_tokens}: the longest prompt came in"
            " one piece, so it is at least that prompt's length"
        )
    if survey.max_num_seqs is None:
        found.append(
            f"max_num_seqs is {preset.max_num_seqs}: {survey.most_at_once} ran at once and none"
            " waited"
        )
    if facts.kv_tokens is None:
        found.append(f"kv_tokens is {preset.kv_tokens}: the engine does not tell its cache's size")
    if facts.block_size is None:
        found.append(f"block_size is {preset.block_size}: the engine does not tell it")
    return tuple(found)


def _doubts(survey: Survey) -> tuple[str, ...]:
    found = []
    if survey.rounds < 3:
        found.append(f"only {survey.rounds} round(s) fitted into the time; give more with --time")
    if survey.strangers:
        found.append(f"{survey.strangers} requests of others ended meanwhile")
    if not survey.metrics:
        found.append("the engine has no vLLM metrics; nobody knows whether others used it")
    cached = sum(answer.cached_tokens > 0 for one in survey.prefills.values() for answer in one)
    if cached:
        found.append(f"{cached} prompts were partly cached; what was cached is not counted")
    return tuple(found)


def _noise(values: list[float]) -> float:
    """Half the distance of the quartiles."""
    return (quantile(values, 0.75) - quantile(values, 0.25)) / 2
