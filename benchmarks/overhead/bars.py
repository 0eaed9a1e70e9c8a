"""
The bars Headrace has to clear, one row each, as ratios within one run. Pure.
A bar whose peer was not measured is open, never passed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from .results import DIRECT, Results
from .summary import median

HEADRACE = "headrace"
PLAIN = "headrace-rr"  # beside routers that take turns, too
FULL = "headrace-full"  # with keys, limits, a ledger
STALL_MS = 50


@dataclass(frozen=True, slots=True)
class Verdict:
    """One bar, judged. `measured` is None when it could not be."""

    text: str
    limit: float
    sense: Literal["at most", "at least"]
    measured: float | None
    against: str

    @property
    def state(self) -> Literal["pass", "miss", "open"]:
        if self.measured is None:
            return "open"
        met = (
            self.measured <= self.limit if self.sense == "at most" else self.measured >= self.limit
        )
        return "pass" if met else "miss"


Finding = tuple[float | None, str]


def _ratio(results: Results, peer: str, other: str, scene: str, against: str) -> Finding:
    """Only over all rounds: who failed in some of them has no median to show."""
    for name in (peer, other):
        if not results.complete(name, scene, results.plan.rounds):
            found = len(results.clean(name, scene))
            return None, f"{name}: {found} of {results.plan.rounds} rounds"
    return results.ratio(peer, scene, other), against


def _against(peer: str, scene: str, ours: str = HEADRACE) -> Callable[[Results], Finding]:
    def find(results: Results) -> Finding:
        return _ratio(results, ours, peer, scene, results.labels.get(peer, peer))

    return find


def _turns(results: Results) -> Finding:
    return _ratio(results, PLAIN, "vllm-router", "whole", results.labels.get("vllm-router", ""))


def _cheapest_llm(ours: str) -> Callable[[Results], Finding]:
    def find(results: Results) -> Finding:
        routers = results.measured("llm", "stream")
        if not routers:
            return None, "no LLM router was measured"
        return _ratio(results, ours, routers[0], "stream", results.labels[routers[0]])

    return find


def _litellm(results: Results) -> Finding:
    return _ratio(results, "litellm", HEADRACE, "stream", "LiteLLM / Headrace")


def _ttft(results: Results) -> Finding:
    """
    A difference, not a ratio: the time without a proxy drops out of it.

    Where that baseline is above a proxy's time, the machine's noise is what was measured.
    """
    rounds = results.plan.rounds
    added = {
        peer: ms
        for peer in (HEADRACE, *results.measured("llm", "stream"))
        if results.complete(peer, "stream", rounds)
        and (ms := results.added_ttft_ms(peer, 0.99)) is not None
    }
    own = added.pop(HEADRACE, None)
    if own is None or not added:
        return None, "Headrace or every LLM router was not measured in all rounds"
    best = min(added, key=lambda peer: added[peer])
    against = f"{results.labels[best]}: {own:.2f} ms against {added[best]:.2f} ms"
    if min(own, added[best]) <= 0:
        return None, f"the machine was too busy ({against})"
    return own - added[best], against


def _growth(results: Results) -> Finding:
    most, rounds = max(results.plan.replica_counts), results.plan.replica_rounds
    scenes = (f"{most} replicas", "1 replicas")
    if not all(results.complete(PLAIN, scene, rounds) for scene in scenes):
        return None, f"Headrace was not measured in all {rounds} rounds"
    return results.ratio(PLAIN, scenes[0], PLAIN, scenes[1]), f"round_robin, {most} against 1"


def _idle(results: Results) -> Finding:
    kb = results.idle_kb(HEADRACE)
    return (None if kb is None else kb.median), f"{results.plan.idle_streams} streams"


def _stall(results: Results) -> Finding:
    base = results.worst_gap_ms(DIRECT)
    if base is None or not results.complete(HEADRACE, "stall", results.plan.rounds):
        return None, "not measured in all rounds"
    if base > STALL_MS:
        return None, f"the machine was too busy: {base:.0f} ms without a proxy"
    return results.stall_ms(HEADRACE), f"less the {base:.0f} ms without a proxy"


def _first_token(results: Results) -> Finding:
    tries = results.startup.up_first_token_s
    return (median(tries) if tries else None), results.startup.missing.get("up", "")


def _ready(results: Results) -> Finding:
    tries = results.startup.serve_ready_s
    return (median(tries) if tries else None), results.startup.missing.get("serve", "")


@dataclass(frozen=True, slots=True)
class Bar:
    """One requirement: what it says, its limit, and how it is read from the results."""

    text: str
    limit: float
    find: Callable[[Results], Finding]
    sense: Literal["at most", "at least"] = "at most"


BARS: tuple[Bar, ...] = (
    Bar("CPU per chunk / cheapest LLM router", 0.95, _cheapest_llm(HEADRACE)),
    Bar("CPU per chunk / nginx", 1.6, _against("nginx", "stream")),
    Bar("CPU per request / vllm-router, both round_robin", 0.8, _turns),
    Bar("CPU per request / vllm-router cache_aware", 0.4, _against("vllm-router-cache", "whole")),
    Bar("Everything on: CPU per chunk / cheapest LLM router", 0.95, _cheapest_llm(FULL)),
    Bar("Everything on: CPU per chunk / nginx", 1.6, _against("nginx", "stream", FULL)),
    Bar(
        "Everything on: CPU per request / vllm-router cache_aware",
        0.4,
        _against("vllm-router-cache", "whole", FULL),
    ),
    Bar("LiteLLM's CPU per chunk / Headrace's", 25, _litellm, "at least"),
    Bar("Added TTFT p99 less the best LLM router's, ms", 0, _ttft),
    Bar("CPU per request at the most replicas / at one", 1.10, _growth),
    Bar("kB per idle stream", 40, _idle),
    Bar("Stall of other streams by 10 MB bodies, ms", STALL_MS, _stall),
    Bar("`headrace up` to the first token, s", 8, _first_token),
    Bar("`headrace serve` to ready, s", 1.5, _ready),
)


def judge(results: Results) -> list[Verdict]:
    """Every bar, in the order of the table."""
    verdicts = []
    for bar in BARS:
        measured, against = bar.find(results)
        verdicts.append(Verdict(bar.text, bar.limit, bar.sense, measured, against))
    return verdicts
