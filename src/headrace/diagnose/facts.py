"""
The numbers of one model that the decision table asks for, each in the focus and as usual, and the
symptoms that users feel. Pure; what they mean is the table's.
"""

import math
from collections.abc import Iterable
from functools import cached_property
from statistics import median

from headrace.diagnose.finding import Symptom
from headrace.diagnose.lens import NAN, Lens, Seen, Span
from headrace.diagnose.replica import Machine, machine
from headrace.diagnose.snapshot import known
from headrace.diagnose.speed import excesses, felt, slowness, strays

# Outcomes by who is to blame. What begins with one of these counts.
FAILED = ("upstream_failed_", "timed_out_first_byte", "timed_out_chunk", "timed_out_connect",
          "rejected_internal")  # fmt: skip
LATE = ("timed_out_queue", "timed_out_total", "rejected_overloaded", "rejected_queue_full",
        "rejected_deadline", "rejected_shed", "evicted_")  # fmt: skip
WRONG = ("rejected_invalid", "rejected_upstream", "rejected_too_large", "rejected_method",
         "rejected_not_found", "rejected_guard")  # fmt: skip
LIMITED = ("rejected_rate", "rejected_quota", "rejected_limit", "rejected_max_tokens",
           "rejected_concurrency", "rejected_budget")  # fmt: skip
UNKNOWN_CALLER = ("rejected_unauthorized", "rejected_forbidden")
GONE = ("client_gone",)

# A symptom must be so many times the usual and so much more.
SLOW, SLOW_S = 1.5, 0.08  # the time to the first token
PACE, PACE_S = 1.35, 0.004  # between two tokens
ALONE, ALONE_S = 3.0, 0.16  # the time to a first token at one replica
BUSIER = 1.3  # times these bounds, while more requests come than usual
WEAK = 1.35  # times as long for a token as the work explains
SHARE = 0.03  # of requests: fewer are noise
CHANCE = 3.0  # standard deviations, by which demand strays by itself
SEVERAL = 8.0  # first tokens in the focus, from which on their mean at one replica says something
FEW = 4.0  # requests in the focus, below which a share says nothing


