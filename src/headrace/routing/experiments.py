"""
What an experiment has seen and what follows from it, at any time. Pure: no clock, no chance. Who
gets which arm is shares.py's; ramps and roll-backs are carried out by gateway/rules/trials.py.

People look at running experiments all the time, and the guard looks after every request, so that
nothing here may be a test that is valid at one planned moment only:

- Failures and slow first bytes are counted as events. Were the arms equal, each event would come
  from the tested arm with just the probability with which requests go there. A bet against that at
  fair odds, on a fixed set of rate ratios at once, is a test martingale: by Ville's inequality it
  ever reaches 1/alpha with probability alpha at most, for every number of events and through every
  ramp (https://arxiv.org/abs/2210.01948, sections 2 and 3).
- Mean times to the first byte are compared by the mixture sequential probability ratio test and
  its confidence sequence, on logarithms (https://arxiv.org/abs/1512.04922, section 4.3). It takes
  variances from the data, so that it holds from some dozens of requests on.
"""

import math
from collections.abc import Sequence

from msgspec import Struct

# Rates of the tested arm over the control's that the bets are on.
RATIOS = (1 / 8, 1 / 4, 1 / 2, 2 / 3, 4 / 5, 5 / 4, 3 / 2, 2, 4, 8)
WORSE = tuple(index for index, ratio in enumerate(RATIOS) if ratio > 1)
# Scale of the effects that the mixture looks for: a tenth, in natural logarithms.
MIXTURE_VARIANCE = 0.1**2
MIN_STREAMS = 50  # of each arm, before their means are compared
TAIL = 0.95
# Buckets of the histogram grow by a twentieth: a percentile is within 2.5 % of the truth.
GROWTH = math.log(1.05)
BUCKETS = 400  # up to 3e8 ms
RENEWED = 32  # observations of the control between two looks at its percentile


class Outcome(Struct, frozen=True, gc=False):
    """How one request of an arm went. ``ttft_ms`` is None where there was no stream."""

    failed: bool
    ttft_ms: float | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0


class Bounds(Struct, frozen=True, gc=False):
    """When an arm is taken out; the settings of ``guard`` say what each is."""

    error_rate: float = 0.02
    ttft_p95: float = 1.25
    min_requests: int = 100
    alpha: float = 0.01


class Alarm(Struct, frozen=True, gc=False):
    """An arm that must be taken out: which, by which metric, and its value beside the control's."""

    arm: int
    metric: str
    value: float
    control: float


class Comparison(Struct, frozen=True, gc=False):
    """
    An arm beside the control. P-values are valid whenever they are read. ``ttft_change`` is the
    change of the geometric mean (0.1: a tenth slower), with its confidence sequence.
    """

    error_p: float
    slow_p: float
    ttft_p: float
    ttft_change: float | None
    ttft_low: float | None
    ttft_high: float | None


class Tally:
    """What one arm has seen."""

    def __init__(self) -> None:
        self.requests = 0
        self.failed = 0
        self.tokens_in = 0
        self.tokens_out = 0
        self.cost = 0.0
        self.streams = 0
        self.mean_log = 0.0
        self._squares = 0.0  # of differences from the mean, Welford's
        self._histogram = [0] * BUCKETS

    def add(self, outcome: Outcome) -> None:
        """Count a request."""
        self.requests += 1
        self.failed += outcome.failed
        self.tokens_in += outcome.tokens_in
        self.tokens_out += outcome.tokens_out
        self.cost += outcome.cost
        if outcome.ttft_ms is not None:
            self._add_ttft(outcome.ttft_ms)

    def _add_ttft(self, ttft_ms: float) -> None:
        value = math.log(max(ttft_ms, 1.0))
        self._histogram[min(int(value / GROWTH), BUCKETS - 1)] += 1
        self.streams += 1
        step = value - self.mean_log
        self.mean_log += step / self.streams
        self._squares += step * (value - self.mean_log)

    @property
    def error_rate(self) -> float:
        """Failed requests as a share of all."""
        return self.failed / self.requests if self.requests else 0.0

    @property
    def variance(self) -> float:
        """Of the logarithms of times to the first byte."""
        return self._squares / (self.streams - 1) if self.streams > 1 else 0.0

    def ttft_ms(self, share: float) -> float | None:
        """The time to the first byte that this share of streams stays below; None for none."""
        if not self.streams:
            return None
        left = share * self.streams
        for bucket, count in enumerate(self._histogram):
            left -= count
            if left <= 0 and count:
                return math.exp((bucket + 0.5) * GROWTH)
        return math.exp(BUCKETS * GROWTH)


