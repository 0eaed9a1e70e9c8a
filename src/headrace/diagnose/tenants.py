"""
The rows of the decision table about single tenants: whose demand, whose errors, whose limit, while
all others are well. What all of them ask for is demand.py's. Pure.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import NamedTuple

from headrace.diagnose.facts import LIMITED, WRONG, Facts, arrived
from headrace.diagnose.finding import Finding, Verdict, fact, rate
from headrace.diagnose.lens import LEAST_STEPS, NAN, Lens, Seen, Span, shares
from headrace.diagnose.snapshot import known

MORE = 1.25  # times the usual demand
NOISY = 0.5  # of what came on top, from one tenant
OWN = 0.9  # of the refusals, from one tenant: they are its own
HIT = 0.2  # of its requests, that are refused
FEW = 8.0  # refusals in the focus: fewer are somebody's try
MOST = 0.7  # of something, from one tenant
LASTING = 1.5  # times as long as usual do a tenant's requests run, beside those of others
RUNNING = 4.0  # more of them that run
WORDY, TOKENS = 2.0, 100.0  # times as long a prompt, and so many tokens more
STRAYS = 3.0  # standard deviations by which that strays
ENOUGH = 12  # stretches of all tenants together, that say by how much


def noisy(facts: Facts) -> Verdict:
    """One tenant brings most of what came on top."""
    if not facts.demand.rose(MORE, 0.0) and not facts.offered.rose(MORE, 0.3):
        return "no more is asked for than usual"
    lens = facts.lens
    if lens.level("replicas", facts.model).now < 0.5:
        return "no replica serves: that comes first"
    extra: dict[str, float] = {}
    for tenant in lens.names("t_ended"):
        seen = _work(facts, tenant)
        if seen.more > 0:
            extra[tenant] = seen.more
    parts = shares(extra)
    top = max(parts, key=lambda name: parts[name], default="")
    if not top or parts[top] < NOISY or len(lens.names("t_ended")) < 2:
        return "no tenant stands out"
    seen = _work(facts, top)
    stray = _stray(lens, lens.names("t_ended"), partial(_asked, lens))
    if seen.ratio < 1.4 or (known(stray) and math.log(seen.ratio) < STRAYS * stray):
        return "no tenant asks for more than tenants do by chance"
    return Finding(
        "noisy-tenant", "One tenant takes what others need",
        f"{top} brings {parts[top]:.0%} of what came on top of the usual.",
        phase="queue", tenants=(top,),
        evidence=(
            fact(f"work of {top}", seen, "tokens/s", rate("t_tokens", tenant=top)),
            fact(f"requests of {top} now", lens.level("t_active", top), "",
                 rate("t_active", tenant=top)),
            fact("all requests", facts.offered, "/s", rate("ended")),
        ),
    )  # fmt: skip


def lasting(facts: Facts) -> tuple[str, Seen, Seen] | None:
    """
    The tenant whose requests run far longer than they did while those of others do not, with how
    long they do, and how many run. Long answers show here before the first of them has ended.
    """
    lens = facts.lens
    found = _foremost(lens, partial(_stay, lens))
    if found is None or found.beside < max(math.log(LASTING), STRAYS * found.stray):
        return None
    runs = lens.level("t_active", found.tenant)
    if not runs.usual >= 1 or not runs.rose(1.0, RUNNING):
        return None
    return found.tenant, found.seen, runs


def wordy(facts: Facts) -> tuple[str, Seen] | None:
    """The tenant whose prompts are far longer than they were while those of others are not."""
    lens = facts.lens
    found = _foremost(lens, partial(_prompt, lens))
    if found is None or found.beside < max(math.log(WORDY), STRAYS * found.stray):
        return None
    count = lens.total(lens.focus, "t_ended", found.tenant, None) * lens.focus.seconds
    return (found.tenant, found.seen) if count >= FEW and found.seen.more >= TOKENS else None


def errors(facts: Facts) -> Verdict:
    """One tenant's requests are wrong."""
    tenant = alone(facts, WRONG)
    if not tenant:
        return "no single tenant's requests are wrong"
    return _refused(
        facts, tenant, WRONG, "tenant-errors", "One tenant's requests are wrong",
        "are refused for what is in them; those of others are not",
    )  # fmt: skip


def limited(facts: Facts) -> Verdict:
    """One tenant has come to its limit."""
    tenant = alone(facts, LIMITED)
    if not tenant:
        return "no single tenant is refused by limits"
    return _refused(
        facts, tenant, LIMITED, "tenant-limited", "One tenant is refused by its limits",
        "are refused by limits; those of others are not",
    )  # fmt: skip


def alone(facts: Facts, outcomes: tuple[str, ...]) -> str:
    """The one tenant that has come to end so, while no other does; empty when there is none."""
    lens = facts.lens
    names = lens.names("t_ended")
    counts = _counts(facts, outcomes)
    top = max(counts, key=lambda name: counts[name], default="")
    if len(names) < 2 or not top or counts[top] * lens.focus.seconds < FEW:
        return ""
    others = [name for name in names if name != top and _ended(facts, lens.focus, name) > 0]
    if not others or counts[top] < OWN * sum(counts.values()):
        return ""
    return top if _share(facts, top, outcomes).rose(2.0, HIT, blank=True) else ""


