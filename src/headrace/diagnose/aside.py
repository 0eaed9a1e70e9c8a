"""
Replicas that the gateway has set aside for what their requests met. From then on nobody is sent
there, and retries hid what was before: their own numbers do not tell any more. Pure.
"""

from typing import NamedTuple

from msgspec.structs import replace

from headrace.diagnose import machines
from headrace.diagnose.facts import Facts
from headrace.diagnose.finding import Evidence, Finding, Verdict, fact, listed, rate
from headrace.diagnose.lens import Lens, Span, focus_steps

CAUSES = {
    "failures": "its requests failed one after the other",
    "success_rate": "it failed more requests than its peers",
    "warm_up": "it does not answer its warm-up",
}


class Ejection(NamedTuple):
    """The last one of a replica that is not back, and in which step of the fine grid it was."""

    replica: str
    cause: str
    step: int


def failing(facts: Facts) -> Verdict:
    """Replicas answer with errors or break, or did until they were set aside for it."""
    verdict = machines.failing(facts)
    away = [each for m in facts.machines if (each := _last(facts.lens, m.name)) is not None]
    if not away:
        return verdict
    hidden = _retries(facts, min(each.step for each in away))
    names = tuple(each.replica for each in away)
    why = "; ".join(dict.fromkeys(CAUSES[each.cause] for each in away))
    told = f"{listed(names)} {'is' if len(names) == 1 else 'are'} set aside ({why})"
    told += f", and {hidden:.0f} retries hid it from clients." if hidden >= 1 else "."
    evidence = tuple(_ejected(facts.lens, each) for each in away)
    if isinstance(verdict, Finding):
        return replace(
            verdict, summary=f"{verdict.summary} {told}", evidence=(*verdict.evidence, *evidence)
        )
    share = facts.share(("upstream_failed_",))
    return Finding(
        "upstream-errors", "A replica failed requests and is set aside",
        f"{told[:1].upper()}{told[1:]}", phase="prefill", replicas=names,
        evidence=(
            *evidence,
            fact("failed for clients", share, "share",
                 f"{rate('ended', outcome=machines.BROKEN)} / {rate('ended')}"),
            fact("replicas that serve", facts.lens.level("replicas", facts.model), "",
                 rate("replicas")),
        ),
    )  # fmt: skip


# --- below -------------------------------------------------------------------------------------


def _last(lens: Lens, replica: str) -> Ejection | None:
    if not lens.last("r_aside", replica) > 0:
        return None
    grid, end = lens.focus.grid, lens.focus.end
    found = [
        Ejection(replica, cause, step)
        for cause in lens.names("r_ejected", 1)
        for step, value in enumerate(grid.series.get(("r_ejected", (replica, cause)), ())[:end])
        if value > 0
    ]
    last = max(found, key=lambda each: each.step, default=None)
    return last if last is not None and last.cause in CAUSES else None


def _retries(facts: Facts, step: int) -> float:
    """Attempts beyond the first, from a focus before that step on."""
    lens = facts.lens
    grid = lens.focus.grid
    span = Span(grid, max(0, step - focus_steps(grid)), lens.focus.end)
    attempts = lens.total(span, "attempts", facts.model)
    placed = lens.total(span, "queue_n", facts.model)
    return (attempts - placed) * span.seconds


def _ejected(lens: Lens, ejection: Ejection) -> Evidence:
    seen = lens.level("r_ejected", ejection.replica, ejection.cause)
    return fact(
        f"ejections of {ejection.replica}: {ejection.cause}", seen, "/s",
        rate("r_ejected", replica=ejection.replica, cause=ejection.cause),
    )  # fmt: skip
