"""
From times that were measured to the coefficients of the simulator's formula. Pure.

What the formula is stands in sim/cost.py. Its maximum makes it two linear models: an observation
with ``n`` tokens in the batch is below the knee (reading the weights) or above it (computing). Each
possible knee is tried, and the one whose formula is nearest to all times is taken. Residuals count
relative to the time: a step of 10 ms matters as much as a prompt of 10 s. Beyond some percent they
count in proportion, not squared (Huber's loss): a machine that hiccups must not bend the formula.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from headrace.engines.calibrate.squares import Solution, solve
from headrace.engines.sim.cost import Cost

# What the host takes in an iteration cannot be told from weights and base: so much of both is its.
HOST_MS = 0.5
# Residuals below this share are squared. That much is usual on a machine with other processes.
USUAL = 0.05
TRUSTED = 5  # repetitions; more of them say no more
PASSES = 3  # of fitting again with less weight for what was far off; then nothing moves any more
# A coefficient is known when its standard error is below this share of it.
KNOWN = 0.5
# ... and when it is at least so large a share of one of the times.
SHOWN = 0.005
MANY = 1 << 60  # tokens; no batch has more
TERMS = (
    "weights", "base", "per_token", "per_pair", "per_sequence", "per_kv_token", "request_ms",
)  # fmt: skip
WEIGHTS, BASE, PER_TOKEN, PER_PAIR, PER_SEQUENCE, PER_KV_TOKEN, REQUEST = range(len(TERMS))


@dataclass(frozen=True, slots=True)
class Step:
    """An iteration: prefill chunks as (tokens before, tokens in it), contexts of who decodes."""

    chunks: tuple[tuple[int, int], ...] = ()
    contexts: tuple[float, ...] = ()

    @property
    def size(self) -> int:
        """Tokens in the batch."""
        return sum(count for _, count in self.chunks) + len(self.contexts)


@dataclass(frozen=True, slots=True)
class Observation:
    """
    A time that was measured, and the iterations that it is the sum of.

    ``requests`` is 1 where it includes a request's way to the engine. ``noise_ms`` is half the
    distance of the quartiles of its repetitions.
    """

    name: str
    steps: tuple[Step, ...]
    requests: int
    ms: float
    noise_ms: float
    repetitions: int


@dataclass(frozen=True, slots=True)
class Fit:
    """A formula, how sure each of its terms is, and what it says of each observation."""

    cost: Cost
    request_ms: float
    errors: tuple[float, ...]  # standard errors, in the order of TERMS
    observations: tuple[Observation, ...]

    def predicted_ms(self, observation: Observation) -> float:
        """What the formula says."""
        steps = (self.cost.iteration_ms(step.chunks, step.contexts) for step in observation.steps)
        return sum(steps) + observation.requests * self.request_ms

    def residual(self, observation: Observation) -> float:
        """How far the formula is off, as a share of what was measured."""
        return self.predicted_ms(observation) / observation.ms - 1

    @property
    def distance(self) -> float:
        """How far the formula is off in all: the sum of the losses."""
        return sum(
            loss(self.residual(one)) * min(one.repetitions, TRUSTED) for one in self.observations
        )

    @property
    def r_squared(self) -> float:
        """The share of the times' variance that the formula explains."""
        times = [one.ms for one in self.observations]
        mean = sum(times) / len(times)
        missed = sum((one.ms - self.predicted_ms(one)) ** 2 for one in self.observations)
        return 1 - missed / (sum((ms - mean) ** 2 for ms in times) or 1.0)

    @property
    def values(self) -> tuple[float, ...]:
        """The coefficients in the order of TERMS."""
        cost = self.cost
        return (
            cost.weights, cost.base, cost.per_token, cost.per_pair, cost.per_sequence,
            cost.per_kv_token, self.request_ms,
        )  # fmt: skip

    def unknown(self) -> tuple[str, ...]:
        """The terms that these observations do not tell."""
        largest = [0.0] * len(TERMS)
        for one in self.observations:
            # Each step counts as one of each kind: the question is only whether a term can show.
            amounts = [
                max(both) for both in zip(_features(one, 0), _features(one, MANY), strict=True)
            ]
            largest = [max(old, n / one.ms) for old, n in zip(largest, amounts, strict=True)]
        rows = zip(TERMS, self.values, self.errors, largest, strict=True)
        return tuple(
            name
            for name, value, error, most in rows
            if not error < KNOWN * value or value * most < SHOWN
        )


def fit(observations: Sequence[Observation]) -> Fit:
    """The formula that is nearest to the observations; at least one is needed."""
    sizes = sorted({step.size for one in observations for step in one.steps})
    tries = [_with_knee(observations, knee) for knee in (0, *sizes)]
    return min(tries, key=lambda found: found.distance)


def _with_knee(observations: Sequence[Observation], knee: int) -> Fit:
    """The best formula when batches of ``knee`` tokens and fewer cost the weights."""
    rows = [[value / one.ms for value in _features(one, knee)] for one in observations]
    found = _weighed(observations, rows, [0.0] * len(rows))
    for _ in range(PASSES):
        found = _weighed(observations, rows, [found.residual(one) for one in observations])
    return found


def _weighed(
    observations: Sequence[Observation], rows: Sequence[Sequence[float]], off: Sequence[float]
) -> Fit:
    """The best formula, where what is ``off`` more than usual has less weight."""
    weights = [
        math.sqrt(USUAL / max(abs(share), USUAL) * min(one.repetitions, TRUSTED))
        for share, one in zip(off, observations, strict=True)
    ]
    weighted = [[w * x for x in row] for w, row in zip(weights, rows, strict=True)]
    solution = solve(weighted, weights)
    return Fit(*_split(solution), solution.errors, tuple(observations))


def _features(observation: Observation, knee: int) -> list[float]:
    found = [0.0] * len(TERMS)
    found[REQUEST] = observation.requests
    for step in observation.steps:
        if step.size <= knee:
            found[WEIGHTS] += 1
        else:
            found[BASE] += 1
            found[PER_TOKEN] += step.size
        found[PER_PAIR] += sum(count * (before + count / 2) for before, count in step.chunks)
        found[PER_SEQUENCE] += len(step.contexts)
        found[PER_KV_TOKEN] += sum(step.contexts)
    return found


def _split(solution: Solution) -> tuple[Cost, float]:
    """Coefficients as the formula has them: what is the host's is taken off weights and base."""
    values = solution.values
    known = [value for value in (values[WEIGHTS], values[BASE]) if value]
    host = min([HOST_MS, *known]) if known else 0.0
    cost = Cost(
        weights=max(0.0, values[WEIGHTS] - host),
        base=max(0.0, values[BASE] - host),
        per_token=values[PER_TOKEN],
        per_pair=values[PER_PAIR],
        per_sequence=values[PER_SEQUENCE],
        per_kv_token=values[PER_KV_TOKEN],
        host=host,
    )
    return cost, values[REQUEST]


def loss(residual: float) -> float:
    """Squared below the usual, in proportion above it."""
    off = abs(residual)
    return off**2 if off <= USUAL else 2 * USUAL * off - USUAL**2


def median(values: Sequence[float]) -> float:
    """The middle value; of an even number, the mean of the two in the middle."""
    return quantile(values, 0.5)


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which a share of the values lies, between two of them by proportion."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below, above = math.floor(place), math.ceil(place)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
