"""The page about the simulator: each preset with its numbers, each kind of fault with its keys."""

import re
from pathlib import Path

import pytest

from headrace.config.simulator import FAULT_KINDS, Fault
from headrace.engines.sim.presets import PRESETS

PAGE = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_documented(name: str) -> None:
    """Each preset has a row with the times that its formula gives, and its source."""
    preset = PRESETS[name]
    step, prompt = f"{preset.step_ms:.1f}", f"{preset.prefill_ms(4096):.0f}"

    assert f"| `{name}` | {step} | {prompt} | {preset.kv_tokens:,} | {preset.source} |" in PAGE


@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_faults_are_documented(kind: str) -> None:
    """Each kind has a row; the keys that it names exist."""
    (row,) = re.findall(rf"^\| `{kind}` \|.*\|(.*)\|$", PAGE, re.MULTILINE)

    assert {*re.findall(r"`(\w+)`", row)} <= Fault.model_fields.keys()
