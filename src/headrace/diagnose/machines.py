"""
The rows of the decision table about replicas: stuck, gone, failing, slow, far away. Their caches
are caches.py's. Pure.

Each takes the facts of a model and gives a finding, or why it is not this.
"""

import math
from collections.abc import Sequence
from statistics import median

from headrace.diagnose import caches, engines
from headrace.diagnose.demand import CROWD
from headrace.diagnose.facts import SHARE, WEAK, Facts
from headrace.diagnose.finding import Evidence, Finding, Verdict, fact, listed, rate, rollout, verb
from headrace.diagnose.lens import NAN, SURE, Seen, Span
from headrace.diagnose.replica import Machine
from headrace.diagnose.snapshot import known

BROKEN = "upstream_failed_.*"
SILENT_S = 5.0  # with requests and no sign of progress; above any iteration, and a long prefill
APART = 1.35  # times as slow as its peers, each compared with its own usual
UNEVEN = 3.5  # the same while work changes: then replicas have unequal parts of it for a while
NEWCOMER = 3.0  # the same of a replica with a cold cache, before its first answers have ended
ALONE = 1.45  # the same while nobody feels it, or while new replicas take over work
SLOWER = 1.3  # times as slow as its own usual
ENOUGH, AGREES = 8.0, 1.2  # streams that ended, from which on clients must have felt it, so much
ALIKE, BARE = 1.2, 3.0  # times as long for a prompt's token; without that so far from its peers
LATE, LATE_S, LATER = 2.0, 0.05, 1.5  # times as long to a first token; than at its peers
FAR_OFF, FELT = 1.8, 1.1  # so slow, that clients need to have felt less of it
UNFELT = 1.5  # times that bound, while no clients' streams can speak for it
GATHERED = 1.8  # times its usual part of what is sent
OFTEN = 2.5  # failures in the focus: fewer are chance
RARE = 1e-4  # the probability of so many by chance: there are many replicas, and many looks
# Standard deviations from what its work explains, of which chance has none in all looks together.
CERTAIN, CERTAIN_NEW = 5.0, 4.0
JOINT = 3.5  # the same where first tokens come late there, and only there
SHARED = 1.3  # times as long for its clients, who are the second witness of that
WAITS = {"first_token", "pace", "stalled", "waiting", "one", "total"}  # symptoms
WIDER = 1.25  # times the largest batch that is known: beyond it little is known of its pace
AGREES_ALONE = 1.35  # the same where nothing else speaks for it


def stuck(facts: Facts) -> Verdict:
    """Requests and no token, or set aside for that."""
    ejected = [
        m
        for m in facts.machines
        if facts.lens.total(facts.lens.focus, "r_ejected", m.name, "stuck") > 0
    ]
    silent = [
        m for m in facts.serving
        if m.silent_s >= SILENT_S and m.inflight.now > 0 and m not in ejected
    ]  # fmt: skip
    found = [*ejected, *silent]
    if not found:
        return "every replica with requests shows progress"
    names = tuple(m.name for m in found)
    evidence = [
        *(_number(m.name, "silent for", m.silent_s, "s",
            rate("r_silent", replica=m.name)) for m in silent),
        *(_number(m.name, "ejected as stuck", 1.0, "",
            rate("r_ejected", replica=m.name, cause="stuck")) for m in ejected),
    ]  # fmt: skip
    evidence += [
        fact(f"requests at {m.name}", m.inflight, "", rate("r_inflight", replica=m.name))
        for m in found
    ]
    return Finding(
        "stuck-replica", "A replica accepts requests and makes no token",
        f"{listed(names)} {verb(names, 'has', 'have')} requests, but no sign of progress.",
        phase="decode", replicas=names, evidence=tuple(evidence),
    )  # fmt: skip


def gone(facts: Facts) -> Verdict:
    """A replica that was there is not routable any more, and nobody said that it should go."""
    lens = facts.lens
    found = []
    for m in facts.machines:
        causes = [
            cause for cause in lens.names("r_ejected", 1)
            if cause != "stuck" and lens.total(lens.focus, "r_ejected", m.name, cause) > 0
        ]  # fmt: skip
        unwell = lens.total(lens.focus, "r_unwell", m.name)
        if (
            (causes or unwell > 0)
            and (m.ready == 0 or unwell > 0)
            and "health" in (*causes, "health")
        ):
            found.append((m, causes, unwell))
    down = [(m, causes) for m, causes, unwell in found if unwell > 0]
    if not down:
        return "no replica fails its health checks"
    names = tuple(m.name for m, _ in down)
    evidence = [
        fact(f"failed health checks of {m.name}", lens.level("r_unwell", m.name), "/s",
             rate("r_unwell", replica=m.name)) for m, _ in down
    ]  # fmt: skip
    evidence.append(
        fact("replicas that serve", lens.level("replicas", facts.model), "", rate("replicas"))
    )
    return Finding(
        "replica-down", "A replica is gone",
        f"{listed(names)} {verb(names, 'does', 'do')} not answer health checks.",
        phase="network", replicas=names, evidence=tuple(evidence),
    )  # fmt: skip


