"""
What we want to reach, each a row: a figure of ours against the best real peer in cells of a kind.
The numbers are ratios, because they travel from one machine to another.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from .results import Results
from .rig import Run

State = Literal["met", "missed", "open"]


@dataclass(frozen=True, slots=True)
class Bar:
    """``figure`` of ours over the best peer's: at most ``limit``, or at least (``more``)."""

    kinds: tuple[str, ...]
    name: str
    figure: Callable[[Run], float]
    limit: float
    more: bool = False
    against: str = ""  # this peer instead of the best one


@dataclass(frozen=True, slots=True)
class Verdict:
    """A bar in a cell; ``ratio`` is None when somebody has no valid run."""

    cell: str
    bar: Bar
    peer: str
    ratio: float | None

    @property
    def state(self) -> State:
        if self.ratio is None:
            return "open"
        met = self.ratio >= self.bar.limit if self.bar.more else self.ratio <= self.bar.limit
        return "met" if met else "missed"


BARS = (
    Bar(("sharing", "knee"), "TTFT mean", lambda run: run.figures.ttft.mean, 0.6),
    Bar(("sharing", "knee"), "TTFT p50", lambda run: run.figures.ttft.p50, 0.5),
    Bar(("sharing", "knee"), "TTFT p99", lambda run: run.figures.ttft.p99, 0.7),
    Bar(("sharing",), "goodput", lambda run: run.figures.goodput, 1.15, more=True),
    Bar(("knee",), "goodput", lambda run: run.figures.goodput, 1.3, more=True),
    Bar(("apart",), "TTFT mean", lambda run: run.figures.ttft.mean, 0.85),
    Bar(("apart",), "TTFT p50", lambda run: run.figures.ttft.p50, 1.03),
    Bar(("apart",), "TTFT p99", lambda run: run.figures.ttft.p99, 1.03),
    Bar(("apart",), "tokens p99", lambda run: run.figures.token_p99_ms, 1.03),
    Bar(
        ("mixed",), "TTFT p99", lambda run: run.figures.ttft.p99, 0.5, against="vllm-round_robin"
    ),
)  # fmt: skip
CLASS_LIMIT = 1.1  # no class of prompts more than a tenth worse than the best peer's
SKEW_LIMIT = 1.5  # busiest over average within five seconds of a join


def judge(results: Results, ours: str) -> Iterator[Verdict]:
    """Every bar in every cell that it is for."""
    for cell in results.cells():
        peers = [name for name in results.routers(cell) if name not in results.ours]
        if not peers or ours not in results.routers(cell):
            continue
        for bar in BARS:
            if results.kinds[cell] in bar.kinds:
                yield _compare(results, cell, bar, ours, peers)
        if results.kinds[cell] in {"sharing", "knee"}:
            yield from _classes(results, cell, ours, peers)


def _classes(results: Results, cell: str, ours: str, peers: list[str]) -> Iterator[Verdict]:
    names = results.of(cell, ours)[0].figures.classes
    for name in names:

        def figure(run: Run, name: str = name) -> float:
            found = run.figures.classes.get(name)
            return found.mean if found else 0.0

        bar = Bar((), f"TTFT mean, prompts {name}", figure, CLASS_LIMIT)
        yield _compare(results, cell, bar, ours, peers)


def _compare(results: Results, cell: str, bar: Bar, ours: str, peers: list[str]) -> Verdict:
    best = max if bar.more else min
    valid = [name for name in peers if not results.doubtful(cell, name)]
    if bar.against:
        valid = [name for name in valid if name == bar.against]
    if not valid or results.doubtful(cell, ours):
        return Verdict(cell, bar, "", None)
    peer = best(valid, key=lambda name: results.mean(cell, name, bar.figure).value)
    other = results.mean(cell, peer, bar.figure).value
    own = results.mean(cell, ours, bar.figure).value
    return Verdict(cell, bar, peer, own / other if other else None)
