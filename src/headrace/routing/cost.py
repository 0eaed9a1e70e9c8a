"""
How long a replica takes: the iteration-time model, and what first tokens teach about it. Pure.

One iteration of vLLM with ``n`` new tokens takes
``max(w, a + b n) + att sum(n_i (hit_i + n_i / 2)) + ds decodes + kv kv_tokens`` milliseconds. The
shipped numbers are fits to aiconfigurator's measurements (https://github.com/ai-dynamo/aiconfigurator);
each replica has factors of its own on ``a``, ``b`` and ``att``, found by least squares.
"""

from typing import NamedTuple

# A sample counts as at most so many times more or less than what was expected: one stall, or one
# prompt whose prefix was cached after all, must not turn the model over.
CLIP = 4.0
# No machine is further from the shipped numbers: a laptop's CPU is some 50 times slower.
SLOWEST, FASTEST = 1000.0, 0.02
# How much an old sample counts after each new one: about the last 50 matter.
KEEP = 0.98
# How strongly the factors are held together, in samples.
TIE = 1.0
# After these samples the factors are only computed every so often: they hardly move any more.
EARLY, EVERY = 32, 8


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
    """
    The rates of one replica, learned from what it did.

    Recursive least squares with forgetting over three regressors (requests, new tokens, attention
    work), each measured in what the start values predict of it. The three factors are tied to a
    common one, so that a few samples move all of them and many tell them apart.
    """

    __slots__ = ("_moments", "_scale", "_targets", "decode", "rates", "samples", "start")

    def __init__(self, start: Rates = USUAL) -> None:
        self.start = start
        self.rates = start
        self.samples = 0
        self.decode = 1.0  # factor on w, ds and kv
        self._scale = 1.0
        self._moments = [0.0] * 6  # upper triangle of the sum of x xT
        self._targets = [0.0] * 3  # the sum of x y

    def prefilled(self, took_ms: float, requests: int, tokens: float, work: float) -> None:
        """
        Learn that prefills took so long in one stretch: so many requests with so many new
        ``tokens``, and ``work`` = sum of new x (cached + new / 2).
        """
        start = self.start
        parts = start.a * requests, start.b * tokens, start.att * work
        usual = sum(parts)
        now = self.rates
        expected = now.a * requests + now.b * tokens + now.att * work
        if usual <= 0 or took_ms <= 0:
            return
        took_ms = min(max(took_ms, expected / CLIP), expected * CLIP)
        gain = max(0.05, 0.7 / (1 + self.samples / 4))
        self._scale *= (took_ms / usual / self._scale) ** gain
        self._scale = min(max(self._scale, FASTEST), SLOWEST)
        self._learn(parts[0] / usual, parts[1] / usual, parts[2] / usual, took_ms / usual)
        self.samples += 1
        if self.samples < EARLY or self.samples % EVERY == 0:
            self._solve()

    def decoded(self, took_ms: float, expected_ms: float) -> None:
        """Learn that a mean iteration took so long where ``expected_ms`` was predicted."""
        if took_ms <= 0 or expected_ms <= 0:
            return
        ratio = min(max(took_ms / expected_ms, 1 / CLIP), CLIP)
        self.decode = min(max(self.decode * ratio**0.05, FASTEST), SLOWEST)
        start, rates = self.start, self.rates
        self.rates = rates._replace(
            w=start.w * self.decode, ds=start.ds * self.decode, kv=start.kv * self.decode
        )

    def _learn(self, x: float, y: float, z: float, target: float) -> None:
        self._moments = [
            KEEP * moment + seen
            for moment, seen in zip(
                self._moments, (x * x, x * y, x * z, y * y, y * z, z * z), strict=True
            )
        ]
        self._targets = [
            KEEP * old + each * target for old, each in zip(self._targets, (x, y, z), strict=True)
        ]

    def _solve(self) -> None:
        """The factors: Cramer's rule on three equations, kept near the common factor."""
        xx, xy, xz, yy, yz, zz = self._moments
        xx, yy, zz = xx + TIE, yy + TIE, zz + TIE
        scale = self._scale
        p, q, r = (target + TIE * scale for target in self._targets)
        cx, cy, cz = yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - yy * xz
        whole = xx * cx + xy * cy + xz * cz  # > 0: a sum of squares plus the identity
        found = (
            (p * cx + q * cy + r * cz) / whole,
            (p * cy + q * (xx * zz - xz * xz) + r * (xy * xz - xx * yz)) / whole,
            (p * cz + q * (xy * xz - xx * yz) + r * (xx * yy - xy * xy)) / whole,
        )
        on_a, on_b, on_att = (min(max(each, scale / 5), scale * 5) for each in found)
        start = self.start
        self.rates = self.rates._replace(a=start.a * on_a, b=start.b * on_b, att=start.att * on_att)
