"""Times of iterations: the formula, and presets made of others."""

import pytest

from headrace.engines.sim.cost import Cost
from headrace.engines.sim.presets import PRESETS

COST = Cost(
    weights=10, base=2, per_token=0.1, per_pair=0.01, per_sequence=0.5, per_kv_token=0.001, host=1
)


def test_small_batches_cost_the_weights() -> None:
    """One token takes as long as reading the weights, plus its sequence, its cache and the host."""
    assert 10 + 0.5 + 0.1 + 1 == pytest.approx(COST.iteration_ms((), (100,)))


def test_large_batches_cost_their_tokens() -> None:
    """A prefill chunk of 200 behind 50 computed tokens costs its tokens and its pairs."""
    assert 2 + 20 + 0.01 * 200 * (50 + 100) + 1 == pytest.approx(COST.iteration_ms([(50, 200)], ()))


def test_prefill_of_a_preset_is_the_sum_of_its_chunks() -> None:
    """4,096 tokens take an A100 two iterations of 2,048 each."""
    preset = PRESETS["a100-8b"]
    chunks = [preset.cost.iteration_ms([(start, 2048)], ()) for start in (0, 2048)]

    assert sum(chunks) == pytest.approx(preset.prefill_ms(4096))


def test_scaled_takes_that_much_more_compute() -> None:
    """Weights and tokens scale with the model; what attention costs does not."""
    small = PRESETS["h100-8b"]
    large = small.scaled("x", 2, 100, "twice")

    assert 2 * small.cost.weights == large.cost.weights
    assert small.cost.per_pair == large.cost.per_pair
    assert ("x", 100, "twice") == (large.name, large.kv_tokens, large.source)
