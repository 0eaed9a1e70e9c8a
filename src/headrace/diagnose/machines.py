"""
The rows of the decision table about replicas: stuck, gone, failing, slow, far away, full. Pure.

Each takes the facts of a model and gives a finding, or why it is not this.
"""

import math
from collections.abc import Sequence
from statistics import median

from headrace.diagnose import engines
from headrace.diagnose.demand import CROWD
from headrace.diagnose.facts import SHARE, Facts, Machine
from headrace.diagnose.finding import Evidence, Finding, Verdict, fact, listed, mean, rate
from headrace.diagnose.lens import SURE, Seen
from headrace.diagnose.snapshot import known

BROKEN = "upstream_failed_.*"
SILENT_S = 5.0  # with requests and no sign of progress; above any iteration, and a long prefill
APART = 1.35  # times as slow as its peers, each compared with its own usual
UNEVEN = 3.5  # the same while work changes: then replicas have unequal parts of it for a while
NEWCOMER = 3.0  # the same of a replica with a cold cache, before its first answers have ended
ALONE = 1.45  # the same while nobody feels it, or while new replicas take over work
SLOWER = 1.3  # times as slow as its own usual
NETWORK_S = 0.03  # what a hop may take more before it counts
ENOUGH, AGREES = 8.0, 1.2  # streams that ended, from which on clients must have felt it, so much
ALIKE, BARE = 1.2, 3.0  # times as long for a prompt's token; without that so far from its peers
FAR_OFF, FELT = 1.8, 1.1  # so slow, that clients need to have felt less of it
UNFELT = 1.5  # times that bound, while no clients' streams can speak for it
OFTEN = 2.5  # failures in the focus: fewer are chance
LOST = (0.8, 0.12)  # of what caches found, whether or not somebody feels it yet
TIGHT = 0.75  # share in use, of a cache that forgets what it should have
UNSHARED = 0.7  # of what routing believed to be cached: it knows that prompts have changed
AGREES_ALONE = 1.35  # the same where nothing else speaks for it
FULL = 0.93  # share of a KV cache in use, above which a batch does not grow


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
        f"{listed(names)} {_verb(names, 'has', 'have')} requests, but no sign of progress.",
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
        f"{listed(names)} {_verb(names, 'does', 'do')} not answer health checks.",
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
        return _rollout(names, evidence, "fail requests, those that were there before do not")
    where = "every replica" if len(bad) >= len(facts.serving) > 1 else listed(names)
    return Finding(
        "upstream-errors", "Replicas fail requests",
        f"{where} {_verb(bad, 'fails', 'fail')} requests:"
        f" {max(m.failed.now for m in bad):.0%} at worst.",
        phase="prefill", replicas=names, evidence=evidence,
    )  # fmt: skip


def network(facts: Facts) -> Verdict:
    """The gateway waits longer than the engine works, and so do its probes."""
    far = [m for m in facts.serving if _far(m)]
    if not far:
        return "replicas answer probes as fast as usual"
    late = facts.lens.mean("late")
    if late.now > NETWORK_S / 2 and len(far) == len(facts.serving):
        return "probes of all replicas are late because the gateway itself is"
    names = tuple(m.name for m in far)
    where = "every replica" if len(far) == len(facts.serving) > 1 else listed(names)
    evidence: list[Evidence] = []
    for m in far:
        evidence += [
            fact(f"probe of {m.name}", m.check, "s", rate("r_check", replica=m.name)),
            fact(f"first byte of {m.name} beyond its engine's", m.network, "s",
                 f"{mean('r_ttft', replica=m.name)} - {mean('e_first', replica=m.name)}"),
        ]  # fmt: skip
    return Finding(
        "network-latency", "The way to a replica has become slow",
        f"To {where} everything takes {max(m.check.more for m in far) * 1000:.0f} ms longer,"
        " while the engines work as before.",
        phase="network", replicas=names, evidence=tuple(evidence),
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
        if (_worse(m, excess, facts.serving) if m.new else _lags(m, excess, bounds))
    ] or engines.late(facts)
    if not laggards:
        return "no replica is slower than its peers"
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
        return _rollout(
            names, tuple(evidence), "take longer per token than those that were there before"
        )
    return Finding(
        "slow-replica", "A replica is slower than its peers",
        f"{listed(names)} {_verb(names, 'takes', 'take')}"
        f" {max(_apart(m, excess) for m in laggards):.1f} times as long per token as the others.",
        phase="decode", replicas=names, evidence=tuple(evidence),
    )  # fmt: skip