def failing(facts: Facts) -> Verdict:
    """Replicas answer with errors, or break."""
    share = facts.share(("upstream_failed_", "timed_out_first_byte", "timed_out_chunk"))
    bad = [m for m in facts.machines if m.failed.rose(2.0, SHARE, blank=True) and _often(m, facts)]
    if not bad:
        return "replicas fail no more requests than usual"
    new = [m for m in bad if m.new]
    old = [m for m in facts.serving if not m.new and m not in bad]
    names = tuple(m.name for m in bad)
    evidence = (
        *(fact(f"failed at {m.name}", m.failed, "share",
            f"{rate('r_failed', replica=m.name)} / {rate('r_sent', replica=m.name)}") for m in bad),
        fact("failed for clients", share, "share",
             f"{rate('ended', outcome=BROKEN)} / {rate('ended')}"),
    )  # fmt: skip
    if new and len(new) == len(bad) and old:
        return rollout(names, evidence, "fail requests, those that were there before do not")
    where = "every replica" if len(bad) >= len(facts.serving) > 1 else listed(names)
    return Finding(
        "upstream-errors", "Replicas fail requests",
        f"{where} {verb(bad, 'fails', 'fail')} requests:"
        f" {max(m.failed.now for m in bad):.0%} at worst.",
        phase="prefill", replicas=names, evidence=evidence,
    )  # fmt: skip


def slow(facts: Facts) -> Verdict:
    """Some replicas are slower than their peers, and than they were."""
    excess = facts.excess
    usual = sum(value < SLOWER for value in excess.values())
    bounds = (APART, AGREES) if facts.symptoms else (ALONE, AGREES_ALONE)
    if facts.changed:
        bounds = UNEVEN, AGREES_ALONE
    laggards = [
        m
        for m in facts.serving
        if (_worse(m, facts) if _unknown(m) else _certain(m, facts) or _lags(m, facts, bounds))
    ]
    if not laggards:
        return engines.late(facts)
    if 2 * usual < len(excess) and not all(m.new for m in laggards):
        return "most replicas are slower, not some"
    names = tuple(m.name for m in laggards)
    evidence = [
        fact(f"time per token at {m.name}", m.pace, "s",
             f"{rate('e_running', replica=m.name)} / {rate('e_made', replica=m.name)}")
        for m in laggards
    ]  # fmt: skip
    others = [m.pace.now for m in facts.serving if m not in laggards and known(m.pace.now)]
    if others:
        evidence.append(
            _number("its peers", "time per token at", median(others), "s", rate("e_made"))
        )
    new = [m for m in laggards if m.new]
    if len(new) == len(laggards) and any(not m.new for m in facts.serving):
        return rollout(
            names, tuple(evidence), "take longer per token than those that were there before"
        )
    return Finding(
        "slow-replica", "A replica is slower than its peers",
        f"{listed(names)} {verb(names, 'takes', 'take')}"
        f" {max(_apart(m, excess) for m in laggards):.1f} times as long per token as the others.",
        phase="decode", replicas=names, evidence=tuple(evidence),
    )  # fmt: skip


