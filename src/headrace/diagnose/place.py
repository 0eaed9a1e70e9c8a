"""
The last row of the decision table: where the time goes when no cause is known. Pure.

The time to a first token is cut into phases that add up: waiting for a place, the way to the
replica, the engine's queue, prefill; after it there is decoding. The phase that grew most is named,
and the replicas at which it did.
"""

from headrace.diagnose.facts import Facts
from headrace.diagnose.finding import Evidence, Finding, fact, listed, mean, rate
from headrace.diagnose.lens import Seen
from headrace.diagnose.replica import Machine
from headrace.diagnose.snapshot import known

PART = 0.5  # of the largest growth, from which a replica is named


def unknown(facts: Facts) -> Finding:
    """The phase that grew most, and where."""
    grown = {name: seen for name, seen in _phases(facts).items() if seen.more > 0}
    decode = facts.pace.more * max(1.0, facts.output.usual if facts.output.usual > 0 else 1.0)
    late = max((seen.more for seen in grown.values()), default=0.0)
    phase = max(grown, key=lambda name: grown[name].more, default="")
    if any(each.name == "pace" for each in facts.symptoms) and (not phase or decode > late):
        phase = "decode"
    if {each.name for each in facts.symptoms} == {"total"}:
        phase = "decode"  # all of it comes after the first token
    if not phase and any(each.name == "failed" for each in facts.symptoms):
        phase = "errors"
    replicas = _where(facts, phase)
    everywhere = len(replicas) == len(facts.serving) > 1
    at = "" if phase in {"queue", "gateway", ""} else (
        " on every replica" if everywhere else f" on {listed(replicas)}" if replicas else ""
    )  # fmt: skip
    symptoms = "; ".join(each.text for each in facts.symptoms)
    summary = f"{symptoms[:1].upper()}{symptoms[1:]}."
    summary += f" The time is lost in this phase: {phase}{at}." if phase else ""
    return Finding(
        "unknown", "The cause is not known, its place is", summary, phase=phase, replicas=replicas,
        evidence=_evidence(facts),
    )  # fmt: skip


def _phases(facts: Facts) -> dict[str, Seen]:
    """The parts of the time to a first token, over all replicas."""
    lens = facts.lens
    machines = [m.name for m in facts.serving]

    def over(above: str, below: str) -> Seen:
        def measure(span: object) -> float:
            whole = [lens.total(span, above, name) for name in machines]  # type: ignore[arg-type]
            parts = [lens.total(span, below, name) for name in machines]  # type: ignore[arg-type]
            count = sum(p for p in parts if known(p))
            return sum(w for w in whole if known(w)) / count if count > 0 else float("nan")

        return lens.seen(measure)

    there = over("e_first_sum", "e_first_n")
    waits = over("e_queue_sum", "e_ended")
    prefill = Seen(*(a - b for a, b in zip(there, waits, strict=True)))
    queued = any(m.queued.rose(2.0, 1.0) for m in facts.serving)
    engine = {"engine queue" if queued else "prefill": there}
    if known(waits.now) and known(prefill.now) and not queued:
        engine = {"engine queue": waits, "prefill": prefill}
    return {"queue": facts.queue, "network": facts.network, **engine}


def _where(facts: Facts, phase: str) -> tuple[str, ...]:
    grown = {m.name: _growth(m, phase) for m in facts.serving}
    most = max(grown.values(), default=0.0)
    if most <= 0:
        return ()
    return tuple(name for name, value in grown.items() if value >= PART * most)


def _growth(m: Machine, phase: str) -> float:
    seen = {
        "network": m.network, "engine queue": m.engine, "prefill": m.engine, "decode": m.pace,
        "errors": m.failed,
    }.get(phase)  # fmt: skip
    return seen.more if seen is not None else 0.0


def _evidence(facts: Facts) -> tuple[Evidence, ...]:
    phases = _phases(facts)
    queries = {
        "queue": mean("queue"),
        "network": f"{mean('r_ttft')} - {mean('e_first')}",
        "engine queue": f"{rate('e_queue_sum')} / {rate('e_ended')}",
        "prefill": f"{rate('e_prefill_sum')} / {rate('e_ended')}",
    }
    return (
        fact("time to first token", facts.first, "s", mean("ttft")),
        *(fact(f"in the phase {name}", seen, "s", queries[name]) for name, seen in phases.items()),
        fact("between two tokens", facts.pace, "s", mean("itl")),
        fact("a whole request", facts.total, "s", mean("total")),
    )
