"""
Puts what was noted of a request into a decision record: its phases, its attempts, and in words why
the next best replica was not chosen. Nothing here runs before somebody asks.
"""

from collections.abc import Callable
from datetime import timedelta

import msgspec
from msgspec import Struct

from headrace.admission.limits import TOKENS, Permit
from headrace.gateway.body.traits import NO_TRAITS, Traits
from headrace.gateway.send.attempt import Attempt, Note
from headrace.routing.decision import HOLDER, ONLY, RESERVED, Decision
from headrace.routing.lane import UNKNOWN
from headrace.routing.terms import (
    CACHED,
    COST,
    EXTERNALITY,
    INFLIGHT,
    KV_WAIT,
    PREFILL,
    SLOWDOWN,
    STICKY,
    TIE_MS,
    WAIT,
    WARM_UP,
    Terms,
)
from headrace.telemetry.context import Context
from headrace.telemetry.decisions import (
    Candidate,
    Expected,
    Facts,
    Phase,
    Story,
    Told,
    Tried,
    story,
)
from headrace.telemetry.records import Record
from headrace.types import RequestFacts

# Longer ago nobody's clock is right: the time that stands in x-request-start is not believed.
LONGEST_EDGE_S = 3600.0

# The terms of a cost, as a sentence names them.
NAMES = {
    WAIT: "wait for those before it",
    KV_WAIT: "wait for KV cache",
    PREFILL: "prefill",
    EXTERNALITY: "delay of those who come next",
    SLOWDOWN: "slowdown of running answers",
    WARM_UP: "warm-up",
    STICKY: "leaving the session's replica",
}


_Add = Callable[..., None]


class Entry(Struct, gc=False):
    """
    What is kept of a request (``telemetry.decisions.Kept``): references to what exists anyway.
    Times are monotonic seconds, 0.0 for what did not happen; ``request_start`` is a header.
    """

    record: Record
    facts: RequestFacts
    begun_at: float
    identified_at: float
    started_at: float
    admitted_at: float = 0.0
    held_at: float = 0.0
    first_at: float = 0.0
    tries: tuple[Attempt, ...] = ()
    notes: tuple[Note, ...] = ()
    traits: Traits | None = None
    media: int = 0
    request_start: bytes = b""
    trace: Context | None = None
    size: int = 0
    method: str = "POST"
    permit: Permit | None = None

    @property
    def sampled(self) -> bool:
        """Whether it is part of a trace that is recorded."""
        return self.trace is not None and self.trace.sampled

    @property
    def ended_at(self) -> float:
        """When it had ended (monotonic, s)."""
        return self.started_at + self.record.total_ms / 1000

    def tell(self) -> Story:
        """The whole record, in words and numbers."""
        record, trace = self.record, self.trace
        zero = self._edge_at() or self.begun_at
        began = record.time - timedelta(seconds=self.ended_at - zero)
        tried = tuple(_tried(self, index, zero) for index in range(len(self.tries)))
        return msgspec.structs.replace(
            story(record, began, _facts(self), _phases(self, zero)),
            attempts=tried,
            expected=tuple(_expected(self)),
            told=tuple(_told(self, zero)),
            parent_id=trace.parent.decode("ascii") if trace is not None else "",
            sampled=self.sampled,
        )

    def _edge_at(self) -> float:
        """When it reached what stands before us, by its clock; 0.0 where nobody has told."""
        told = _request_start(self.request_start)
        if not told:
            return 0.0
        before = self.record.time.timestamp() - told
        at = min(self.ended_at - before, self.begun_at)
        return at if at > self.begun_at - LONGEST_EDGE_S else 0.0


def _request_start(header: bytes) -> float:
    """``t=1732233344.123456`` in seconds since 1970; 0.0 for anything else."""
    try:
        return float(header.removeprefix(b"t="))
    except ValueError:
        return 0.0


def _facts(entry: Entry) -> Facts:
    facts, found = entry.facts, entry.traits or NO_TRAITS
    return Facts(
        endpoint=facts.endpoint or entry.record.endpoint,
        model=facts.model,
        stream=facts.stream,
        prompt_tokens=facts.prompt_tokens,
        method=entry.method,
        max_tokens=facts.max_tokens,
        bytes_in=entry.record.bytes_in,
        messages=found.messages,
        media=entry.media,
        tools=found.tools,
        json_schema=found.json_schema,
        continues=bool(facts.sticky),
    )


