"""
Several tenants before one fleet: whose requests are whose, and what each gets beside what it
would get alone. The bars of fairness (docs/queue.md) are measured with it.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from statistics import mean

from headrace.errors import ConfigError
from headrace.routing.line import OUTPUT
from headrace.simulate.engine import Job
from headrace.simulate.policy import Policy
from headrace.simulate.report import quantile
from headrace.simulate.trace import Request, Trace
from headrace.simulate.world import Fleet, Outcome, World

# Classes by name, as tenants have them.
RANKS = {"interactive": 0, "batch": -50, "background": -100}
# What is served before this part of the arrivals is over does not count: queues build up first.
WARM = 0.2


@dataclass(frozen=True, slots=True)
class Party:
    """A tenant: its part of the requests, relative to the others', its class, its weight."""

    name: str
    share: float
    rank: int = 0
    weight: float = 1.0


def party(text: str) -> Party:
    """
    ``small:1`` or ``big:20:batch``.

    Raises:
        ConfigError: it is neither.

    """
    name, _, rest = text.partition(":")
    share, _, cls = rest.partition(":")
    try:
        found = Party(name, float(share), RANKS[cls or "interactive"])
    except (ValueError, KeyError):
        found = Party("", 0.0)
    if not name or not found.share > 0:
        raise ConfigError(
            f"--tenant: {text!r} should be NAME:SHARE or NAME:SHARE:CLASS, such as big:20:batch;"
            f" classes are {', '.join(RANKS)}."
        )
    return found


def parted(trace: Trace, parties: Sequence[Party], seed: int) -> Trace:
    """The same requests, each session of which is some tenant's; the seed says whose."""
    random = Random(f"parties {seed}")
    shares = [each.share for each in parties]
    whose: dict[int, Party] = {}
    requests = []
    for request in trace.requests:
        owner = whose.get(request.session)
        if owner is None:
            owner = whose[request.session] = random.choices(parties, shares)[0]
        requests.append(replace(request, tenant=owner.name, rank=owner.rank, weight=owner.weight))
    return replace(trace, requests=tuple(requests))


def merged(traces: Iterable[Trace]) -> Trace:
    """All requests of several traces, in the order of arrival; their prompts share nothing."""
    each = [*traces]
    stride = 1 + max(
        abs(block) for trace in each for request in trace.requests for block in request.blocks
    )
    rows: list[Request] = []
    for place, trace in enumerate(each):
        rows += [
            replace(
                request,
                session=request.session * len(each) + place,
                blocks=tuple(block + 2 * stride * place for block in request.blocks),
            )
            for request in trace.requests
        ]
    rows.sort(key=lambda request: request.arrival_s)
    numbered = tuple(replace(request, number=number) for number, request in enumerate(rows))
    return Trace("+".join(trace.name for trace in each), each[0].block_tokens, numbered)


def only(trace: Trace, tenant: str) -> Trace:
    """What one tenant sends, alone."""
    kept = [request for request in trace.requests if request.tenant == tenant]
    numbered = tuple(replace(request, number=number) for number, request in enumerate(kept))
    return replace(trace, requests=numbered)


def unknown(trace: Trace) -> Trace:
    """The same requests, of nobody: who comes first goes first."""
    requests = [replace(each, tenant="", rank=0, weight=1.0) for each in trace.requests]
    return replace(trace, requests=tuple(requests))


@dataclass(frozen=True, slots=True)
class First:
    """Times to the first token, in ms."""

    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Got:
    """
    What a tenant got: requests, their first tokens and what these were alone, tokens per second of
    the window (prompts, and answers twice), and its fair part of these.
    """

    requests: int
    first: First
    alone: First
    tokens_s: float
    fair_s: float

    @property
    def ratio(self) -> float:
        """How many times its 99th percentile alone."""
        return self.first.p99_ms / self.alone.p99_ms if self.alone.p99_ms else 1.0


@dataclass(frozen=True, slots=True)
class Shared:
    """
    A run of several tenants: what each got, Jain's index of these (1: everybody got the same part
    of what is fair), and all tokens beside those of a queue that knows no tenants (1: as many).
    """

    got: Mapping[str, Got]
    jain: float
    goodput: float


def share(
    trace: Trace,
    fleet: Fleet,
    router: Callable[[], Policy],
    first_come: Callable[[], Policy],
    seed: int,
    skip: Collection[str] = (),
) -> Shared:
    """
    Run the requests with their tenants, each tenant's alone (but for those to ``skip``), and all
    without names before ``first_come``.
    """
    names = [*dict.fromkeys(request.tenant for request in trace.requests)]
    together = World(trace, fleet, router(), seed).run()
    nameless = World(unknown(trace), fleet, first_come(), seed).run()
    window = window_of(trace)
    got: dict[str, Got] = {}
    served = {name: served_tokens(together, window, name) for name in names}
    fair = _fair(trace, together, window, served)
    seconds = window[1] - window[0]
    for name in names:
        beside = together if name in skip else World(only(trace, name), fleet, router(), seed).run()
        mine = [job for job in together.jobs if job.request.tenant == name]
        theirs = mine if beside is together else beside.jobs
        tokens_s, fair_s = served[name] / seconds, fair[name] / seconds
        got[name] = Got(len(mine), _first(mine), _first(theirs), tokens_s, fair_s)
    everything = served_tokens(nameless, window)
    return Shared(
        got,
        jain([served[name] / fair[name] for name in names if fair[name]]),
        sum(served.values()) / everything if everything else 1.0,
    )