class Facts:
    """One model's numbers, read when they are asked for."""

    def __init__(self, lens: Lens, model: str | None, replicas: Iterable[str] | None) -> None:
        self.lens = lens
        self.model = model
        names = lens.names("r_inflight") if replicas is None else sorted(replicas)
        self.machines = [machine(lens, name) for name in names if self._seen(name)]

    # --- requests ---------------------------------------------------------------------------

    @cached_property
    def offered(self) -> Seen:
        """Requests that came, per second: those that ended, and what there are more of now."""
        return self.lens.seen(self._offered)

    @cached_property
    def prompt(self) -> Seen:
        """Prompt tokens of a request."""
        return self.lens.mean("input", self.model)

    @cached_property
    def output(self) -> Seen:
        """Tokens of a complete answer."""
        return self.lens.mean("output", self.model)

    @cached_property
    def first(self) -> Seen:
        """Seconds to the first byte of a stream."""
        return self.lens.mean("ttft", self.model)

    @cached_property
    def pace(self) -> Seen:
        """Seconds between two chunks of a stream."""
        return self.lens.mean("itl", self.model)

    @cached_property
    def queue(self) -> Seen:
        """Seconds until a request has a place."""
        return self.lens.mean("queue", self.model)

    @cached_property
    def network(self) -> Seen:
        """Seconds to first bytes, beyond what engines tell, over all replicas."""
        return self.lens.seen(self._network)

    @cached_property
    def total(self) -> Seen:
        """Seconds of a whole request."""
        return self.lens.mean("total", self.model)

    @cached_property
    def cached(self) -> Seen:
        """Share of prompt tokens that engines reported as cached."""
        return self._of_tokens("cached")

    @cached_property
    def waiting(self) -> Seen:
        """Requests without a place."""
        return self.lens.seen(
            lambda span: _plus(
                self.lens.total(span, "waiting", self.model),
                self.lens.total(span, "held", self.model),
            )
        )

    @cached_property
    def active(self) -> Seen:
        """Requests that run."""
        return self.lens.level("active", self.model, None)

    @cached_property
    def silent_first(self) -> Seen:
        """Requests at a replica without a byte yet."""
        return self.lens.level("active", self.model, "first_byte")

    @cached_property
    def stay(self) -> Seen:
        """
        Seconds that a request runs, by Little's law: those that run over those that come. It shows
        what takes longer before the first of them ends.
        """

        def measure(span: Span) -> float:
            wide = Span(span.grid, max(0, 2 * span.begin - span.end), span.end)
            offered = self._offered(wide)  # over twice the time: bursts even out
            return self.lens.total(span, "active", self.model, None) / offered if offered else NAN

        return self.lens.seen(measure)

    @cached_property
    def surge(self) -> bool:
        """Whether more is asked for, requests or tokens, than usual and than comes by chance."""
        lens = self.lens
        requests = self.offered.rose(1.25, 0.3) and lens.beyond(self._offered) >= CHANCE
        tokens = self.demand.rose(1.25, 0.0) and lens.beyond(self._demand) >= CHANCE
        return requests or tokens

    @cached_property
    def changed(self) -> bool:
        """Whether engines have other work than usual: more, longer, or less of it cached."""
        return self.surge or self.prompt.rose(1.3, 100.0) or self.hits.fell(0.8, 0.1)

    @cached_property
    def hits(self) -> Seen:
        """Share of prompt tokens that engines found in their caches."""
        return self.lens.quotient("e_hits", "e_queries", None)

    @cached_property
    def believed(self) -> Seen:
        """Share of prompt tokens that routing believed to be cached."""
        return self.lens.seen(self._believed)

    @cached_property
    def demand(self) -> Seen:
        """Tokens that are asked for per second: requests by their mean prompt and answer."""
        return self.lens.seen(self._demand)

    def share(self, prefixes: tuple[str, ...], model: str | None = "") -> Seen:
        """Share of ended requests with such an outcome."""
        chosen = self.model if model == "" else model

        def measure(span: Span) -> float:
            whole = self.lens.total(span, "ended", chosen, None)
            if not whole * span.seconds >= FEW:
                return NAN
            return self.count(span, prefixes, chosen) / whole

        seen = self.lens.seen(measure)
        ended = self.lens.total(self.lens.focus, "ended", chosen, None) * self.lens.focus.seconds
        return seen._replace(error=chance(seen, ended))

    def count(self, span: Span, prefixes: tuple[str, ...], model: str | None) -> float:
        """Requests per second that ended so."""
        outcomes = [each for each in self.lens.names("ended", 1) if each.startswith(prefixes)]
        found = [self.lens.total(span, "ended", model, each) for each in outcomes]
        return sum(each for each in found if known(each))

    def reasons(self, prefixes: tuple[str, ...], model: str | None) -> list[str]:
        """Which outcomes of these there are, the most frequent first."""
        span = self.lens.focus
        names = [name for name in self.lens.names("ended", 1) if name.startswith(prefixes)]
        rates = {name: self.lens.total(span, "ended", model, name) for name in names}
        return sorted((n for n, v in rates.items() if v > 0), key=lambda n: -rates[n])

    # --- replicas ---------------------------------------------------------------------------

    @property
    def serving(self) -> list[Machine]:
        """Replicas that have requests, or are ready for some."""
        return [m for m in self.machines if m.ready != 0 or m.inflight.now > 0]

    @cached_property
    def excess(self) -> dict[str, float]:
        """How many times slower each replica is than its work explains."""
        return excesses(self.lens, [m.name for m in self.serving])

    @cached_property
    def strays(self) -> dict[str, float]:
        """How far that strays by chance, as the standard deviation of its logarithm."""
        return strays(self.lens, [m.name for m in self.serving])

    @cached_property
    def felt(self) -> dict[str, float]:
        """How many times slower each replica is for its clients than its work explains."""
        return felt(self.lens, [m.name for m in self.serving])

    @cached_property
    def slowness(self) -> Seen:
        """How many times slower engines are than their work explains; the median of them."""
        return slowness(self.lens, [m.name for m in self.serving])

    @cached_property
    def weak(self) -> bool:
        """
        Whether engines are slower than their work explains, in batches as they have had before:
        beyond those nobody knows what to expect.
        """
        told = [m for m in self.serving if known(m.running.now) and known(m.running.usual)]
        known_most = max((m.running.high for m in told), default=0.0)
        alike = bool(told) and median([m.running.now for m in told]) <= known_most
        parts = [self.excess.get(m.name, 1.0) >= WEAK for m in told]
        slow = self.slowness.rose(WEAK * self.excuse, 0.0)
        return alike and slow and 2 * sum(parts) > len(parts)

    @property
    def excuse(self) -> float:
        """Times as much as is asked for: more work makes queues, too."""
        return max(1.0, self.offered.ratio, self.demand.ratio)

    @property
    def crowd(self) -> float:
        """How many times more requests run than slower engines alone would explain."""
        told = [m for m in self.machines if known(m.running.now) and not m.new]
        parts = [m.running.ratio / m.pace.ratio for m in told if m.pace.ratio > 0]
        return median(parts) if parts else 1.0

    def usual_of(self, name: str) -> float:
        """The median of a replica number over the fleet, in the focus."""
        values = [v for m in self.serving if (v := getattr(m, name).now) == v]
        return median(values) if values else NAN

    @cached_property
    def slack(self) -> float:
        """A fleet that has more to do is a little slower, and well: larger batches."""
        return BUSIER if self.offered.rose(1.15, 0.2) else 1.0

    # --- symptoms ---------------------------------------------------------------------------

    @cached_property
    def symptoms(self) -> tuple[Symptom, ...]:
        """What users feel; empty when all is as usual."""
        found = []
        slack = self.slack
        if self.first.rose(SLOW * slack, SLOW_S):
            found.append(Symptom("first_token", f"first tokens take {_than(self.first)}"))
        if self.pace.rose(PACE * slack, PACE_S):
            found.append(Symptom("pace", f"tokens come every {_than(self.pace)}"))
        if self._stalls():
            found.append(Symptom("stalled", "requests at replicas get no first token"))
        if self.waiting.now >= 2 and self.waiting.rose(2.0, 1.5, blank=True):
            found.append(Symptom("waiting", f"{self.waiting.now:.0f} requests wait for a place"))
        one = [
            m for m in self.serving
            if not m.new and m.engine.rose(ALONE, ALONE_S) and self._begun(m.name) >= SEVERAL
        ]  # fmt: skip
        if one and not found:
            most = max(one, key=lambda m: m.engine.more)
            found.append(Symptom("one", f"first tokens of {most.name} take {_than(most.engine)}"))
        if not found and self._drags():
            longest = max(self.total, self.stay, key=lambda seen: seen.ratio)
            found.append(Symptom("total", f"whole requests take {_than(longest)}"))
        for name, prefixes, words in (
            ("failed", (*FAILED, *LATE), "fail"),
            ("refused", (*LIMITED, *UNKNOWN_CALLER, *WRONG), "are refused"),
            ("gone", GONE, "are given up by their clients"),
        ):
            part = self.share(prefixes)
            if part.rose(2.0, SHARE, blank=True):
                found.append(Symptom(name, f"{part.now:.0%} of requests {words}"))
        return tuple(found)

    @property
    def late(self) -> bool:
        """Whether first tokens come late, so that clients may lose their patience."""
        names = {each.name for each in self.symptoms}
        return bool(names & {"first_token", "stalled", "waiting"})

    @property
    def plain(self) -> bool:
        """Whether what users feel is so plain that it is told without a cause."""
        slow = self.first.rose(2.0, 2 * SLOW_S) or self.total.rose(2.0, 1.0)
        names = {each.name for each in self.symptoms}
        return (
            slow
            or self.pace.rose(1.7, 2 * PACE_S)
            or bool(names - {"first_token", "pace", "total"})
        )

    # --- below ------------------------------------------------------------------------------

    def _stalls(self) -> bool:
        """Far more requests wait for their first byte than usual, and than comes in a moment."""
        return self.silent_first.now >= 3 and self.silent_first.rose(3.0, 3.0, blank=True)

    def _drags(self) -> bool:
        """Requests take longer, whether or not one of them has ended yet."""
        ratio = SLOW * self.slack
        return self.total.rose(ratio, 0.5) or self.stay.rose(ratio, 1.0)

    def _begun(self, name: str) -> float:
        """First tokens of a replica in the focus."""
        return self.lens.total(self.lens.focus, "e_first_n", name) * self.lens.focus.seconds

    def _offered(self, span: Span) -> float:
        ended = self.lens.total(span, "ended", self.model, None)
        return arrived(self.lens, span, ended, "active", self.model, None)

    def _network(self, span: Span) -> float:
        total, names = self.lens.total, [m.name for m in self.serving]
        here = [(total(span, "r_ttft_sum", n), total(span, "r_ttft_n", n)) for n in names]
        there = [(total(span, "e_first_sum", n), total(span, "e_first_n", n)) for n in names]
        means = []
        for pairs in (here, there):
            found = [(took, count) for took, count in pairs if known(took) and count > 0]
            count = sum(count for _, count in found)
            means.append(sum(took for took, _ in found) / count if count > 0 else NAN)
        return means[0] - means[1]

    def _demand(self, span: Span) -> float:
        prompt = self.lens.ratio(span, "input_sum", "input_n", self.model)
        output = self.lens.ratio(span, "output_sum", "output_n", self.model)
        return self._offered(span) * _plus(prompt, output)

    def _believed(self, span: Span) -> float:
        whole = self.lens.ratio(span, "input_sum", "input_n", self.model)
        each = self.lens.ratio(span, "believed", "total_n", self.model)
        return each / whole if whole > 0 else NAN

    def _of_tokens(self, kind: str) -> Seen:
        def measure(span: Span) -> float:
            whole = self.lens.total(span, "tokens", self.model, "input")
            return self.lens.total(span, "tokens", self.model, kind) / whole if whole > 0 else NAN

        return self.lens.seen(measure)

    def _seen(self, name: str) -> bool:
        lens = self.lens
        return lens.total(lens.focus, "r_inflight", name) == lens.total(
            lens.focus, "r_inflight", name
        ) or bool(lens.bases and lens.total(lens.bases[0], "r_inflight", name) >= 0)


def chance(seen: Seen, count: float) -> float:
    """The standard error of a share of so many; none that have been seen count as half of one."""
    if not count >= 1:
        return 0.0
    part = min(1.0, max(seen.usual if known(seen.usual) else 0.0, 0.5 / count))
    return math.sqrt(part * (1.0 - part) / count)


def arrived(lens: Lens, span: Span, ended: float, running: str, *labels: str | None) -> float:
    """Requests that came per second: those that ended, and what there are more of at the end."""
    if span.end - span.begin < 2:
        return ended
    last = Span(span.grid, span.end - 1, span.end)
    first = Span(span.grid, span.begin, span.begin + 1)
    grown = _plus(lens.total(last, running, *labels), -lens.total(first, running, *labels))
    return max(0.0, _plus(ended, grown / (span.seconds - span.grid.step_s)))


def _plus(one: float, other: float) -> float:
    """The sum of what is known."""
    if not known(one):
        return other
    return one if not known(other) else one + other


def _than(seen: Seen) -> str:
    usual = f", usually {_time(seen.usual)}" if known(seen.usual) else ""
    return f"{_time(seen.now)}{usual}"


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
