"""
The rows of the decision table about the gateway itself and what it leans on: its event loop and
clock, the shared state, guards and the classifier, the usage ledger, clients that do not read, and
what it cannot see. Pure.
"""

from headrace.diagnose.facts import Facts
from headrace.diagnose.finding import Finding, Verdict, fact, listed, rate
from headrace.diagnose.finding import mean as mean_of
from headrace.diagnose.lens import NAN, Span
from headrace.diagnose.snapshot import known

LATE_S = 0.02  # of the event loop on average; users feel it at every step of a request
CPU = 0.9  # of the one core that an event loop has
STATE_S = 0.005  # more for an operation of the shared state: each request waits for one or two
LAG_S = 15.0  # of the ledger: it writes several times a second
GUARD_S = 0.05  # more for a look of a guard
CLASS_S = 0.03  # more for a judgement
LATE_SHARE = 0.1  # of requests that are not judged
UNJUDGED = ("late", "busy", "failed")
SKEW_S = 5.0  # that a clock moves; dates of HTTP are good for two, leeways of tokens are longer
CHOKED = 0.1  # of running requests, whose clients do not read
STALE_S = 15.0  # since an engine's metrics were read


def busy(facts: Facts) -> Verdict:
    """The event loop comes too late to everything."""
    lens = facts.lens
    late, cpu = lens.mean("late"), lens.level("cpu")
    if not late.rose(3.0, LATE_S):
        return "the event loop is on time"
    return Finding(
        "gateway-saturated", "The gateway itself is too slow",
        f"Its event loop is {late.now * 1000:.0f} ms late on average"
        + (f" and takes {cpu.now:.0%} of a core." if cpu.now >= CPU / 2 else ", off its core."),
        phase="gateway",
        evidence=(
            fact("delay of the event loop", late, "s", mean_of("late")),
            fact("CPU of the process", cpu, "cores", rate("cpu")),
            fact("requests", facts.offered, "/s", rate("ended")),
        ),
    )  # fmt: skip


def state(facts: Facts) -> Verdict:
    """The shared state is slow or away."""
    lens = facts.lens
    took, up, errors = lens.mean("state"), lens.level("state_up"), lens.level("state_errors")
    away = up.now < 0.9 and up.usual > 0.9
    if not away and not took.rose(2.5, STATE_S) and not errors.rose(2.0, 0.2, blank=True):
        return "the shared state answers as usual"
    words = "does not answer" if away else f"takes {took.now * 1000:.0f} ms for an operation"
    return Finding(
        "state-slow", "The shared state is slow or away", f"Redis {words}.", phase="gateway",
        evidence=(
            fact("an operation of the shared state", took, "s", mean_of("state")),
            fact("failed operations", errors, "/s", rate("state_errors")),
            fact("shared state up", up, "", rate("state_up")),
        ),
    )  # fmt: skip


def guards(facts: Facts) -> Verdict:
    """A guard takes long to look at a text."""
    lens = facts.lens
    looks = {name: lens.mean("guard", name, None) for name in lens.names("guard_n")}
    late = {name: seen for name, seen in looks.items() if seen.rose(2.5, GUARD_S)}
    if not late:
        return "guards look as fast as usual"
    worst = max(late, key=lambda name: late[name].more)
    return Finding(
        "guard-slow", "A guard is slow",
        f"A look of {listed(sorted(late))} takes {late[worst].now * 1000:.0f} ms at worst;"
        " each guarded request waits for it.",
        phase="gateway",
        evidence=(
            *(fact(f"a look of {name}", seen, "s", mean_of("guard", guard=name))
              for name, seen in late.items()),
            fact("until requests have a place", facts.queue, "s", mean_of("queue")),
        ),
    )  # fmt: skip


