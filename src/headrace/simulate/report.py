"""What a run was worth, in numbers; several seeds of it as mean and deviation; tables of them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, sqrt
from typing import Any

from headrace.simulate.engine import Job
from headrace.simulate.world import GAP_STEPS, Outcome

# A request is good if it began to answer and went on as fast as a reader notices.
GOOD_FIRST_S = 2.0
GOOD_GAP_MS = 100.0
# A join is judged by the five seconds after it.
JOIN_S = 5.0
# Tokens of prompt: what each class is smaller than. Means hide who pays for them.
CLASSES = {"<2k": 2000, "2k-8k": 8000, "8k-32k": 32_000, ">32k": None}

Figures = dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over seeds."""

    mean: float
    deviation: float  # of the sample; 0 for one seed

    def __str__(self) -> str:
        return f"{self.mean:g} ± {self.deviation:g}"


def measure(outcome: Outcome) -> Figures:
    """
    The figures of a run, by name. Names end in their unit: ``_ms``, ``_rps`` (per second of
    arrivals), else shares or counts. None: there was nothing to measure, as in an empty class.
    """
    lost = {job.request.number for job in outcome.failed}
    jobs = [job for job in outcome.jobs if job.request.number not in lost]
    waits = sorted(_first_ms(job) for job in jobs)
    paces = [_pace_ms(job) for job in jobs if job.request.output_tokens > 1]
    span_s = max(job.request.arrival_s for job in outcome.jobs) or 1.0
    good = sum(map(_is_good, jobs))
    busy = [engine.busy_ms for engine in outcome.engines]
    prompts = sum(job.request.prompt_tokens for job in jobs)
    figures: Figures = {
        "requests": float(len(outcome.jobs)),
        "failed": float(len(lost)),
        **_first("ttft", waits),
        "gap_mean_ms": sum(paces) / len(paces) if paces else None,
        "gap_p99_ms": _gap(outcome.gaps, 0.99),
        "cached": sum(job.cached for job in jobs) / prompts if prompts else None,
        "good": good / len(outcome.jobs),
        "good_rps": good / span_s,
        "imbalance": max(busy) * len(busy) / sum(busy),
        "preemptions": float(sum(engine.preemptions for engine in outcome.engines)),
        **_joins(outcome),
    }
    for name, least, most in _bounds():
        members = sorted(
            _first_ms(job) for job in jobs if least <= job.request.prompt_tokens < most
        )
        figures |= {f"{name}_requests": float(len(members)), **_first(name, members)}
    return figures


def gather(runs: Sequence[Figures]) -> dict[str, Spread | None]:
    """Each figure over the runs; None where no run has it."""
    return {name: _spread([run[name] for run in runs]) for name in runs[0]}


def as_json(found: Mapping[str, Spread | None]) -> dict[str, Any]:
    """The figures as they are written to files."""
    return {
        name: None
        if spread is None
        else {"mean": round(spread.mean, 4), "sd": round(spread.deviation, 4)}
        for name, spread in found.items()
    }


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its heading, the figure, and how it is written."""

    heading: str
    figure: str
    form: str = ".0f"

    def cell(self, found: Mapping[str, Spread | None], *, spread: bool) -> str:
        """The figure, with its deviation if that is wanted and there is one."""
        value = found[self.figure]
        if value is None:
            return "-"
        text = format(value.mean, self.form)
        return f"{text} ± {format(value.deviation, self.form)}" if spread else text


MAIN = (
    Column("TTFT mean, ms", "ttft_mean_ms"),
    Column("p50", "ttft_p50_ms"),
    Column("p90", "ttft_p90_ms"),
    Column("p99", "ttft_p99_ms"),
    Column("max", "ttft_max_ms"),
    Column("gap p99, ms", "gap_p99_ms"),
    Column("cached", "cached", ".3f"),
    Column("good", "good", ".3f"),
    Column("imbalance", "imbalance", ".2f"),
    Column("preempted", "preemptions"),
    Column("failed", "failed"),
)
BY_SIZE = tuple(
    Column(f"{name} {part}", f"{name}_{part}_ms") for name in CLASSES for part in ("mean", "p99")
)
AFTER_JOIN = (
    Column("peak in 5 s", "join_peak", ".2f"),
    Column("new one, after 5 s", "join_share", ".2f"),
)


def table(
    rows: Mapping[str, Mapping[str, Spread | None]], columns: Iterable[Column], *, spread: bool
) -> list[list[str]]:
    """Headings and one row for each policy."""
    columns = [*columns]
    return [
        ["policy", *(column.heading for column in columns)],
        *(
            [name, *(column.cell(found, spread=spread) for column in columns)]
            for name, found in rows.items()
        ),
    ]


# --- below -------------------------------------------------------------------------------------


def _first_ms(job: Job) -> float:
    return (job.first_s - job.request.arrival_s) * 1000


def _pace_ms(job: Job) -> float:
    """The mean gap between two tokens of the answer."""
    return (job.end_s - job.first_s) * 1000 / (job.request.output_tokens - 1)


def _is_good(job: Job) -> bool:
    quick = job.first_s - job.request.arrival_s <= GOOD_FIRST_S
    return quick and (job.request.output_tokens < 2 or _pace_ms(job) <= GOOD_GAP_MS)


def _first(name: str, waits: Sequence[float]) -> Figures:
    return {
        f"{name}_mean_ms": sum(waits) / len(waits) if waits else None,
        f"{name}_p50_ms": quantile(waits, 0.5),
        f"{name}_p90_ms": quantile(waits, 0.9),
        f"{name}_p99_ms": quantile(waits, 0.99),
        f"{name}_max_ms": waits[-1] if waits else None,
    }


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """The value that so many are below, of values in order; None of none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else None


def _gap(gaps: Counter[int], share: float) -> float | None:
    left = sum(gaps.values()) * share
    for found in sorted(gaps):
        left -= gaps[found]
        if left <= 0:
            return exp(found / GAP_STEPS)
    return None


def _bounds() -> Iterable[tuple[str, float, float]]:
    least = 0.0
    for name, most in CLASSES.items():
        end = float("inf") if most is None else float(most)
        yield name, least, end
        least = end


def _joins(outcome: Outcome) -> Figures:
    """
    How the fleet takes a new replica: the worst imbalance of requests in flight in the 5 s after
    it, and what the new one has at their end, compared with the mean.
    """
    peaks, shares = [], []
    for at_s, number in outcome.joins:
        after = [each for each in outcome.samples if at_s < each.at_s <= at_s + JOIN_S]
        if after:
            peaks.append(max(each.ratio for each in after))
            last = after[-1].inflight
            total = sum(last.values())
            shares.append(last.get(number, 0) * len(last) / total if total else 1.0)
    return {
        "join_peak": max(peaks) if peaks else None,
        "join_share": max(shares) if shares else None,
    }


def _spread(values: Sequence[float | None]) -> Spread | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    mean = sum(known) / len(known)
    if len(known) == 1:
        return Spread(mean, 0.0)
    return Spread(mean, sqrt(sum((each - mean) ** 2 for each in known) / (len(known) - 1)))
