"""
The rows of the decision table about KV and prefix caches: full, or finding less than before. Pure.
"""

import math

from headrace.diagnose.facts import Facts
from headrace.diagnose.finding import Evidence, Finding, Verdict, fact, listed, rate, rollout, verb
from headrace.diagnose.lens import Span
from headrace.diagnose.replica import Machine
from headrace.diagnose.snapshot import known

LOST = (0.8, 0.12)  # of what caches found, whether or not somebody feels it yet
LATER, LATER_S = 1.5, 0.03  # times as long to a first token, and so much longer
BELIEVED = 0.04  # of the usual share, that routing expects beyond what is found
QUEUED, HALF = 0.5, 0.5  # requests that wait at an engine, and share in use that holds them up
TIGHT = 0.75  # share in use, of a cache that forgets what it should have
SQUEEZED = 1.7  # times as large a part of the cache for a request
MANY = 8.0  # requests, whose mean part of the cache says something
UNSHARED = 0.7  # of what routing believed to be cached: it knows that prompts have changed
COLD, WARMING = 0.7, 1.25  # of the usual share, that a cache does not reach; times what it found
AGREED = (
    2.0  # standard errors, where a cache is far behind and does not fill: it is the third witness
)
FULL = 0.93  # share of a KV cache in use, above which a batch does not grow


def full(facts: Facts) -> Verdict:
    """KV caches are full although nobody asks for more than usual."""
    more = facts.offered.rose(1.25, 0.3) or facts.demand.rose(1.25, 0.0)
    squeezed = [m for m in facts.serving if _squeezed(m, facts)]
    if more and not squeezed:
        return "more is asked for than usual: full caches are what comes of it"
    pressed = squeezed if more else _pressed(facts)
    pressed += [m for m in squeezed if m not in pressed]
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
        f"{listed(names)} {verb(names, 'has', 'have')} no room in the KV cache:"
        " requests wait or are put back.",
        phase="engine queue", replicas=names, evidence=tuple(evidence),
    )  # fmt: skip


def forgetful(facts: Facts) -> Verdict:
    """Prompts are computed again that were in a cache before."""
    lost = [m for m in facts.serving if m.hits.fell(0.75, 0.12)]
    felt = [m for m in lost if m.engine.rose(LATER, LATER_S)]
    if not facts.symptoms and not facts.hits.fell(*LOST) and not felt:
        return "nobody feels anything of caches"
    if any(m.new for m in facts.serving):
        return "replicas have joined lately, and have cold caches"
    if facts.offered.rose(1.25, 0.3) and facts.believed.ratio > UNSHARED / facts.offered.ratio:
        return "more is asked for than usual, and new prompts are in no cache"
    told = known(facts.hits.now)
    whole = facts.hits.fell(0.8, 0.1) if told else facts.cached.fell(0.75, 0.1)
    forgets = felt and facts.believed.ratio - facts.hits.ratio >= BELIEVED
    if not whole and not forgets and 2 * len(lost) <= len(facts.serving):
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


def unwarmed(facts: Facts) -> Verdict:
    """Replicas that joined lately do not come to know prompts, however many they have had."""
    old = [m for m in facts.serving if not m.new]
    found = [m for m in facts.serving if m.new and _stays_cold(m, facts)]
    if not found or not old:
        return "replicas that joined lately find as much in their caches as others did"
    names = tuple(m.name for m in found)
    evidence = [
        fact(f"prompt tokens found at {m.name}", facts.hits._replace(now=m.hits.now), "share",
             f"{rate('e_hits', replica=m.name)} / {rate('e_queries', replica=m.name)}")
        for m in found
    ]  # fmt: skip
    least = min(m.hits.now for m in found)
    how = (
        f"{verb(names, 'computes', 'compute')} prompts again and again: {least:.0%} are found in"
        f" the cache, usually {facts.hits.usual:.0%}"
    )
    return rollout(names, evidence, how, "prefill")


def pressed(m: Machine, facts: Facts) -> bool:
    """Whether its KV cache is full, preempts, or has forgotten what it should have."""
    return (
        m.preempted.rose(2.0, 0.05, blank=True)
        or (m.kv.now >= FULL and m.kv.usual < FULL - 0.05)
        or (m.kv.now >= TIGHT and m.kv.ratio >= 1.4 and _evicts(facts))
        or _squeezed(m, facts)
    )


# --- below -------------------------------------------------------------------------------------


def _stays_cold(m: Machine, facts: Facts) -> bool:
    """
    Whether a replica that has had requests for the whole focus finds far less than the fleet did,
    and no more at its end than before: a cache that is only cold fills by then.
    """
    lens, (grid, begin, end) = facts.lens, facts.lens.focus
    middle = (begin + end) // 2
    first, then = Span(grid, begin, middle), Span(grid, middle, end)
    if not lens.total(Span(grid, begin, begin + 1), "e_queries", m.name) >= 0:
        return False
    began, now = (lens.ratio(span, "e_hits", "e_queries", m.name) for span in (first, then))
    here = lens.total(then, "e_queries", m.name) * then.seconds
    whole = lens.total(lens.focus, "e_queries", None) * lens.focus.seconds
    usual = facts.hits.usual
    if not (known(began) and known(now) and here > 0 and known(usual)):
        return False
    error = facts.hits.error * math.sqrt(max(1.0, whole / here))
    return now <= COLD * usual and usual - now >= AGREED * error and now <= WARMING * began


def _pressed(facts: Facts) -> list[Machine]:
    return [m for m in facts.serving if pressed(m, facts)]


def _squeezed(m: Machine, facts: Facts) -> bool:
    """Whether the same requests take a larger part of its cache: the cache has become smaller."""
    each = facts.lens.quotient("e_kv", "e_running", m.name)
    waits = m.queued.rose(2.0, QUEUED, blank=True)  # the next prompt is larger than what is left
    if m.kv.now < (HALF if waits else TIGHT) or not each.rose(SQUEEZED, 0.0):
        return False
    longer = max(facts.prompt.ratio, facts.output.ratio, 1.0)
    enough = m.running.now >= MANY or m.queued.now >= 0.5
    return enough and each.ratio >= SQUEEZED * longer


def _evicts(facts: Facts) -> bool:
    """Whether caches have lost what routing still believes to be there."""
    return facts.believed.ratio - facts.hits.ratio >= 0.25
