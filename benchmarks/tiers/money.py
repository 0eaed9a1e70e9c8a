"""
What classes save and what they lose, by what a small and a large model really made of each row:
against always one of the two, and against chance at the same cost. Pure but for the data file.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from headrace.gateway.rules.classifier import Local
from headrace.routing.classify import Judge
from headrace.routing.head import Rows

from .judged import likely, prepare, read, routed

# US$ for a million tokens, as RouteLLM's authors reckoned for these two models in 2024
# (https://arxiv.org/abs/2406.18665): the saving in money follows from the ratio, not the date.
PRICES = {"small": 0.24, "large": 24.7}
SAMPLES = 1000
CURVE = 41


def saved(embedder: Local, judge: Judge, threshold: float, every: int = 1) -> dict[str, Any]:
    """
    For each benchmark and an even mix of all: cost, quality, and the curve between the two.
    ``every`` tenth row, say, is for those in a hurry.
    """
    rows = [*read("outcomes.jsonl")][::every]
    reasoning = likely(judge, prepare(embedder, [row["text"] for row in rows]))
    small = np.array([row["small"] for row in rows])
    large = np.array([row["large"] for row in rows])
    bench = np.array([row["bench"] for row in rows])
    names = list(dict.fromkeys(bench.tolist()))
    found = {}
    for name in names:
        mine = bench == name
        found[name] = _weighed(small[mine], large[mine], reasoning[mine], threshold, None)
    even = np.concatenate(
        [np.full((bench == name).sum(), 1 / (bench == name).sum()) for name in names]
    )
    order = np.concatenate([np.flatnonzero(bench == name) for name in names])
    found["even mix"] = _weighed(small[order], large[order], reasoning[order], threshold, even)
    return found


def _weighed(
    small: Rows, large: Rows, reasoning: Rows, threshold: float, weights: Rows | None
) -> dict[str, Any]:
    weigh = np.full(len(small), 1.0) if weights is None else weights
    weigh = weigh / weigh.sum()
    up = routed(reasoning, threshold) == 1
    always_small, always_large = float(weigh @ small), float(weigh @ large)
    calls = float(weigh @ up)
    ours = float(weigh @ np.where(up, large, small))
    chance = always_small + calls * (always_large - always_small)
    return {
        "rows": len(small),
        "always_small": round(always_small, 4),
        "always_large": round(always_large, 4),
        "calls_to_large": round(calls, 4),
        "ours": round(ours, 4),
        "chance_at_equal_cost": round(chance, 4),
        "gain_over_chance": round(ours - chance, 4),
        "gain_95": _interval(small, large, up, weigh),
        "gap_recovered": round(_part(ours, always_small, always_large), 4),
        "money_saved": round(1 - _price(calls) / PRICES["large"], 4),
        "quality_lost": round(always_large - ours, 4),
        "best_at_equal_cost": round(_best(small, large, weigh, calls), 4),
        "curve": _curve(small, large, reasoning, weigh),
    }


def _price(calls: float) -> float:
    return calls * PRICES["large"] + (1 - calls) * PRICES["small"]


def _part(ours: float, low: float, high: float) -> float:
    """How much of what the large model is better is kept."""
    return (ours - low) / (high - low)


def _best(small: Rows, large: Rows, weigh: Rows, calls: float) -> float:
    """Who knew both answers beforehand and had as many calls."""
    order = np.argsort(-(large - small), kind="stable")
    taken = np.cumsum(weigh[order]) <= calls + 1e-9
    up = np.zeros(len(small), bool)
    up[order[taken]] = True
    return float(weigh @ np.where(up, large, small))


def _interval(small: Rows, large: Rows, up: Rows, weigh: Rows) -> list[float]:
    """Ninety-five of a hundred bootstrap samples have a gain over chance between these two."""
    chance = np.random.default_rng(2026)
    gains = []
    for _ in range(SAMPLES):
        drawn = chance.choice(len(small), len(small), p=weigh)
        low, high, went = small[drawn], large[drawn], up[drawn]
        even = low.mean() + went.mean() * (high.mean() - low.mean())
        gains.append(float(np.where(went, high, low).mean() - even))
    return [round(float(each), 4) for each in np.percentile(gains, [2.5, 97.5])]


def _curve(small: Rows, large: Rows, reasoning: Rows, weigh: Rows) -> Sequence[list[float]]:
    """Quality by the share of calls to the large model: the likeliest ``reasoning`` go first."""
    order = np.argsort(-reasoning, kind="stable")
    calls = np.concatenate([[0.0], np.cumsum(weigh[order])])
    gains = np.cumsum((weigh * (large - small))[order])
    quality = float(weigh @ small) + np.concatenate([[0.0], gains])
    places = np.linspace(0, 1, CURVE)
    at = np.interp(places, calls, quality)
    return [[round(float(x), 4), round(float(y), 4)] for x, y in zip(places, at, strict=True)]