def uneven(facts: Facts) -> Verdict:
    """One replica has far more than its share while others idle."""
    serving = [m for m in facts.serving if known(m.inflight.now)]
    if len(serving) < 2:
        return "there are no two replicas to compare"
    if not {each.name for each in facts.symptoms} & {"first_token", "pace", "stalled", "waiting"}:
        return "nobody waits at the fullest replica"
    if any(m.new for m in serving):
        return "replicas have joined lately, and requests gather where prompts are known"
    top = max(serving, key=lambda m: m.inflight.now)
    part, *others = [
        facts.lens.seen(lambda span, name=m.name: _part(facts, span, name))  # type: ignore[misc]
        for m in sorted(serving, key=lambda m: m is not top)
    ]
    if not part.rose(GATHERED, 0.1) or any(other.ratio > 1.0 for other in others):
        return "no replica is sent more than its usual part, and all others less"
    rest = median(m.inflight.now for m in serving if m is not top)
    before = median([m.inflight.usual for m in serving if known(m.inflight.usual)] or [0.0])
    if top.inflight.now < max(4.0, 3.0 * rest) or top.inflight.usual > 2.0 * max(before, 0.5):
        return "requests are spread over the replicas"
    evidence = (
        fact(f"part of requests sent to {top.name}", part, "share",
             f"{rate('r_sent', replica=top.name)} / {rate('r_sent')}"),
        *(fact(f"requests at {m.name}", m.inflight, "", rate("r_inflight", replica=m.name))
          for m in serving),
    )  # fmt: skip
    return Finding(
        "hot-spot", "One replica gets what others should",
        f"{top.name} has {top.inflight.now:.0f} requests, the others about {rest:.0f}.",
        phase="queue", replicas=(top.name,), evidence=evidence,
    )  # fmt: skip


def slowed(facts: Facts) -> Verdict:
    """All engines are slower at the work that they always had."""
    pace = facts.lens.quotient("e_running", "e_made", None)
    sure = not known(pace.now) or pace.rose(SLOWER, 0.002)  # of all: of one it takes longer
    slower = [m for m in facts.serving if sure and m.pace._replace(error=0.0).rose(SLOWER, 0.002)]
    if facts.weak:  # their work is set aside there, so that more of it does not matter
        slower = [m for m in facts.serving if facts.excess.get(m.name, 0.0) >= SLOWER]
    if not _waited(facts):
        slower = []
    if not slower or 2 * len(slower) <= len(facts.serving):
        return "most engines make tokens as fast as usual"
    load = median([m.running.ratio for m in slower])
    if facts.weak:
        return _slowed(facts, slower, load)
    if facts.surge:
        return "engines have more to do than usual"
    if facts.demand.rose(1.2, 0.0) or facts.offered.rose(1.2, 0.3):  # by chance, it may be
        bound = WEAK * facts.excuse
        slower = [m for m in slower if facts.excess.get(m.name, 0.0) >= bound]
        if 2 * len(slower) <= len(facts.serving):
            return "engines have a little more to do than usual, which explains their pace"
    elif facts.crowd >= CROWD:
        return "more requests run than slower engines would explain"
    return _slowed(facts, slower, load)


# --- below -------------------------------------------------------------------------------------


def _waited(facts: Facts) -> bool:
    """Whether users wait, or at least their streams are slower than what engines do explains."""
    if {each.name for each in facts.symptoms} & WAITS:
        return True
    felt = [*facts.felt.values()]
    paces = [m.pace.ratio for m in facts.serving]
    return facts.weak and bool(felt) and median(felt) >= AGREES and median(paces) >= 1.0


def _slowed(facts: Facts, slower: Sequence[Machine], load: float) -> Finding:
    names = tuple(m.name for m in slower)
    evidence = tuple(
        fact(f"time per token at {m.name}", m.pace, "s",
             f"{rate('e_running', replica=m.name)} / {rate('e_made', replica=m.name)}")
        for m in slower
    )  # fmt: skip
    return Finding(
        "slow-fleet", "All engines have become slower",
        f"Engines take {median([m.pace.ratio for m in slower]):.1f} times as long per token, with"
        f" {load:.1f} times the usual batch"
        + (": more than that explains." if facts.weak else " and no more demand."),
        phase="decode", replicas=names, evidence=evidence,
    )  # fmt: skip


def _part(facts: Facts, span: Span, name: str) -> float:
    """What a replica is sent, of all that is sent."""
    whole = facts.lens.total(span, "r_sent", None)
    return facts.lens.total(span, "r_sent", name) / whole if whole > 0 else NAN


def _often(m: Machine, facts: Facts) -> bool:
    """
    Whether it failed more often than chance would have it, of requests that fail as often as they
    do in the fleet: a single error is nobody's fault.
    """
    lens = facts.lens
    count = lens.total(lens.focus, "r_failed", m.name) * lens.focus.seconds
    usual = (m.failed.usual, lens.quotient("r_failed", "r_sent", None).usual)
    sent = m.sent.now * lens.focus.seconds if known(m.sent.now) else 0.0
    expected = max((each for each in usual if known(each)), default=0.0) * sent
    return count >= OFTEN and _tail(round(count), expected) < RARE


