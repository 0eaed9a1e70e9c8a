"""
How often an experiment's conclusions are wrong, and how soon the guard is right: made-up traffic
with lognormal times to the first byte. Prints the tables of docs/experiments.md in half a minute.
"""

import math
import random
from statistics import median

from headrace.routing.experiments import Alarm, Bounds, Outcome, Trial

RUNS, REQUESTS, ALPHA = 300, 2000, 0.05
STRICT = Bounds(error_rate=0.0, ttft_p95=1.0, min_requests=50, alpha=ALPHA)
SILENT = Bounds(alpha=1e-9)
HARMS = (
    ("1 % of requests fail: 5 %", (0.01, 0.05), 1.0),
    ("1 % of requests fail: 10 %", (0.01, 0.1), 1.0),
    ("first bytes take half as long again", (0.0, 0.0), 1.5),
    ("first bytes take twice as long", (0.0, 0.0), 2.0),
)


def main() -> None:
    """Print both tables."""
    equal = {"failures": 0, "slow first bytes": 0, "mean times": 0, "guard, no margins": 0}
    for seed in range(RUNS):
        trial = Trial(2, SILENT)
        run(trial, seed, (0.05, 0.05), 1.0, (80, 20))
        now = trial.compare(1)
        equal["failures"] += now.error_p <= ALPHA
        equal["slow first bytes"] += now.slow_p <= ALPHA
        equal["mean times"] += now.ttft_p <= ALPHA
        alarm = run(Trial(2, STRICT), seed + RUNS, (0.05, 0.05), 1.0, (80, 20))
        equal["guard, no margins"] += alarm is not None
    for name, wrong in equal.items():
        print(f"| {name} | {wrong / RUNS:.1%} |")
    for name, errors, slower in HARMS:
        needed = []
        for seed in range(40):
            trial = Trial(2)
            if run(trial, seed, errors, slower, (90, 10), 60_000) is not None:
                needed.append(trial.tallies[1].requests)
        needed.sort()
        late = needed[int(len(needed) * 0.9)]
        print(f"| {name} | {len(needed)} of 40 | {median(needed):.0f} | {late} |")


def run(
    trial: Trial,
    seed: int,
    errors: tuple[float, float],
    slower: float,
    weights: tuple[int, int],
    count: int = REQUESTS,
) -> Alarm | None:
    """So many requests, or until the first alarm; the comparison is read all the time."""
    chance = random.Random(seed)
    for turn in range(count):
        arm = int(chance.random() * sum(weights) >= weights[0])
        shift = math.log(slower) if arm else 0.0
        outcome = Outcome(
            failed=chance.random() < errors[arm], ttft_ms=math.exp(chance.gauss(5 + shift, 0.8))
        )
        alarm = trial.observe(arm, weights, outcome)
        if not turn % 20:
            trial.compare(1)
        if alarm is not None:
            return alarm
    return None


if __name__ == "__main__":
    main()
