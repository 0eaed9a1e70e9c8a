"""
The row of the decision table about the way to replicas: probes and first bytes that take longer
than engines do. What the engines themselves do is machines.py's. Pure.
"""

from headrace.diagnose.facts import Facts
from headrace.diagnose.finding import Evidence, Finding, Verdict, fact, listed, mean, rate
from headrace.diagnose.lens import Lens
from headrace.diagnose.replica import Machine
from headrace.diagnose.snapshot import known

NETWORK_S = 0.03  # what a hop may take more before it counts
OVERDUE = 1 / 3  # of probes in the focus, that are so late
LOOPS = 3.0  # turns of an event loop that comes late, in which a probe is sent, answered and read
BEYOND_S = 0.06  # first bytes later than engines say: with it a single late probe is no chance


def far(facts: Facts) -> Verdict:
    """The gateway waits longer than the engine works, and so do its probes."""
    late = facts.lens.mean("late")
    away = _away(facts)
    if not away or max(m.check.more for m in away) <= LOOPS * late.more:
        return "replicas answer probes as fast as usual, or as late as the gateway itself is"
    if late.now > NETWORK_S / 2 and len(away) == len(facts.serving):
        return "probes of all replicas are late because the gateway itself is"
    names = tuple(m.name for m in away)
    where = "every replica" if len(away) == len(facts.serving) > 1 else listed(names)
    evidence: list[Evidence] = []
    for m in away:
        evidence += [
            fact(f"probe of {m.name}", m.check, "s", rate("r_check", replica=m.name)),
            fact(f"first byte of {m.name} beyond its engine's", m.network, "s",
                 f"{mean('r_ttft', replica=m.name)} - {mean('e_first', replica=m.name)}"),
        ]  # fmt: skip
    return Finding(
        "network-latency", "The way to a replica has become slow",
        f"To {where} everything takes {max(m.check.more for m in away) * 1000:.0f} ms longer,"
        " while the engines work as before.",
        phase="network", replicas=names, evidence=tuple(evidence),
    )  # fmt: skip


# --- below -------------------------------------------------------------------------------------


def _away(facts: Facts) -> list[Machine]:
    """
    Replicas whose probes and first bytes are late. A single late probe is a lost packet, or a busy
    machine, unless first bytes are far later than engines say: those of that replica, or of all.
    """
    late = {m.name: _overdue(m, facts.lens) for m in facts.serving}
    if facts.network.rose(2.0, BEYOND_S) and any(count for count, _ in late.values()):
        beyond = [m for m in facts.serving if m.network.more >= NETWORK_S]
        if 2 * len(beyond) > len(facts.serving):
            return beyond
    return [m for m in facts.serving if _far(m, *late[m.name])]


def _overdue(m: Machine, lens: Lens) -> tuple[int, int]:
    """Probes of the focus that were late, and all."""
    grid, begin, end = lens.focus
    taken = grid.series.get(("r_check", (m.name,)), ())[begin:end]
    probes = [each for each in taken if known(each)]
    return sum(each >= m.check.usual + NETWORK_S for each in probes), len(probes)


def _far(m: Machine, late: int, probes: int) -> bool:
    if not late or not m.check.rose(2.0, NETWORK_S / probes):
        return False
    if m.network.rose(2.0, BEYOND_S):
        return True
    beyond = m.network.more >= NETWORK_S / 2 or not known(m.network.now)
    return m.check.more >= NETWORK_S and late >= OVERDUE * probes and beyond