def _tail(count: int, expected: float) -> float:
    """The probability of so many or more, where so many are expected (Poisson)."""
    term = below = math.exp(-expected)
    for number in range(1, count):
        term *= expected / number
        below += term
    return 1.0 - below


def _unknown(m: Machine) -> bool:
    """Whether nobody knows its usual: it has joined lately, or had nothing to do."""
    return m.new or not known(m.pace.usual)


def _certain(m: Machine, facts: Facts) -> bool:
    """
    Slower than its peers by far more than replicas stray by chance, at the work that they always
    had; its clients or its first tokens are the second witness. A full cache has its own row.
    """
    apart, stray = _apart(m, facts.excess), facts.strays.get(m.name, math.inf)
    if facts.changed or apart < APART or caches.pressed(m, facts):
        return False
    if facts.excess.get(m.name, 1.0) < SLOWER:
        return False
    if math.log(apart) >= JOINT * stray and _begins_late(m, facts.serving):
        return True
    return math.log(apart) >= CERTAIN * stray and facts.felt.get(m.name, 1.0) >= SHARED


def _lags(m: Machine, facts: Facts, bounds: tuple[float, float]) -> bool:
    """Slower than its work explains, and than its peers are; clients must have felt it, too."""
    excess, serving = facts.excess, facts.serving
    apart, agrees = bounds
    own = excess.get(m.name, 1.0)
    if m.pace.more < SURE * m.pace.error:
        return False
    late = _begins_late(m, serving)
    prompts = m.prefill.ratio >= ALIKE or not known(m.prefill.usual)
    if not prompts and not late and _apart(m, excess) < BARE:
        return False  # a busy one: what slows an engine slows its prompts as well
    felt = m.paced >= ENOUGH and known(m.itl.usual)
    seen = felt and _agrees(m, agrees, _apart(m, excess))
    if felt and not seen and not late:
        return False
    if not felt:
        apart *= UNFELT
    if seen and late and m.prefill.ratio >= LATER:
        apart = min(apart, FAR_OFF)  # all that can be known of it says the same
    return own >= SLOWER and _apart(m, excess) >= apart


def _begins_late(m: Machine, serving: Sequence[Machine]) -> bool:
    """
    Whether its engine takes longer to first tokens, while its peers do not: another witness, of a
    replica that stands still for a moment again and again.
    """
    others = [other.engine.ratio for other in serving if other is not m]
    peers = max(1.0, median(others)) if others else 1.0
    return m.engine.rose(LATE, LATE_S) and m.engine.ratio >= LATER * peers


def _agrees(m: Machine, least: float, apart: float) -> bool:
    """
    Whether clients saw it, too. What they saw is the median pause of a stream, which a replica that
    stops for a moment again and again hardly moves.
    """
    if m.itl.more < SURE * m.itl.error:
        return False
    return m.itl.ratio >= (FELT if apart >= FAR_OFF else least)


def _worse(m: Machine, facts: Facts) -> bool:
    """
    A replica that joined lately has no usual, and a cold cache: it is compared with what older
    ones usually take, and its clients must have felt it; while none of them knows yet, it must be
    far off.
    """
    excess, stray = facts.excess, facts.strays.get(m.name, math.inf)
    apart = _apart(m, excess)
    sure = m.paced >= ENOUGH and math.log(max(apart, 1.0)) >= CERTAIN_NEW * stray
    if sure and apart >= ALONE and facts.felt.get(m.name, 1.0) >= AGREES_ALONE:
        return True
    old = [other for other in facts.serving if not other.new]
    usual = [other.itl.usual for other in old if known(other.itl.usual)]
    batches = [other.running.usual for other in old if known(other.running.usual)]
    like = not batches or m.running.now <= WIDER * max(batches)
    if m.paced >= ENOUGH and usual and like:
        return apart >= ALONE and m.itl.now >= AGREES_ALONE * median(usual)
    return apart >= NEWCOMER


def _apart(m: Machine, excess: dict[str, float]) -> float:
    """How much slower than the faster half of its peers, the work of each set aside."""
    others = sorted(value for name, value in excess.items() if name != m.name)
    fast = others[: max(1, (len(others) + 1) // 2)]
    return excess.get(m.name, 1.0) / max(1.0, median(fast)) if fast else 1.0


def _number(name: str, what: str, now: float, unit: str, promql: str) -> Evidence:
    return fact(f"{what} {name}".strip(), Seen(now, float("nan"), 0.0, 0.0), unit, promql)