def full(facts: Facts) -> Verdict:
    """KV caches are full although nobody asks for more than usual."""
    if facts.offered.rose(1.25, 0.3) or facts.demand.rose(1.25, 0.0):
        return "more is asked for than usual: full caches are what comes of it"
    pressed = _pressed(facts)
    if facts.hits.fell(0.6, 0.1) and facts.believed.ratio <= UNSHARED:
        return "prompts share less than they did: full caches are what comes of it"
    if not pressed:
        return "KV caches have room and nothing is preempted"
    names = tuple(m.name for m in pressed)
    evidence: list[Evidence] = []
    for m in pressed:
        evidence += [
            fact(f"KV cache of {m.name}", m.kv, "share", rate("e_kv", replica=m.name)),
            fact(f"preemptions at {m.name}", m.preempted, "/s",
                 rate("e_preempted", replica=m.name)),
        ]  # fmt: skip
    return Finding(
        "kv-exhausted", "KV caches are full",
        f"{listed(names)} {_verb(names, 'has', 'have')} no room in the KV cache:"
        " requests wait or are put back.",
        phase="engine queue", replicas=names, evidence=tuple(evidence),
    )  # fmt: skip


def forgetful(facts: Facts) -> Verdict:
    """Prompts are computed again that were in a cache before."""
    if not facts.symptoms and not facts.hits.fell(*LOST):
        return "nobody feels anything of caches"
    if any(m.new for m in facts.serving):
        return "replicas have joined lately, and have cold caches"
    if facts.offered.rose(1.25, 0.3):
        return "more is asked for than usual, and new prompts are in no cache"
    lost = [m for m in facts.serving if m.hits.fell(0.75, 0.12)]
    told = known(facts.hits.now)
    whole = facts.hits.fell(0.8, 0.1) if told else facts.cached.fell(0.75, 0.1)
    if not whole and 2 * len(lost) <= len(facts.serving):
        return "prefix caches find as much as usual"
    names = tuple(m.name for m in lost)
    evidence = [
        fact(f"prompt tokens found at {m.name}", m.hits, "share",
             f"{rate('e_hits', replica=m.name)} / {rate('e_queries', replica=m.name)}")
        for m in lost
    ]  # fmt: skip
    evidence += [
        fact("prompt tokens that were cached", facts.cached, "share",
             f"{rate('tokens', kind='cached')} / {rate('tokens', kind='input')}"),
        fact("prompt tokens that routing believed to be cached", facts.believed, "share",
             f"{rate('believed')} / {rate('input_sum')}"),
    ]  # fmt: skip
    where = "all replicas" if len(lost) == len(facts.serving) else listed(names) or "the fleet"
    return Finding(
        "cache-loss", "Prefix caches find less than they did",
        f"At {where} prompts are computed again that used to be cached.",
        phase="prefill", replicas=names, evidence=tuple(evidence),
    )  # fmt: skip


def uneven(facts: Facts) -> Verdict:
    """One replica has far more than its share while others idle."""
    serving = [m for m in facts.serving if known(m.inflight.now)]
    if len(serving) < 2:
        return "there are no two replicas to compare"
    if not {each.name for each in facts.symptoms} & {"first_token", "pace", "stalled", "waiting"}:
        return "nobody waits at the fullest replica"
    top = max(serving, key=lambda m: m.inflight.now)
    rest = median(m.inflight.now for m in serving if m is not top)
    before = median([m.inflight.usual for m in serving if known(m.inflight.usual)] or [0.0])
    if top.inflight.now < max(4.0, 3.0 * rest) or top.inflight.usual > 2.0 * max(before, 0.5):
        return "requests are spread over the replicas"
    evidence = tuple(
        fact(f"requests at {m.name}", m.inflight, "", rate("r_inflight", replica=m.name))
        for m in serving
    )
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
    if not slower or 2 * len(slower) <= len(facts.serving):
        return "most engines make tokens as fast as usual"
    if facts.crowd >= CROWD:
        return "more requests run than slower engines would explain"
    load = median([m.running.ratio for m in slower])
    if facts.demand.rose(1.2, 0.0) or facts.offered.rose(1.2, 0.3):
        return "engines have more to do than usual"
    names = tuple(m.name for m in slower)
    evidence = tuple(
        fact(f"time per token at {m.name}", m.pace, "s",
             f"{rate('e_running', replica=m.name)} / {rate('e_made', replica=m.name)}")
        for m in slower
    )  # fmt: skip
    return Finding(
        "slow-fleet", "All engines have become slower",
        f"Engines take {median([m.pace.ratio for m in slower]):.1f} times as long per token, with"
        f" {load:.1f} times the usual batch and no more demand.",
        phase="decode", replicas=names, evidence=evidence,
    )  # fmt: skip


