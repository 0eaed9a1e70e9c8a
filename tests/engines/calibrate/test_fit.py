"""The fit: the formula that made the times is found, and one wrong time does not bend it."""

from dataclasses import replace

import pytest

from headrace.engines.calibrate.fit import Observation, Step, fit, loss, median, quantile
from headrace.engines.sim.cost import Cost

COST = Cost(30.0, 20.0, 1.1, 2e-3, 0.5, 3e-3, host=0.5)
REQUEST_MS = 4.0


def observed() -> list[Observation]:
    """Times that the formula gives for prompts and batches."""
    found = [
        Observation(f"{tokens}", (Step(((0, tokens),)),), 1, 0, 0, 3)
        for tokens in (8, 16, 32, 64, 128, 256, 512, 1024)
    ]
    for count in (1, 2, 4, 8, 16, 32):
        for context in (50.0, 500.0):
            step = Step(contexts=(context,) * count)
            found.append(Observation(f"{count} at {context}", (step,), 0, 0, 0, 3))
    return [replace(one, ms=time(one)) for one in found]


def time(one: Observation) -> float:
    steps = sum(COST.iteration_ms(step.chunks, step.contexts) for step in one.steps)
    return steps + one.requests * REQUEST_MS


def test_the_formula_is_found() -> None:
    """Every coefficient, and nothing is unknown."""
    found = fit(observed())
    cost = found.cost

    assert (COST.weights, COST.base) == pytest.approx((cost.weights, cost.base), rel=1e-6)
    assert COST.per_token == pytest.approx(cost.per_token, rel=1e-6)
    assert COST.per_pair == pytest.approx(cost.per_pair, rel=1e-6)
    assert COST.per_sequence == pytest.approx(cost.per_sequence, rel=1e-6)
    assert COST.per_kv_token == pytest.approx(cost.per_kv_token, rel=1e-6)
    assert REQUEST_MS == pytest.approx(found.request_ms, rel=1e-6)
    assert 1 == pytest.approx(found.r_squared)
    assert () == found.unknown()


def test_a_hiccup_does_not_bend_it() -> None:
    """One prompt that took three times as long changes the others by less than 3 %."""
    times = observed()
    times[3] = replace(times[3], ms=times[3].ms * 3)
    found = fit(times)
    off = [abs(found.residual(one)) for n, one in enumerate(times) if n != 3]

    assert max(off) < 0.03
    assert found.residual(times[3]) == pytest.approx(-2 / 3, abs=0.03)


def test_without_a_knee() -> None:
    """When every batch computes longer than it reads, weights are unknown and the rest is right."""
    times = [one for one in observed() if one.requests and one.steps[0].size >= 32]
    found = fit(times)

    assert "weights" in found.unknown()
    assert COST.per_token == pytest.approx(found.cost.per_token, rel=1e-3)
    assert max(abs(found.residual(one)) for one in times) < 1e-3


def test_quantiles() -> None:
    """Between two values by proportion."""
    assert (2.5, 1.75) == (median([4, 1, 3, 2]), quantile([4, 1, 3, 2], 0.25))


def test_loss_is_smooth() -> None:
    """Squared up to 5 %, then a line that goes on where the square ends."""
    assert 0.02**2 == loss(-0.02)
    assert 0.05**2 == pytest.approx(loss(0.05))
    assert 2 * 0.05 * 0.5 - 0.05**2 == pytest.approx(loss(0.5))
