"""
What a simulated engine itself knows of the requests of a run: the ground truth beside which both
tools stand. It counts from a request's arrival, in the metrics that vLLM has, too.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.request import urlopen

T = TypeVar("T")
FAMILIES = {"ttft": "time_to_first_token_seconds", "e2e": "e2e_request_latency_seconds"}
TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Truth:
    """Requests of a run, and the means of their times at the engine, ms."""

    requests: int
    ttft_ms: float
    e2e_ms: float


def beside(url: str, run: Callable[[], T]) -> tuple[T, Truth]:
    """What a run gives, and what the engine saw of it."""
    before = _sums(_page(url))
    found = run()
    return found, between(before, _sums(_page(url)))


def between(before: dict[str, float], after: dict[str, float]) -> Truth:
    """
    The requests between two looks.

    Raises:
        ValueError: there was none, so that there is no mean.

    """
    counts = {name: after[f"{name}_count"] - before[f"{name}_count"] for name in FAMILIES}
    if not all(counts.values()):
        raise ValueError("the engine saw no request")
    means = {
        name: 1e3 * (after[f"{name}_sum"] - before[f"{name}_sum"]) / count
        for name, count in counts.items()
    }
    return Truth(round(counts["ttft"]), means["ttft"], means["e2e"])


def _sums(page: str) -> dict[str, float]:
    found: dict[str, Any] = {}
    for name, family in FAMILIES.items():
        for end in ("count", "sum"):
            line = re.search(rf"^vllm:{family}_{end}\{{.*\}} (\S+)$", page, re.MULTILINE)
            found[f"{name}_{end}"] = float(line[1]) if line else 0.0
    return found


def _page(url: str) -> str:
    with urlopen(f"{url}/metrics", timeout=TIMEOUT_S) as answer:
        text: str = answer.read().decode()
    return text
