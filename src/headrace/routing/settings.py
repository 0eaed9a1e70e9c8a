"""What a pool is told once: the policy, the order of its line, and the weights. Values only."""

from typing import NamedTuple


class Mode(NamedTuple):
    """An order of the queue: ms that a second of waiting is worth, and whether KV must fit."""

    age_ms: float | None  # None: first come, first served
    kv_gate: bool


MODES = {
    "fast": Mode(30.0, kv_gate=True),
    "balanced": Mode(1000.0, kv_gate=False),
    "fair": Mode(None, kv_gate=False),
}


class Settings(NamedTuple):
    """What the configuration's ``routing`` says."""

    policy: str = "lowest_cost"
    order: str = "balanced"
    kappa: float = 3.0
    lam: float = 0.02
    sticky_ms: float = 20.0
    seed: int = 0


USUAL = Settings()
