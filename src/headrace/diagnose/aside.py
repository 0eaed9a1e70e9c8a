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

FAILED = {
    "failures": "its requests failed one after the other",
    "success_rate": "it failed more requests than its peers",
    "warm_up": "it does not answer its warm-up",
}


PROVEN = 5.0  # requests since its return: a replica that had fewer has not shown that it is well


class Ejection(NamedTuple):
    """
    The last one of a replica that has not proven itself since, and in which step of the fine grid
    it was; ``back`` says whether it may have requests again.
    """

    replica: str
    cause: str
    step: int
    back: bool = False


def failing(facts: Facts) -> Verdict:
    """Replicas answer with errors or break, or did until they were set aside for it."""
    verdict = machines.failing(facts)
    away = [each for each in _away(facts) if each.cause in FAILED]
    if not away:
        return verdict
    hidden = _retries(facts, min(each.step for each in away))
    names = tuple(each.replica for each in away)
    why = "; ".join(dict.fromkeys(FAILED[each.cause] for each in away))
    told = f"{_state(away)} ({why})"
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


def stuck(facts: Facts) -> Verdict:
    """A replica makes no token, or made none until it was set aside, and is not back since."""
    verdict = machines.stuck(facts)
    away = [each for each in _away(facts) if each.cause == "stuck"]
    if not away or isinstance(verdict, Finding):
        return verdict
    names = tuple(each.replica for each in away)
    return Finding(
        "stuck-replica", "A replica stood still and is set aside",
        f"{_state(away)}: no token came from there.",
        phase="decode", replicas=names,
        evidence=tuple(_ejected(facts.lens, each) for each in away),
    )  # fmt: skip


# --- below -------------------------------------------------------------------------------------


def _away(facts: Facts) -> list[Ejection]:
    found = (_last(facts.lens, m.name) for m in facts.machines)
    return [each for each in found if each is not None]


def _state(away: list[Ejection]) -> str:
    names, one = listed([each.replica for each in away]), len(away) == 1
    if all(each.back for each in away):
        return f"{names} {'was' if one else 'were'} set aside, with hardly a request since"
    return f"{names} {'is' if one else 'are'} set aside"


def _last(lens: Lens, replica: str) -> Ejection | None:
    grid, end = lens.focus.grid, lens.focus.end
    found = [
        Ejection(replica, cause, step)
        for cause in lens.names("r_ejected", 1)
        for step, value in enumerate(grid.series.get(("r_ejected", (replica, cause)), ())[:end])
        if value > 0
    ]
    last = max(found, key=lambda each: each.step, default=None)
    if last is None or lens.last("r_aside", replica) > 0:
        return last
    since = Span(grid, last.step + 1, end)
    sent = lens.total(since, "r_sent", replica) * since.seconds
    back = lens.last("r_ready", replica) > 0 and sent < PROVEN
    return last._replace(back=True) if back else None


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