def source(facts: Facts, outcomes: tuple[str, ...]) -> tuple[str, ...]:
    """The tenant that most of these come from, if it is one."""
    counts = _counts(facts, outcomes)
    parts = shares(counts)
    top = max(parts, key=lambda name: parts[name], default="")
    return (top,) if top and parts[top] >= MOST and len(counts) > 1 else ()


# --- below -------------------------------------------------------------------------------------


def _stay(lens: Lens, tenant: str, span: Span) -> float:
    """Seconds that a request of a tenant runs, by Little's law, as that of all in facts.py."""
    wide = Span(span.grid, max(0, 2 * span.begin - span.end), span.end)
    ended = lens.total(wide, "t_ended", tenant, None)
    came = arrived(lens, wide, ended, "t_active", tenant)
    return lens.total(span, "t_active", tenant) / came if came > 0 else NAN


def _prompt(lens: Lens, tenant: str, span: Span) -> float:
    ended = lens.total(span, "t_ended", tenant, None)
    return lens.total(span, "t_tokens", tenant, "input") / ended if ended > 0 else NAN


class Foremost(NamedTuple):
    """
    The tenant of which something has grown most: by how much more than that of others, as a
    logarithm, and how far that strays usually.
    """

    tenant: str
    seen: Seen
    beside: float
    stray: float


def _foremost(lens: Lens, measure: Callable[[str, Span], float]) -> Foremost | None:
    seen = {name: lens.seen(partial(measure, name)) for name in lens.names("t_active")}
    logs = {name: math.log(each.ratio) for name, each in seen.items() if 0 < each.ratio < math.inf}
    stray = _stray(lens, [*logs], measure)
    if len(logs) < 2 or not stray > 0:
        return None
    top = max(logs, key=lambda name: logs[name])
    others = median(value for name, value in logs.items() if name != top)
    return Foremost(top, seen[top], logs[top] - max(0.0, others), stray)


def _stray(lens: Lens, names: Sequence[str], measure: Callable[[str, Span], float]) -> float:
    """The standard deviation of its logarithm, over all tenants, each by its median."""
    squares: list[float] = []
    for name in names:
        found = [value for span in lens.bases if (value := measure(name, span)) > 0]
        if len(found) >= LEAST_STEPS:
            middle = median(found)
            squares += [math.log(value / middle) ** 2 for value in found]
    return math.sqrt(sum(squares) / len(squares)) if len(squares) >= ENOUGH else NAN


def _refused(
    facts: Facts, tenant: str, outcomes: tuple[str, ...], name: str, title: str, words: str
) -> Finding:  # fmt: skip
    seen = _share(facts, tenant, outcomes)
    kinds = facts.lens.names("t_ended", 1)
    found = {
        kind: facts.lens.total(facts.lens.focus, "t_ended", tenant, kind)
        for kind in kinds if kind.startswith(outcomes)
    }  # fmt: skip
    most = max(found, key=lambda kind: found[kind] if known(found[kind]) else 0.0)
    return Finding(
        name, title, f"{seen.now:.0%} of {tenant}'s requests {words} ({most}).",
        phase="gateway", tenants=(tenant,),
        evidence=(
            fact(f"refused of {tenant}", seen, "share",
                 f"{rate('t_ended', tenant=tenant, outcome=most)}"
                 f" / {rate('t_ended', tenant=tenant)}"),
            fact("refused of all", facts.share(outcomes, None), "share",
                 f"{rate('ended', outcome=most)} / {rate('ended')}"),
        ),
    )  # fmt: skip


def _share(facts: Facts, tenant: str, outcomes: tuple[str, ...]) -> Seen:
    def measure(span: Span) -> float:
        whole = _ended(facts, span, tenant)
        return _count(facts, span, tenant, outcomes) / whole if whole > 0 else NAN

    return facts.lens.seen(measure)


def _counts(facts: Facts, outcomes: tuple[str, ...]) -> dict[str, float]:
    """What each tenant has more of these than usual, per second."""
    lens = facts.lens
    found = {}
    for tenant in lens.names("t_ended"):
        seen = lens.seen(lambda span, name=tenant: _count(facts, span, name, outcomes))  # type: ignore[misc]
        found[tenant] = max(0.0, seen.more)
    return found


def _count(facts: Facts, span: Span, tenant: str, outcomes: tuple[str, ...]) -> float:
    lens = facts.lens
    kinds = [each for each in lens.names("t_ended", 1) if each.startswith(outcomes)]
    found = [lens.total(span, "t_ended", tenant, kind) for kind in kinds]
    return sum(each for each in found if known(each))


def _ended(facts: Facts, span: Span, tenant: str) -> float:
    ended = facts.lens.total(span, "t_ended", tenant, None)
    return ended if known(ended) else 0.0


def _work(facts: Facts, tenant: str) -> Seen:
    """
    A tenant's work in tokens per second: requests that came, whether or not they have ended, by
    the tokens of those that have.
    """
    return facts.lens.seen(partial(_asked, facts.lens, tenant))


def _asked(lens: Lens, tenant: str, span: Span) -> float:
    ended = lens.total(span, "t_ended", tenant, None)
    tokens = [lens.total(span, "t_tokens", tenant, kind) for kind in ("input", "output")]
    made = sum(each for each in tokens if known(each))
    came = arrived(lens, span, ended, "t_active", tenant)
    each = made / ended if ended > 0 else lens.ratio(span, "input_sum", "input_n", None)
    return came * each if known(each) else 0.0
