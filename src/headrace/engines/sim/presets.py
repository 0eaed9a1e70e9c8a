"""
Engines that the look-alike can be: GPU and model class, each with the source of its numbers.

Measured are the 8B rows of H100, A100 and L40S: fitted to the silicon database of NVIDIA's
aiconfigurator 0.12.0 for Llama-3.1-8B in bf16 on one GPU (vLLM's iteration, error below 10 %);
and a CPU, fitted to a running vLLM by `headrace engine calibrate` (`make bench-sim`).
Everything else is derived from those by data sheets, and says so; do not size a purchase by it.
"""

from dataclasses import replace

from headrace.engines.sim.cost import Cost, Preset

_DATABASE = "fitted to aiconfigurator 0.12.0's measured operator times, Llama-3.1-8B bf16"
_BY_SHEET = "derived from the L40S fit by the data sheet's memory bandwidth and dense fp16 rate"

# Llama-3: bytes of keys and values per token are 128 KiB (8B), 112 KiB (3B), 320 KiB (70B).
_H100 = Preset(
    "h100-8b", Cost(6.35, 2.57, 0.01958, 7.11e-7, 0.0113, 4.14e-5), 430_000, 8192, 1024, 60.0,
    _DATABASE,
)  # fmt: skip
_A100 = Preset(
    "a100-8b", Cost(11.56, 7.94, 0.05476, 2.86e-6, 0.0331, 7.97e-5), 430_000, 2048, 256, 60.0,
    _DATABASE,
)  # fmt: skip
_L40S = Preset(
    "l40s-8b", Cost(22.1, 7.47, 0.0656, 2.62e-6, 0.0384, 1.88e-4), 200_000, 2048, 256, 60.0,
    _DATABASE,
)  # fmt: skip
_L4 = Preset(
    "l4-8b", Cost(50.0, 14.1, 0.1253, 4.0e-6, 0.034, 4.37e-4), 34_000, 2048, 256, 90.0,
    "aiconfigurator 0.12.0's speed-of-light estimate for L4, not measured",
)  # fmt: skip
# 600 GB/s and 70 TFLOP/s against 864 and 362; 24 GB.
_A10G = Preset(
    "a10g-8b", Cost(31.9, 10.8, 0.336, 1.35e-5, 0.04, 2.7e-4), 34_000, 2048, 256, 90.0, _BY_SHEET
)
# 320 GB/s and 65 TFLOP/s; 16 GB hold an 8B model in 4 bits only, so that weights are read faster.
_T4 = Preset(
    "t4-8b", Cost(21.3, 12.0, 0.362, 1.46e-5, 0.04, 5.1e-4), 57_000, 2048, 256, 90.0,
    f"{_BY_SHEET}; weights in 4 bits (AWQ)",
)  # fmt: skip
# A 3B model fits in 16 bits, 6.4 GB, which is a little more to read than 8B in 4 bits.
_T4_3B = Preset(
    "t4-3b", Cost(23.8, 4.8, 0.145, 1.46e-5, 0.04, 4.5e-4), 59_000, 2048, 256, 90.0, _BY_SHEET
)

# Prompts of up to 1,536 tokens were probed. The engine had 1 GiB for its cache, eager mode, and was
# started with 8 sequences and 512 tokens in a batch.
_CPU = Preset(
    "cpu-smollm2", Cost(35.36, 10.23, 1.141, 1.159e-3, 0.1198, 3.748e-3), 46_592, 512, 8, 75.0,
    "fitted to vLLM 0.32 with SmolLM2-135M on one AMD EPYC core by `headrace engine calibrate`",
    request_ms=19.7, block_size=128,
)  # fmt: skip


def _3b(preset: Preset, kv_tokens: int) -> Preset:
    """3.2 of 8.0 billion parameters, so 0.4 times the work."""
    name = preset.name.replace("8b", "3b")
    small = preset.scaled(name, 0.4, kv_tokens, f"{preset.name} times 0.4, by parameters")
    return replace(small, cost=replace(small.cost, per_kv_token=preset.cost.per_kv_token * 0.875))


def _70b(preset: Preset, kv_tokens: int) -> Preset:
    """70.6 of 8.0 billion parameters over four GPUs, a fifth lost to the exchange between them."""
    name = preset.name.replace("8b", "70b-tp4")
    large = preset.scaled(
        name, 8.8 / 4 / 0.8, kv_tokens, f"{preset.name} times 2.75: 8.8 by parameters, TP 4 at 80 %"
    )
    return replace(large, cost=replace(large.cost, per_kv_token=preset.cost.per_kv_token * 0.78))


_ROWS = (
    _H100, _3b(_H100, 570_000), _70b(_H100, 440_000),
    _A100, _3b(_A100, 570_000), _70b(_A100, 440_000),
    _L40S, _3b(_L40S, 310_000),
    _A10G, _3b(_A10G, 125_000),
    _L4, _3b(_L4, 125_000),
    _T4, _T4_3B,
    _CPU,
)  # fmt: skip

PRESETS = {preset.name: preset for preset in _ROWS}
DEFAULT = "l4-8b"
