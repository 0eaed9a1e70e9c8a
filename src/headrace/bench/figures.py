"""What a step did to its clients, in figures; the definitions are in docs/load.md."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.bench.client import Record
from headrace.bench.drive import Played
from headrace.errors import ConfigError

PERCENTILES = (50, 90, 95, 99)
LIMITS = ("ttft", "tpot", "itl", "e2e")
UNITS = {"ms": 1e-3, "s": 1.0}


@dataclass(frozen=True, slots=True)
class Slo:
    """What a request must keep to be good, s; ``itl`` is its longest gap."""

    ttft: float = math.inf
    tpot: float = math.inf
    itl: float = math.inf
    e2e: float = math.inf

    def kept(self, record: Record) -> bool:
        """Whether a request kept all of it."""
        return (
            record.good
            and record.ttft_s is not None
            and record.ttft_s <= self.ttft
            and (record.tpot_s or 0.0) <= self.tpot
            and max(record.gaps_s, default=0.0) <= self.itl
            and record.latency_s <= self.e2e
        )

    @property
    def written(self) -> dict[str, float]:
        """The limits that were set, s."""
        return {name: value for name in LIMITS if (value := getattr(self, name)) < math.inf}


def slo(texts: Iterable[str]) -> Slo:
    """
    Limits as they are written: ``ttft=500ms``, ``tpot=50ms``, ``e2e=10s``, several with commas.

    Raises:
        ConfigError: one is not of this form.

    """
    found: dict[str, float] = {}
    for text in (part for each in texts for part in each.split(",")):
        name, _, value = text.strip().partition("=")
        number = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s)", value)
        if name not in LIMITS or number is None:
            raise ConfigError(
                f"--slo: {text} is no limit; write ttft=500ms, tpot=50ms, itl=200ms or e2e=10s."
            )
        found[name] = float(number[1]) * UNITS[number[2]]
    return Slo(**found)


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and percentiles of a time, ms."""

    mean: float
    percentiles: dict[int, float]


@dataclass(frozen=True, slots=True)
class Figures:
    """A step in figures. Rates are per second of ``wall_s``; failed requests count in no time."""

    name: str
    rate: float | None
    concurrency: int | None
    sent: int
    good: int
    failures: dict[str, int]
    wall_s: float
    request_rate: float
    output_rate: float
    total_rate: float
    prompt_tokens: int
    output_tokens: int
    ttft: Spread
    tpot: Spread
    itl: Spread
    e2e: Spread
    late: Spread
    most_at_once: int
    kept: int
    goodput: float


def figures(played: Played, slo: Slo) -> Figures:
    """The figures of a step."""
    good = [record for record in played.records if record.good]
    wall_s = played.wall_s or math.inf
    prompt = sum(record.prompt_tokens for record in good)
    output = sum(record.output_tokens for record in good)
    kept = sum(slo.kept(record) for record in played.records)
    failures = Counter(record.error for record in played.records if not record.good)
    return Figures(
        name=played.step.name,
        rate=played.step.rate,
        concurrency=played.step.concurrency,
        sent=len(played.records),
        good=len(good),
        failures=dict(failures.most_common(10)),
        wall_s=played.wall_s,
        request_rate=len(good) / wall_s,
        output_rate=output / wall_s,
        total_rate=(prompt + output) / wall_s,
        prompt_tokens=prompt,
        output_tokens=output,
        ttft=spread([record.ttft_s for record in good if record.ttft_s is not None]),
        tpot=spread([record.tpot_s for record in good if record.tpot_s is not None]),
        itl=spread([gap for record in good for gap in record.gaps_s]),
        e2e=spread([record.latency_s for record in good]),
        late=spread([record.late_s for record in played.records]),
        most_at_once=_most_at_once(played.records),
        kept=kept,
        goodput=kept / wall_s,
    )


def spread(times_s: Sequence[float]) -> Spread:
    """Mean and percentiles in ms, interpolated as NumPy does; NaN where there is nothing."""
    ordered = sorted(times_s)
    if not ordered:
        return Spread(math.nan, dict.fromkeys(PERCENTILES, math.nan))
    return Spread(
        mean=sum(ordered) / len(ordered) * 1e3,
        percentiles={each: percentile(ordered, each) * 1e3 for each in PERCENTILES},
    )


def percentile(ordered: Sequence[float], percent: float) -> float:
    """A percentile of values in order, linear between neighbours."""
    place = (len(ordered) - 1) * percent / 100
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def as_json(found: Figures) -> dict[str, Any]:
    """A step for machines; times are ms, NaN is null."""
    spreads = {
        f"{name}_ms": {"mean": _finite(each.mean)}
        | {f"p{percent}": _finite(value) for percent, value in each.percentiles.items()}
        for name, each in (
            ("ttft", found.ttft),
            ("tpot", found.tpot),
            ("itl", found.itl),
            ("e2e", found.e2e),
            ("late", found.late),
        )
    }
    return {
        "name": found.name,
        "rate": found.rate,
        "concurrency": found.concurrency,
        "requests": {"sent": found.sent, "good": found.good, "kept_slo": found.kept},
        "failures": found.failures,
        "wall_s": found.wall_s,
        "request_rate": found.request_rate,
        "goodput": found.goodput,
        "output_tokens_per_s": found.output_rate,
        "total_tokens_per_s": found.total_rate,
        "prompt_tokens": found.prompt_tokens,
        "output_tokens": found.output_tokens,
        "most_at_once": found.most_at_once,
        **spreads,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _most_at_once(records: Sequence[Record]) -> int:
    changes = sorted(
        change
        for record in records
        for change in ((record.sent_s, 1), (record.sent_s + record.latency_s, -1))
    )
    now = most = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most