def classifier(facts: Facts) -> Verdict:
    """Requests are sent on before the classifier has judged them."""
    lens = facts.lens
    took = lens.mean("class")

    def measure(span: Span) -> float:
        whole = lens.total(span, "classified", None)
        late = [lens.total(span, "classified", why) for why in UNJUDGED]
        return sum(each for each in late if known(each)) / whole if whole > 0 else NAN

    unjudged = lens.seen(measure)
    if not took.rose(2.5, CLASS_S) and not unjudged.rose(2.0, LATE_SHARE, blank=True):
        return "the classifier judges requests in time"
    return Finding(
        "classifier-slow", "The classifier is late",
        f"A text takes {took.now * 1000:.0f} ms"
        + (f", and {unjudged.now:.0%} of requests get the default class." if unjudged.now > 0
           else "."),
        phase="gateway",
        evidence=(
            fact("to judge a text", took, "s", mean_of("class")),
            fact("not judged in time", unjudged, "share",
                 f"{rate('classified', why='late')} / {rate('classified')}"),
        ),
    )  # fmt: skip


def clock(facts: Facts) -> Verdict:
    """Clocks have come apart."""
    lens = facts.lens
    skews = {m.name: lens.level("r_skew", m.name) for m in facts.serving}
    told = {name: seen for name, seen in skews.items() if known(seen.now) and known(seen.usual)}
    off = {name: seen for name, seen in told.items() if abs(seen.more) >= SKEW_S}
    if not off:
        return "the clocks of replicas agree with ours as they did"
    ours = 2 * len(off) > len(told) > 1
    worst = max(off.values(), key=lambda seen: abs(seen.more))
    where = "the gateway" if ours else listed(sorted(off))
    return Finding(
        "clock-skew", "Clocks have come apart",
        f"The clock of {where} has moved by {abs(worst.more):.0f} s: tokens of callers are refused"
        " or taken too long, windows of limits and traces do not fit.",
        phase="gateway", replicas=() if ours else tuple(sorted(off)),
        evidence=tuple(
            fact(f"clock of {name} before ours", seen, "s", rate("r_skew", replica=name))
            for name, seen in off.items()
        ),
    )  # fmt: skip


def ledger(facts: Facts) -> Verdict:
    """Usage is not written in time."""
    lens = facts.lens
    lag, up = lens.level("ledger_lag"), lens.level("ledger_up")
    away = up.now < 0.5 and up.usual > 0.5
    if not away and not lag.rose(3.0, LAG_S, blank=True):
        return "the ledger is written as usual"
    words = "cannot be written" if away else f"is {lag.now:.0f} s behind"
    return Finding(
        "ledger-slow", "The usage ledger is slow or away", f"The usage ledger {words}.",
        phase="gateway",
        evidence=(
            fact("the oldest row that waits", lag, "s", rate("ledger_lag")),
            fact("ledger up", up, "", rate("ledger_up")),
        ),
    )  # fmt: skip


def readers(facts: Facts) -> Verdict:
    """Clients do not read what they asked for."""
    lens = facts.lens
    slow = lens.level("slow")
    share = slow.now / facts.active.now if facts.active.now > 0 else 0.0
    if not slow.rose(2.0, 3.0) or share < CHOKED:
        return "clients read what is written to them"
    return Finding(
        "slow-clients", "Clients do not read what they asked for",
        f"{slow.now:.0f} clients do not read, {share:.0%} of running requests.",
        phase="client",
        evidence=(
            fact("clients that do not read", slow, "", rate("slow")),
            fact("a whole request", facts.total, "s", mean_of("total")),
            fact("requests that run", facts.active, "", rate("active")),
        ),
    )  # fmt: skip


def blind(facts: Facts) -> Verdict:
    """Engines' metrics cannot be read any more."""
    lens = facts.lens
    ages = {m.name: lens.level("r_age", m.name) for m in facts.serving}
    old = tuple(name for name, age in ages.items() if age.rose(3.0, STALE_S))
    if not old:
        return "engines' metrics are fresh"
    return Finding(
        "stale-load-view", "Engines' metrics cannot be read",
        f"The metrics of {listed(old)} are {max(ages[name].now for name in old):.0f} s old.",
        phase="gateway", replicas=old,
        evidence=tuple(
            fact(f"age of the metrics of {name}", ages[name], "s", rate("r_age", replica=name))
            for name in old
        ),
    )  # fmt: skip