def _told(entry: Entry, zero: float) -> list[Told]:
    """What was decided at the door. A permit says by itself what limits held for the request."""
    found = [Told(each.who, each.outcome, _ms(each.at - zero), each.detail) for each in entry.notes]
    permit = entry.permit
    if permit is not None:
        names = [f"{bound.whom or bound.scope} {bound.name}" for bound in permit.bounds]
        detail = f"{permit.amounts[TOKENS]} tokens at most: {', '.join(names)}"
        found.append(Told("limits", "held", _ms(entry.admitted_at - zero), detail))
    return found


# --- the waterfall --------------------------------------------------------------------------


def _phases(entry: Entry, zero: float) -> list[Phase]:
    """All of a request's time, without gaps."""
    found: list[Phase] = []

    def add(what: str, start: float, end: float, attempt: int = 0) -> None:
        if end > start:
            found.append(Phase(what, _ms(start - zero), _ms(end - zero), attempt))

    begun, ended = entry.begun_at, entry.ended_at
    add("edge", zero, begun)
    if entry.identified_at:
        add("identify", begun, entry.identified_at)
        begun = entry.identified_at
    add("receive", begun, entry.started_at)
    add("admit", entry.started_at, entry.admitted_at or ended)
    since = entry.admitted_at
    for index, each in enumerate(entry.tries):
        number = index + 1
        if since < entry.held_at <= each.arrived_at:
            add("hold", since, entry.held_at, number)
            since = entry.held_at
        if each.taken_at > each.arrived_at:
            add("queue", since, each.taken_at, number)
            since = each.taken_at
        add("route", since, each.placed_at, number)
        _answering(entry, index, add)
        since = _until(entry, index)
    if since:
        number = len(entry.tries) + 1
        held = min(entry.held_at, ended)
        if held > since:
            add("hold", since, held, number)
            since = held
        add("queue", since, ended, number)
    return found


def _answering(entry: Entry, index: int, add: _Add) -> None:
    """From the moment that an attempt had a replica."""
    each, number = entry.tries[index], index + 1
    since, until = each.placed_at, _until(entry, index)
    if each.fresh:
        add("connect", since, each.sent_at, number)
        since = each.sent_at
    if each.ended_at or number < len(entry.tries):
        add("failed", since, until, number)
    elif entry.first_at:
        add("prefill", since, entry.first_at, number)
        add("decode", entry.first_at, until, number)
    elif entry.facts.stream:
        add("prefill", since, until, number)
    else:
        add("answer", since, until, number)


# --- attempts -------------------------------------------------------------------------------


def _tried(entry: Entry, index: int, zero: float) -> Tried:
    each = entry.tries[index]
    decision, predicted = each.decision, each.predicted
    known = predicted is not UNKNOWN
    outcome, error = _outcome(entry, index)
    connection = ("new" if each.fresh else "reused") if each.sent_at else "unknown"
    told = Tried(
        replica=each.replica,
        outcome=outcome,
        reason=decision.reason if decision is not None else "",
        policy=decision.policy if decision is not None else "",
        cached_tokens=int(predicted.cached) if known else None,
        wait_ms=round(predicted.wait_ms, 3) if known else None,
        prefill_ms=round(predicted.prefill_ms, 3) if known else None,
        started_ms=_ms(each.placed_at - zero),
        ended_ms=_ms(_until(entry, index) - zero),
        queued_ms=_ms(each.taken_at - each.arrived_at),
        connection=connection,
        status=each.status,
        error=error,
        span_id=f"{each.span:016x}" if each.span else "",
    )
    return told if decision is None else _with_decision(told, decision)


def _with_decision(told: Tried, decision: Decision) -> Tried:
    other = decision.runner_up
    return msgspec.structs.replace(
        told,
        why=why(decision),
        runner_up="" if other is None else decision.names[other],
        gap_ms=None if other is None else round(decision.gap_ms, 3),
        prompt_tokens=round(decision.tokens, 1),
        candidates=tuple(_candidates(decision)),
    )


def _until(entry: Entry, index: int) -> float:
    """
    When an attempt was over. One whose answer led to another target, by its rule, ended with that
    answer.
    """
    each = entry.tries[index]
    if index + 1 == len(entry.tries):
        return each.ended_at or entry.ended_at
    return each.ended_at or each.answered_at or entry.tries[index + 1].arrived_at


