"""
From what became of requests to the numbers that are reported. Pure.

Times of requests are brought back to the preset's scale: what took a second of the wall clock on
engines that ran six times faster, took six.
"""

from collections.abc import Callable, Sequence

import msgspec

from benchmarks.overhead.summary import percentile

from .jobs import Ask

# Prompt tokens, and what such prompts are called.
CLASSES = ((2_048, "< 2k"), (8_192, "2-8k"), (32_768, "8-32k"), (1 << 40, "> 32k"))
TTFT_LIMIT_MS = 2_000.0
TOKEN_LIMIT_MS = 100.0


class Spread(msgspec.Struct, frozen=True):
    """Times of many requests, in ms at the preset's scale."""

    count: int
    mean: float
    p50: float
    p90: float
    p99: float
    most: float


class Figures(msgspec.Struct, frozen=True):
    """One run; without its warm-up."""

    ttft: Spread
    classes: dict[str, Spread]
    token_mean_ms: float
    token_p99_ms: float
    cached: float
    goodput: float
    """Requests per second, at the preset's scale, that met both limits."""
    good: float
    """Their share of all requests."""
    offered: float
    failed: int


def spread(values: Sequence[float]) -> Spread:
    """The statistics of some times; zeros if there are none."""
    if not values:
        return Spread(0, 0.0, 0.0, 0.0, 0.0, 0.0)
    return Spread(
        len(values),
        sum(values) / len(values),
        percentile(values, 0.5),
        percentile(values, 0.9),
        percentile(values, 0.99),
        max(values),
    )


def ttft_ms(ask: Ask, speed: float) -> float:
    """From when the request was due to its first token."""
    return ask.first_s * 1000 * speed


def token_ms(ask: Ask, speed: float) -> float:
    """Between two tokens of the answer, on average."""
    return (ask.end_s - ask.first_s) * 1000 * speed / max(1, ask.output_tokens - 1)


def size(tokens: int) -> str:
    """The class of a prompt."""
    return next(name for limit, name in CLASSES if tokens < limit)


def measured(asks: Sequence[Ask], warm: float) -> list[Ask]:
    """Requests behind the warm-up: the share of the load's time that does not count."""
    if not asks:
        return []
    last_s = max(ask.due_s for ask in asks)
    return [ask for ask in asks if ask.due_s >= warm * last_s]


def figures(asks: Sequence[Ask], speed: float) -> Figures:
    """The numbers of a run's measured requests."""
    fine = [ask for ask in asks if not ask.failure]
    by_class = {
        name: spread([ttft_ms(ask, speed) for ask in fine if size(ask.prompt_tokens) == name])
        for _, name in CLASSES
    }
    pace = [token_ms(ask, speed) for ask in fine if ask.output_tokens > 1]
    good = sum(
        ttft_ms(ask, speed) <= TTFT_LIMIT_MS and token_ms(ask, speed) <= TOKEN_LIMIT_MS
        for ask in fine
    )
    due = [ask.due_s for ask in asks]
    window_s = (max(due) - min(due)) * speed if due else 0.0
    return Figures(
        ttft=spread([ttft_ms(ask, speed) for ask in fine]),
        classes={name: found for name, found in by_class.items() if found.count},
        token_mean_ms=sum(pace) / len(pace) if pace else 0.0,
        token_p99_ms=percentile(pace, 0.99),
        cached=_ratio(sum(a.cached_tokens for a in fine), sum(a.prompt_tokens for a in fine)),
        goodput=_ratio(good, window_s),
        good=_ratio(good, len(asks)),
        offered=_ratio(len(asks), window_s),
        failed=len(asks) - len(fine),
    )


def imbalance(samples: Sequence[Sequence[int]]) -> float:
    """Busiest replica over the average one, by requests in it; the mean over all moments."""
    found = [_skew(sample) for sample in samples if sum(sample) >= len(sample) > 0]
    return sum(found) / len(found) if found else 1.0


def worst_skew(samples: Sequence[Sequence[int]]) -> float:
    """The same at its worst moment."""
    return max((_skew(sample) for sample in samples if sum(sample) >= len(sample) > 0), default=1.0)


def over(values: Sequence[float], fold: Callable[[Sequence[float]], float] = max) -> float:
    """Largest value over the mean; 1 if there is nothing."""
    total = sum(values)
    return fold(values) * len(values) / total if total else 1.0


def _skew(sample: Sequence[int]) -> float:
    return over([float(count) for count in sample])


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