class Bet:
    """
    A bet that events come from one arm more often, or less often, than requests go there.

    ``value`` is what a stake of 1 has become: were the arms equal, it would be 1 on average, and
    it would ever exceed x with probability 1/x at most.
    """

    def __init__(self) -> None:
        self._logs = [0.0] * len(RATIOS)
        self.highest = 1.0  # that the two-sided value has ever been

    def add(self, share: float, *, tested: bool) -> None:
        """
        An event came, from the tested arm or the control; ``share`` of the requests of both go to
        the former.
        """
        if not 0 < share < 1:
            return
        for index, ratio in enumerate(RATIOS):
            odds = share * ratio
            claimed = odds / (odds + 1 - share)
            gain = claimed / share if tested else (1 - claimed) / (1 - share)
            self._logs[index] += math.log(gain)
        self.highest = max(self.highest, self.value())

    def value(self, chosen: Sequence[int] = tuple(range(len(RATIOS)))) -> float:
        """What the stake has become, spread over these ratios equally."""
        return sum(math.exp(min(self._logs[index], 700.0)) for index in chosen) / len(chosen)

    @property
    def p_value(self) -> float:
        """Always valid, two-sided."""
        return min(1.0, 1 / self.highest)


class Trial:
    """One experiment: a tally for each arm, and each arm beside the first, the control."""

    def __init__(self, arms: int, bounds: Bounds = Bounds()) -> None:  # noqa: B008 - frozen
        self.bounds = bounds
        self.tallies = [Tally() for _ in range(arms)]
        self._errors = [Bet() for _ in range(arms)]
        self._slow = [Bet() for _ in range(arms)]
        self._ttft_p = [1.0] * arms
        self._threshold_ms = math.inf  # the control's percentile, as it was a while ago
        self._renew_at = MIN_STREAMS

    def observe(self, arm: int, weights: Sequence[float], outcome: Outcome) -> Alarm | None:
        """
        Count a request that was assigned by these weights; the alarm if the arm must be taken out.
        """
        if outcome.failed:
            self._bet(self._errors, arm, weights)
        elif outcome.ttft_ms is not None and outcome.ttft_ms > self._threshold_ms:
            self._bet(self._slow, arm, weights)
        self.tallies[arm].add(outcome)
        control = self.tallies[0]
        if not arm and control.streams >= self._renew_at:
            self._threshold_ms = control.ttft_ms(TAIL) or math.inf
            self._renew_at = control.streams + RENEWED
        return self._alarm(arm) if arm and weights[arm] > 0 else None

    def compare(self, arm: int) -> Comparison:
        """An arm beside the control, now."""
        control, tested = self.tallies[0], self.tallies[arm]
        change = low = high = None
        if min(control.streams, tested.streams) >= MIN_STREAMS:
            theta, variance = difference(control, tested)
            self._ttft_p[arm] = min(self._ttft_p[arm], mixture_p(theta, variance))
            radius = mixture_radius(variance, self.bounds.alpha)
            change, low, high = (math.expm1(x) for x in (theta, theta - radius, theta + radius))
        return Comparison(
            error_p=self._errors[arm].p_value,
            slow_p=self._slow[arm].p_value,
            ttft_p=self._ttft_p[arm],
            ttft_change=change,
            ttft_low=low,
            ttft_high=high,
        )

    def _bet(self, bets: Sequence[Bet], arm: int, weights: Sequence[float]) -> None:
        """An event of the control is one for every other arm's bet."""
        for other in range(1, len(bets)) if not arm else (arm,):
            both = weights[0] + weights[other]
            bets[other].add(weights[other] / both if both else 0.0, tested=bool(arm))

    def _alarm(self, arm: int) -> Alarm | None:
        control, tested, bounds = self.tallies[0], self.tallies[arm], self.bounds
        if min(control.requests, tested.requests) < bounds.min_requests:
            return None
        # Two metrics for each tested arm: their chances to be wrong add up.
        needed = 2 * (len(self.tallies) - 1) / bounds.alpha
        rate, usual = tested.error_rate, control.error_rate
        if rate - usual > bounds.error_rate and self._errors[arm].value(WORSE) >= needed:
            return Alarm(arm, "error_rate", rate, usual)
        if self._slow[arm].value(WORSE) < needed:
            return None
        slow, usual_ms = tested.ttft_ms(TAIL), control.ttft_ms(TAIL)
        if slow is not None and usual_ms is not None and slow > bounds.ttft_p95 * usual_ms:
            return Alarm(arm, "ttft_p95", slow, usual_ms)
        return None


def difference(control: Tally, tested: Tally) -> tuple[float, float]:
    """The difference of the means of log times, and its variance."""
    variance = control.variance / control.streams + tested.variance / tested.streams
    return tested.mean_log - control.mean_log, max(variance, 1e-12)


def mixture_p(theta: float, variance: float) -> float:
    """The p-value of a difference by the mixture SPRT, whose least so far is always valid."""
    tau = MIXTURE_VARIANCE
    exponent = tau * theta**2 / (2 * variance * (variance + tau))
    ratio = math.sqrt(variance / (variance + tau)) * math.exp(min(exponent, 700.0))
    return min(1.0, 1 / ratio)


def mixture_radius(variance: float, alpha: float) -> float:
    """Half the width of the confidence sequence that belongs to ``mixture_p``."""
    tau = MIXTURE_VARIANCE
    spread = variance * (variance + tau) / tau
    return math.sqrt(spread * (math.log((variance + tau) / variance) + 2 * math.log(1 / alpha)))