def _outcome(entry: Entry, index: int) -> tuple[str, str]:
    """How an attempt went, and its error."""
    each = entry.tries[index]
    if each.error:
        return "failed", each.error
    if each.ended_at or index + 1 < len(entry.tries):
        return "refused", f"it answered {each.status}"
    outcome = entry.record.outcome
    if outcome == "client_gone":
        return "aborted", ""
    if outcome == "completed" or (each.answered_at and each.status >= 400):
        return "answered", ""
    return "failed", entry.record.error


def _candidates(decision: Decision) -> list[Candidate]:
    if not decision.terms:
        return [Candidate(name) for name in decision.names]
    return [
        _candidate(name, terms, open_=place in decision.open)
        for place, (name, terms) in enumerate(zip(decision.names, decision.terms, strict=True))
    ]


def _candidate(name: str, terms: Terms, *, open_: bool) -> Candidate:
    return Candidate(
        replica=name,
        open=open_,
        cost_ms=round(terms[COST], 3),
        wait_ms=round(terms[WAIT], 3),
        kv_wait_ms=round(terms[KV_WAIT], 3),
        prefill_ms=round(terms[PREFILL], 3),
        externality_ms=round(terms[EXTERNALITY], 3),
        slowdown_ms=round(terms[SLOWDOWN], 3),
        warm_up_ms=round(terms[WARM_UP], 3),
        sticky_ms=round(terms[STICKY], 3),
        cached_tokens=int(terms[CACHED]),
        inflight=int(terms[INFLIGHT]),
    )


# --- why ------------------------------------------------------------------------------------


def why(decision: Decision) -> str:
    """Why the next best replica was not chosen, in a sentence or two."""
    if decision.reason == ONLY:
        return "There was no other replica."
    if decision.reason == HOLDER:
        return "Only this replica holds the response that the request continues."
    other = decision.runner_up
    if other is None:
        return f"{decision.policy} chose among {len(decision.names)}; it weighs no costs."
    first = ""
    if decision.reason == RESERVED:
        first = "The request had waited so long that this replica was kept free for it. "
    return first + _compared(decision, other)


def _compared(decision: Decision, other: int) -> str:
    name, gap = decision.names[other], decision.gap_ms
    mine, theirs = decision.terms[decision.chosen], decision.terms[other]
    if other not in decision.open:
        how = f"{-gap:.1f} ms less, but" if gap < 0 else f"{gap:.1f} ms more, and"
        return f"{name} would have cost {how} had no room for another prefill."
    if abs(gap) <= TIE_MS:
        fewer = theirs[INFLIGHT] - mine[INFLIGHT]
        if fewer > 0:
            return f"{name} cost as much, and had {fewer} more in flight."
        return f"{name} cost as much; the hash of the prompt decided."
    differ = sorted(((theirs[term] - mine[term], term) for term in NAMES), reverse=True)
    more = [_part(delta, term, mine, theirs) for delta, term in differ if delta >= 0.1 * gap][:3]
    less = [f"{-delta:.1f} ms less {NAMES[term]}" for delta, term in differ if -delta >= 0.1 * gap]
    text = f"{name} would have cost {gap:.1f} ms more: {', '.join(more)}"
    return f"{text}; against that {', '.join(less)}." if less else f"{text}."


def _part(delta: float, term: int, mine: Terms, theirs: Terms) -> str:
    text = f"{delta:.1f} ms more {NAMES[term]}"
    if term == PREFILL and mine[CACHED] != theirs[CACHED]:
        text += f" ({theirs[CACHED]:.0f} tokens cached there, {mine[CACHED]:.0f} here)"
    return text


def _expected(entry: Entry) -> list[Expected]:
    """What routing believed of the attempt that answered, beside what came."""
    if not entry.tries:
        return []
    last, record = entry.tries[-1], entry.record
    predicted, known = last.predicted, last.predicted is not UNKNOWN
    wait = predicted.wait_ms + predicted.prefill_ms if known else None
    queued = (last.taken_at - last.arrived_at) * 1000
    until = entry.first_at or (last.answered_at if not entry.facts.stream else 0.0)
    first = _ms(entry.first_at - (last.sent_at or last.placed_at)) if entry.first_at else None
    before = (last.taken_at - entry.started_at) * 1000
    ttft = round(before + wait, 3) if wait is not None else None
    cached = None if record.estimated or not until else float(record.tokens_cached)
    return [
        Expected("queue_ms", None, round(queued, 3)),
        Expected("first_byte_ms", round(wait, 3) if wait is not None else None, first),
        Expected("ttft_ms", ttft, record.ttft_ms),
        Expected("cached_tokens", float(int(predicted.cached)) if known else None, cached),
    ]


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
