"""
The rows of the decision table about the gateway itself and what it leans on: its event loop, the
shared state, the usage ledger, clients that do not read, and what it cannot see. Pure.
"""

from headrace.diagnose.facts import Facts
from headrace.diagnose.finding import Finding, Verdict, fact, listed, rate
from headrace.diagnose.finding import mean as mean_of

LATE_S = 0.02  # of the event loop on average; users feel it at every step of a request
CPU = 0.9  # of the one core that an event loop has
STATE_S = 0.005  # more for an operation of the shared state: each request waits for one or two
LAG_S = 15.0  # of the ledger: it writes several times a second
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
