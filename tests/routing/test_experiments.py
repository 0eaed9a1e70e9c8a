"""experiments.py: conclusions that hold however often one looks, and alarms that mean something."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.routing.experiments import (
    GROWTH,
    RATIOS,
    WORSE,
    Alarm,
    Bet,
    Bounds,
    Outcome,
    Tally,
    Trial,
    mixture_p,
    mixture_radius,
)


class Traffic:
    """Requests of two arms that fail and begin as we say; times are lognormal, as real ones."""

    def __init__(self, seed: int, errors: tuple[float, float] = (0.05, 0.05), slower: float = 1.0):
        self.chance = random.Random(seed)
        self.errors = errors
        self.shift = (0.0, math.log(slower))

    def run(self, trial: Trial, count: int, weights: tuple[float, float]) -> Alarm | None:
        """So many requests; ends with the first alarm. Looks at the comparison all the time."""
        for turn in range(count):
            arm = int(self.chance.random() * sum(weights) >= weights[0])
            outcome = Outcome(
                failed=self.chance.random() < self.errors[arm],
                ttft_ms=math.exp(self.chance.gauss(5 + self.shift[arm], 0.8)),
            )
            alarm = trial.observe(arm, weights, outcome)
            if not turn % 20:
                trial.compare(1)
            if alarm is not None:
                return alarm
        return None


class TestNothingIsDifferent:
    """Equal arms, looked at all the time, a hundred times over."""

    TIMES, REQUESTS, ALPHA = 100, 1000, 0.05

    @pytest.mark.parametrize("weights", [(50, 50), (90, 10)])
    def test_peeking_finds_nothing(self, weights: tuple[float, float]) -> None:
        """Each p-value falls below alpha in no more runs than alpha says (3 deviations more)."""
        found = {"error_p": 0, "slow_p": 0, "ttft_p": 0}
        for seed in range(self.TIMES):
            trial = Trial(2, Bounds(alpha=1e-9))
            Traffic(seed).run(trial, self.REQUESTS, weights)
            now = trial.compare(1)
            for name in found:
                found[name] += getattr(now, name) <= self.ALPHA
        allowed = self.TIMES * self.ALPHA
        limit = allowed + 3 * math.sqrt(allowed * (1 - self.ALPHA))
        assert all(count <= limit for count in found.values()), found

    def test_no_false_alarm(self) -> None:
        """The guard, at its strictest margins, takes equal arms out no more often than it may."""
        bounds = Bounds(error_rate=0.0, ttft_p95=1.0, min_requests=50, alpha=self.ALPHA)
        alarms = [
            Traffic(seed).run(Trial(2, bounds), self.REQUESTS, (80, 20))
            for seed in range(self.TIMES)
        ]
        allowed = self.TIMES * self.ALPHA
        assert sum(alarm is not None for alarm in alarms) <= allowed + 3 * math.sqrt(allowed)

    def test_a_ramp_is_no_evidence(self) -> None:
        """Shares that change while a fleet-wide trouble comes and goes condemn nobody."""
        bounds = Bounds(error_rate=0.0, ttft_p95=1.0, min_requests=50, alpha=self.ALPHA)
        alarms = 0
        for seed in range(self.TIMES):
            trial = Trial(2, bounds)
            steps = [((95.0, 5.0), 0.01), ((75.0, 25.0), 0.3), ((25.0, 75.0), 0.02)]
            for weights, errors in steps:
                alarm = Traffic(seed * 7, (errors, errors)).run(trial, 400, weights)
                if alarm is not None:
                    alarms += 1
                    break
        # The observed rates are confounded by then, but the bet is not.
        assert alarms <= self.TIMES * self.ALPHA + 3 * math.sqrt(self.TIMES * self.ALPHA)


class TestSomethingIsWrong:
    @pytest.mark.parametrize("seed", range(5))
    def test_failures(self, seed: int) -> None:
        """One request in ten fails instead of one in a hundred: the arm is out within hundreds."""
        trial = Trial(2)
        alarm = Traffic(seed, (0.01, 0.1)).run(trial, 4000, (90, 10))

        assert alarm is not None
        assert (1, "error_rate") == (alarm.arm, alarm.metric)
        assert trial.tallies[1].requests <= 200
        assert alarm.value > alarm.control + trial.bounds.error_rate

    @pytest.mark.parametrize("seed", range(5))
    def test_slow_first_bytes(self, seed: int) -> None:
        """Half as slow again, in a tenth of the traffic: it is found, too, and by that name."""
        trial = Trial(2)
        alarm = Traffic(seed, (0.0, 0.0), slower=1.5).run(trial, 15_000, (90, 10))

        assert alarm is not None
        assert (1, "ttft_p95") == (alarm.arm, alarm.metric)
        assert alarm.value > 1.25 * alarm.control

    def test_a_better_arm_stays(self) -> None:
        """Differences for the better raise no alarm, but are seen."""
        trial = Trial(2)

        assert Traffic(1, (0.1, 0.01), slower=0.5).run(trial, 4000, (50, 50)) is None
        now = trial.compare(1)
        assert now.error_p < 0.01
        assert now.ttft_p < 0.01
        assert now.ttft_high is not None
        assert now.ttft_high < 0

    def test_within_the_margin(self) -> None:
        """A difference that is certain but smaller than what is allowed raises no alarm."""
        trial = Trial(2, Bounds(error_rate=0.2, ttft_p95=100))

        assert Traffic(3, (0.01, 0.08), slower=1.5).run(trial, 6000, (50, 50)) is None
        assert trial.compare(1).error_p < 0.01

    def test_not_before_the_least_number(self) -> None:
        """However bad it looks, nothing is concluded from a few requests."""
        trial = Trial(2, Bounds(min_requests=1000))

        assert Traffic(3, (0.0, 1.0)).run(trial, 900, (50, 50)) is None

    def test_the_right_one_of_three(self) -> None:
        """With three arms, the one that fails is named."""
        trial, chance = Trial(3), random.Random(5)
        alarm = None
        while alarm is None:
            arm = chance.randrange(3)
            failed = chance.random() < (0.2 if arm == 2 else 0.01)
            alarm = trial.observe(arm, (1, 1, 1), Outcome(failed))

        assert 2 == alarm.arm


class TestBet:
    @given(st.floats(0.01, 0.99))
    def test_fair_odds(self, share: float) -> None:
        """Were the arms equal, a bet would gain nothing on average: that is what makes it valid."""
        won, lost = Bet(), Bet()
        won.add(share, tested=True)
        lost.add(share, tested=False)

        assert 1 == pytest.approx(share * won.value() + (1 - share) * lost.value())
        assert 1 == pytest.approx(share * won.value(WORSE) + (1 - share) * lost.value(WORSE))

    @given(st.floats(0.01, 0.99), st.sampled_from(RATIOS[:5]))
    def test_better_arms_lose_the_bet_that_they_are_worse(self, share: float, ratio: float) -> None:
        """One-sided: an arm with fewer events cannot win it, either, on average."""
        won, lost = Bet(), Bet()
        won.add(share, tested=True)
        lost.add(share, tested=False)
        odds = share * ratio
        chance = odds / (odds + 1 - share)

        assert chance * won.value(WORSE) + (1 - chance) * lost.value(WORSE) <= 1 + 1e-9

    def test_no_choice_no_bet(self) -> None:
        """Where all requests go one way, an event says nothing."""
        bet = Bet()
        for share in (0.0, 1.0):
            bet.add(share, tested=True)

        assert 1 == bet.value() == bet.p_value

    def test_certainty_does_not_overflow(self) -> None:
        """Ten thousand events on one side are very certain, and nothing more."""
        bet = Bet()
        for _ in range(10_000):
            bet.add(0.01, tested=True)

        assert 0 <= bet.p_value < 1e-200


class TestTally:
    @given(st.lists(st.floats(1, 1e6), min_size=1, max_size=60), st.sampled_from([0.5, 0.95, 1.0]))
    def test_percentiles(self, times: list[float], share: float) -> None:
        """A percentile is within half a bucket of the true one."""
        tally = Tally()
        for time in times:
            tally.add(Outcome(failed=False, ttft_ms=time))
        true = sorted(times)[max(0, math.ceil(round(share * len(times), 9)) - 1)]

        found = tally.ttft_ms(share)
        assert found is not None
        assert abs(math.log(found / true)) <= GROWTH / 2 + 1e-6

    @given(st.lists(st.floats(1, 1e6), min_size=2, max_size=60))
    def test_moments(self, times: list[float]) -> None:
        """Mean and variance of the logarithms are those of the textbook."""
        tally = Tally()
        for time in times:
            tally.add(Outcome(failed=False, ttft_ms=time))
        logs = [math.log(time) for time in times]
        mean = sum(logs) / len(logs)
        variance = sum((each - mean) ** 2 for each in logs) / (len(logs) - 1)

        assert pytest.approx(mean, abs=1e-9) == tally.mean_log
        assert pytest.approx(variance, abs=1e-6) == tally.variance

    def test_sums(self) -> None:
        """Requests, failures, tokens and cost add up; without a stream there is no time."""
        tally = Tally()
        tally.add(Outcome(failed=True, tokens_in=3, tokens_out=4, cost=0.5))
        tally.add(Outcome(failed=False, tokens_in=1))

        assert (2, 1, 4, 4, 0.5, 0.5) == (
            tally.requests, tally.failed, tally.tokens_in, tally.tokens_out, tally.cost,
            tally.error_rate,
        )  # fmt: skip
        assert tally.ttft_ms(0.5) is None


@given(st.floats(-2, 2), st.floats(1e-6, 1), st.floats(0.001, 0.2))
def test_the_interval_is_the_test(theta: float, variance: float, alpha: float) -> None:
    """No change is outside of the confidence sequence exactly when the p-value is below alpha."""
    p, radius = mixture_p(theta, variance), mixture_radius(variance, alpha)

    if abs(abs(theta) - radius) > 1e-9:
        assert (p < alpha) is (abs(theta) > radius)
