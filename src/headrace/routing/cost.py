"""
How long a replica takes: the iteration-time model, and what first tokens teach about it. Pure.

One iteration of vLLM with ``n`` new tokens takes
``max(w, a + b n) + att sum(n_i (hit_i + n_i / 2)) + ds decodes + kv kv_tokens`` milliseconds. The
shipped numbers are fits to aiconfigurator's measurements (https://github.com/ai-dynamo/aiconfigurator);
each replica learns one factor on all of them, and shares it with those that are about as fast.
Noise between equal replicas costs more than a wrong scale (in simulation 60 % of mean time to first
token against 7 % for a factor of 3), so that neither one factor each nor several of them will do.
"""

from collections.abc import Sequence
from math import exp, log
from statistics import median
from typing import NamedTuple

# Of so many first samples the median counts: a laptop's CPU is some 50 times slower than what is
# shipped and known after its first prompt, but one prompt that was cached after all must not make a
# replica look twice as fast, for it gets everything then, and is slow to teach better.
EARLY = 16
# Later ones move it a little towards them, however far away they are: it follows the median, since
# a prefill that waited for KV or behind decodes says nothing about how fast prefills are.
GAIN, CLIP = 0.05, log(1.3)
# Replicas whose factors are within this range are taken for equal.
KIND = log(1.6)
# No machine is further from the shipped numbers.
LOWEST, HIGHEST = log(0.02), log(1000.0)


class Rates(NamedTuple):
    """
    Milliseconds: ``w`` of the shortest iteration, ``a`` of one with a prefill, ``b`` per new token,
    ``att`` per new token and token before it, ``ds`` per running decode, ``kv`` per token it reads.
    """

    w: float
    a: float
    b: float
    att: float
    ds: float
    kv: float

    def prefill_ms(self, tokens: float, cached: float) -> float:
        """One prompt of ``tokens``, the first ``cached`` of which need no work."""
        new = tokens - cached
        return self.a + new * (self.b + self.att * (cached + new / 2))


# Llama-3.1-8B in bf16 on one GPU each.
SHIPPED = {
    "h100": Rates(6.35, 2.57, 0.01958, 7.11e-7, 0.0113, 4.14e-5),
    "a100": Rates(11.56, 7.94, 0.05476, 2.86e-6, 0.0331, 7.97e-5),
    "l40s": Rates(22.1, 7.47, 0.0656, 2.62e-6, 0.0384, 1.88e-4),
    "l4": Rates(50.0, 14.1, 0.1253, 4.0e-6, 0.034, 4.37e-4),
}
USUAL = SHIPPED["h100"]


class Fit:
    """What one replica's prefills took beside what was predicted. ``share`` makes rates of it."""

    __slots__ = ("_first", "_level", "rates", "samples", "start")

    def __init__(self, start: Rates = USUAL) -> None:
        self.start = start
        self.rates = start
        self.samples = 0
        self._level = 0.0  # the factor's logarithm
        self._first: list[float] = []  # the first samples of it

    @property
    def level(self) -> float:
        """The logarithm of how many times slower it is than the rates it started with."""
        return self._level

    def prefilled(
        self,
        took_ms: float,
        requests: int,
        tokens: float,
        work: float,
        beside: tuple[int, float] = (0, 0.0),
    ) -> None:
        """
        Learn that prefills took so long in one stretch: so many requests with so many new
        ``tokens``, and ``work`` = sum of new x (cached + new / 2), ``beside`` so many that decoded
        and the tokens they read.
        """
        start = self.start
        usual = start.a * requests + start.b * tokens + start.att * work
        decodes, read = beside
        # Where others decode an iteration was under way, half of it on average, and they decode in
        # ours, too. Without this a replica that looks slow gets short prompts only, each of which
        # makes it look slower.
        around = 1.5 * (start.w + start.ds * decodes + start.kv * read) if decodes > 0 else 0.0
        if usual < max(around, start.w) / 2 or took_ms <= 0:
            return  # it says more of the iterations than of the prefill
        usual = max(usual, start.w) + around
        seen = min(max(log(max(took_ms, 1e-6) / usual), LOWEST), HIGHEST)
        self.samples += 1
        if self.samples <= EARLY:
            self._first.append(seen)
            self._level = median(self._first)
        else:
            self._level += GAIN * min(max(seen - self._level, -CLIP), CLIP)


def share(fits: Sequence[Fit]) -> None:
    """
    Give replicas that are about as fast as each other the same rates: those of their mean. Those of
    which nothing is known are taken for as fast as the fastest: slower, nobody would try them, and
    by the shipped rates a machine that is far from them would look better than all others by that.
    """
    known = sorted((fit for fit in fits if fit.samples), key=lambda fit: fit.level)
    if not known:
        return
    new = [fit for fit in fits if not fit.samples]
    while known:
        kind = [fit for fit in known if fit.level <= known[0].level + KIND]
        weights = [min(fit.samples, EARLY) for fit in kind]
        total = sum(fit.level * weight for fit, weight in zip(kind, weights, strict=True))
        factor = exp(total / sum(weights))
        alike, new = [*kind, *new], []
        made = {
            start: Rates(*[factor * rate for rate in start]) for start in {f.start for f in alike}
        }
        for fit in alike:
            fit.rates = made[fit.start]  # the same object, which spares the score some work
        known = known[len(kind) :]