# --- below -------------------------------------------------------------------------------------


def _rollout(names: tuple[str, ...], evidence: tuple[Evidence, ...], how: str) -> Finding:
    return Finding(
        "bad-rollout", "What was rolled out is worse than what it replaced",
        f"{listed(names)}, which joined lately, {how}.",
        phase="decode", replicas=names, evidence=evidence,
    )  # fmt: skip


def _pressed(facts: Facts) -> list[Machine]:
    return [
        m
        for m in facts.serving
        if m.preempted.rose(2.0, 0.05, blank=True)
        or (m.kv.now >= FULL and m.kv.usual < FULL - 0.05)
        or (m.kv.now >= TIGHT and m.kv.ratio >= 1.4 and _evicts(facts))
    ]


def _evicts(facts: Facts) -> bool:
    """Whether caches have lost what routing still believes to be there."""
    return facts.believed.ratio - facts.hits.ratio >= 0.25


def _often(m: Machine, facts: Facts) -> bool:
    """Whether it failed more often than chance would have it: a single error is nobody's fault."""
    count = facts.lens.total(facts.lens.focus, "r_failed", m.name) * facts.lens.focus.seconds
    usual = m.failed.usual if known(m.failed.usual) else 0.0
    expected = usual * m.sent.now * facts.lens.focus.seconds if known(m.sent.now) else 0.0
    return count >= max(OFTEN, expected + 3.0 * math.sqrt(expected))


def _far(m: Machine) -> bool:
    probes = m.check.rose(2.0, NETWORK_S)
    beyond = m.network.more >= NETWORK_S / 2 or not known(m.network.now)
    return probes and beyond


def _lags(m: Machine, excess: dict[str, float], bounds: tuple[float, float]) -> bool:
    """Slower than its work explains, and than its peers are; clients must have felt it, too."""
    apart, agrees = bounds
    own = excess.get(m.name, 1.0)
    if m.pace.more < SURE * m.pace.error:
        return False
    if known(m.prefill.usual) and m.prefill.ratio < ALIKE and _apart(m, excess) < BARE:
        return False  # a busy one: what slows an engine slows its prompts as well
    felt = m.paced >= ENOUGH and known(m.itl.usual)
    if felt and not _agrees(m, agrees, _apart(m, excess)):
        return False
    if not felt:
        apart *= UNFELT
    return own >= SLOWER and _apart(m, excess) >= apart


def _agrees(m: Machine, least: float, apart: float) -> bool:
    """
    Whether clients saw it, too. What they saw is the median pause of a stream, which a replica that
    stops for a moment again and again hardly moves.
    """
    if m.itl.more < SURE * m.itl.error:
        return False
    return m.itl.ratio >= (FELT if apart >= FAR_OFF else least)


def _worse(m: Machine, excess: dict[str, float], serving: Sequence[Machine]) -> bool:
    """
    A replica that joined lately has no usual, and a cold cache: it is compared with what older
    ones usually take, and its clients must have felt it; while none of them knows yet, it must be
    far off.
    """
    usual = [o.itl.usual for o in serving if not o.new and known(o.itl.usual)]
    if m.paced >= ENOUGH and usual:
        return _apart(m, excess) >= ALONE and m.itl.now >= AGREES_ALONE * median(usual)
    return _apart(m, excess) >= NEWCOMER


def _apart(m: Machine, excess: dict[str, float]) -> float:
    """How much slower than the faster half of its peers, the work of each set aside."""
    others = sorted(value for name, value in excess.items() if name != m.name)
    fast = others[: max(1, (len(others) + 1) // 2)]
    return excess.get(m.name, 1.0) / max(1.0, median(fast)) if fast else 1.0


def _number(name: str, what: str, now: float, unit: str, promql: str) -> Evidence:
    return fact(f"{what} {name}".strip(), Seen(now, float("nan"), 0.0, 0.0), unit, promql)


def _verb(names: Sequence[object], one: str, more: str) -> str:
    return one if len(names) == 1 else more