def table(runs: Sequence[Shared]) -> list[list[str]]:
    """Headings and one row for each tenant, means over the runs."""
    rows = [
        ["tenant", "requests", "TTFT p50, ms", "alone", "p99", "alone", "times", "tokens/s", "fair"]
    ]
    for name in runs[0].got:
        got = [run.got[name] for run in runs if name in run.got]
        figures = (
            [each.requests for each in got],
            [each.first.p50_ms for each in got],
            [each.alone.p50_ms for each in got],
            [each.first.p99_ms for each in got],
            [each.alone.p99_ms for each in got],
        )
        ratio = mean(each.ratio for each in got)
        rates = mean(each.tokens_s for each in got), mean(each.fair_s for each in got)
        cells = [f"{mean(each):.0f}" for each in figures]
        rows.append([name, *cells, f"{ratio:.2f}", *(f"{rate:.0f}" for rate in rates)])
    return rows


def sums(runs: Sequence[Shared]) -> str:
    """What is said below the table."""
    index, part = mean(run.jain for run in runs), mean(run.goodput for run in runs)
    return f"Jain's index {index:.3f}; {part:.3f} of the tokens of first come, first served"


def jain(parts: Sequence[float]) -> float:
    """https://arxiv.org/abs/cs/9809099: 1 where all are equal, 1/n where one has everything."""
    squares = sum(part * part for part in parts)
    return sum(parts) ** 2 / (len(parts) * squares) if squares else 1.0


def window_of(trace: Trace) -> tuple[float, float]:
    """The stretch of time (s) in which what is served counts."""
    end = trace.requests[-1].arrival_s
    return WARM * end, end


def served_tokens(
    outcome: Outcome, window: tuple[float, float], tenant: str | None = None
) -> float:
    """Tokens in a stretch of time: a prompt counts at its first token, an answer as it grows."""
    begin, end = window
    total = 0.0
    for job in outcome.jobs:
        if job.first_s < 0 or (tenant is not None and job.request.tenant != tenant):
            continue
        if begin <= job.first_s < end:
            total += job.request.prompt_tokens
        inside = min(end, job.end_s) - max(begin, job.first_s)
        if inside > 0:
            total += OUTPUT * job.request.output_tokens * inside / (job.end_s - job.first_s)
    return total


def water_level(
    total: float, demands: Mapping[str, float], weights: Mapping[str, float]
) -> dict[str, float]:
    """Max-min fair parts of a total by weight: nobody gets more than it asks for."""
    left, parts = total, dict.fromkeys(demands, 0.0)
    hungry = set(demands)
    while hungry:
        level = left / sum(weights[name] for name in hungry)
        content = {name for name in hungry if demands[name] <= level * weights[name]}
        if not content:
            return parts | {name: level * weights[name] for name in hungry}
        for name in content:
            parts[name] = demands[name]
            left -= demands[name]
        hungry -= content
    return parts


# --- below -------------------------------------------------------------------------------------


def _first(jobs: Iterable[Job]) -> First:
    waits = sorted((job.first_s - job.request.arrival_s) * 1000 for job in jobs)
    return First(quantile(waits, 0.5) or 0.0, quantile(waits, 0.99) or 0.0)


def _cost(request: Request) -> float:
    return request.prompt_tokens + OUTPUT * request.output_tokens


def _fair(
    trace: Trace, outcome: Outcome, window: tuple[float, float], served: Mapping[str, float]
) -> dict[str, float]:
    """
    What each tenant should have been served in the window: classes strictly, tenants of one by
    their weights; each asks for what came until its end and was not served before it.
    """
    demands, weights, ranks = dict.fromkeys(served, 0.0), {}, {}
    for request in trace.requests:
        demands[request.tenant] += _cost(request)
        weights[request.tenant], ranks[request.tenant] = request.weight, request.rank
    for name in demands:
        demands[name] -= served_tokens(outcome, (0.0, window[0]), name)
    left = sum(served.values())
    fair: dict[str, float] = {}
    for rank in sorted(set(ranks.values()), reverse=True):
        group = {name: demands[name] for name in demands if ranks[name] == rank}
        parts = water_level(left, group, weights)
        fair |= parts
        left -= sum(parts.values())
    return fair
