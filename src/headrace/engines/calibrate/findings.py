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
# A prompt of which one gap has so large a share came in one chunk.
WHOLE = 0.85
FLAT = 0.2  # share of the gaps' sum by which they grow
# Chunks that are tried: powers of two so near to what the gaps say (in octaves), and that itself.
NEAR = 1.5
# Another number is taken only when it explains so much more than the best power of two. The gaps
# give one that is too large: each of them has more tokens behind it than the one before.
BETTER = 0.5
GOOD = 0.01**2  # of each observation; nothing needs to be better
ODD = (0.8, 0.83, 0.86, 0.89, 0.92, 0.95, 0.98, 1.01)


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

    The gaps beside a long prompt tell about how many; most engines have a power of two, and the
    right one explains the times of all prompts best.
    """

    def tried(limit: int) -> tuple[float, int, Fit]:
        found = fit([*_prompts(survey, limit), *_batches(survey)])
        checks = [_check(mix, limit) for mix in survey.mixes if sum(mix.gaps_ms)]
        return found.distance + sum(loss(found.residual(one)) for one in checks), limit, found

    about, seen = _chunk(survey)
    if not seen:
        return about, tried(about)[2], False
    powers = (2**power for power in range(4, 20))
    near = [limit for limit in powers if abs(math.log2(limit / about)) <= NEAR]
    best = min((tried(limit) for limit in near), key=lambda one: one[0])
    if best[0] < GOOD * len(best[2].observations):
        return best[1], best[2], True
    odd = min((tried(round(about * share)) for share in ODD), key=lambda one: one[0])
    _, limit, found = odd if odd[0] < BETTER * best[0] else best
    return limit, found, True


def _chunk(survey: Survey) -> tuple[int, bool]:
    """About how many tokens an iteration takes, and whether long prompts came in parts at all."""
    shares = [_share(mix) for mix in survey.mixes if mix.gaps_ms]
    longest = max(
        (answer.prompt_tokens for answers in survey.prefills.values() for answer in answers),
        default=0,
    )
    if not shares or median(shares) >= WHOLE:
        return max(MAX_NUM_BATCHED_TOKENS, 2 ** math.ceil(math.log2(longest + 1))), False
    tokens = median([mix.prompt_tokens for mix in survey.mixes]) * median(shares) + 1
    return round(tokens), True


def _share(mix: Mix) -> float:
    """
    The share of the prompt in its largest chunk, by how much gaps grow beyond the shortest.

    Where they hardly do, the engine takes one time for all: then their number tells the chunks,
    and the first gap is the step before them.
    """
    base = min(mix.gaps_ms)
    grown = [gap - base for gap in mix.gaps_ms]
    if sum(grown) < FLAT * sum(mix.gaps_ms):
        return 1 / max(1, len(grown) - 1)
    return max(grown) / sum(grown)


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
