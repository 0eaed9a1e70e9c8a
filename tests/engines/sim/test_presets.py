"""The shipped presets: known by name, plausible next to each other, each with its source."""

import pytest

from headrace.engines.sim.presets import DEFAULT, PRESETS


@pytest.mark.parametrize("name", PRESETS)
def test_preset_is_complete(name: str) -> None:
    """Each has its own name, a source, positive times, and a cache for vLLM's longest default."""
    preset = PRESETS[name]

    assert name == preset.name
    assert preset.source
    assert preset.step_ms > preset.cost.host > 0
    assert preset.kv_tokens >= 8192


@pytest.mark.parametrize(
    ("name", "prefill_ms"), [("h100-8b", 90), ("a100-8b", 259), ("l40s-8b", 311)]
)
def test_measured_presets_meet_the_measurement(name: str, prefill_ms: float) -> None:
    """A prompt of 4,096 tokens takes what the silicon database says, within 5 %."""
    assert prefill_ms == pytest.approx(PRESETS[name].prefill_ms(4096), rel=0.05)


def test_better_gpus_are_faster() -> None:
    """The order of the GPUs is that of their data sheets."""
    steps = [PRESETS[f"{gpu}-8b"].step_ms for gpu in ("h100", "a100", "l40s", "a10g", "l4")]

    assert sorted(steps) == steps


def test_the_default_is_there() -> None:
    """The default preset exists."""
    assert DEFAULT in PRESETS
