"""
The rows of the decision table about what engines give and what is known of them: empty answers,
slow prefill, adapters without a place, replicas that nobody tells of any more. Pure.
"""

import math
from functools import partial
from statistics import median

from headrace.diagnose.facts import GONE, SHARE, Facts
from headrace.diagnose.finding import (
    Evidence,
    Finding,
    Verdict,
    fact,
    listed,
    mean,
    rate,
    rollout,
    verb,
)
from headrace.diagnose.lens import LEAST_STEPS, NAN, Lens, Seen, Span, steps
from headrace.diagnose.replica import Machine
from headrace.diagnose.snapshot import known
from headrace.diagnose.speed import STALLED

EMPTY, EMPTY_ALL = 0.55, 0.65  # of the usual tokens of an answer: of one replica, of all
TOKENS = 10.0  # that an answer has less
PILED = 1.1  # times as long as usual do requests run: they pile up
PREFILL = 1.8  # times as long for a token of a prompt
PREFILL_ONE = 2.0  # the same of one replica, beside its peers
PREFILL_NEW, PREFILL_FAR = 3.0, 6.0  # of one that has no usual of its own; told by a few prompts
PREFILL_S = 0.05  # longer to a first token
QUEUED = 1.0  # more requests that wait at an engine
ROOMY = 0.8  # share of a KV cache in use, below which there is room
STILL, MOSTLY = 0.05, 0.75  # a number that moves by so little, in so many steps, is a limit
ENOUGH, FEW = 8.0, 3.0  # in the focus, from which on their mean says something, or what is far off
LOST = 0.3  # of the fleet
CROWDED = 1.4  # times as many requests at each replica that is left


def empty(facts: Facts) -> Verdict:
    """Answers end before they have said anything."""
    if facts.share(GONE).rose(2.0, SHARE, blank=True):
        return "clients give up more than usual, which cuts their answers"
    lens = facts.lens
    whole = lens.quotient("e_made", "e_ended", None)
    new = _newcomers(facts, EMPTY_ALL * whole.usual)
    made = {m.name: _answers(facts, m.name, whole, new) for m in facts.serving}
    hit = [
        name for name, seen in made.items()
        if seen.fell(EMPTY, TOKENS)
        and lens.total(lens.focus, "e_ended", name) * lens.focus.seconds >= ENOUGH
    ]  # fmt: skip
    # All together are more than each alone; but while requests pile up only short answers end.
    output = _without(facts, facts.output, ("output_sum", "output_n", facts.model), new)
    everywhere = output.fell(EMPTY_ALL, TOKENS) and facts.stay.ratio < PILED
    if everywhere and len(hit) != 1:
        hit = [name for name, seen in made.items() if seen.ratio <= EMPTY_ALL]
    if not hit or (not everywhere and 2 * len(hit) > len(made)):
        return "answers have as many tokens as usual"
    everywhere = 2 * len(hit) > len(made)
    where = "every replica" if everywhere else listed(hit)
    return Finding(
        "empty-answers", "Answers are empty or end at once",
        f"An answer of {where} has {median([made[name].now for name in hit]):.0f} tokens, usually"
        f" {median([made[name].usual for name in hit]):.0f}.",
        phase="decode", replicas=tuple(hit),
        evidence=(
            *(fact(f"tokens of an answer of {name}", made[name], "",
                f"{rate('e_made', replica=name)} / {rate('e_ended', replica=name)}")
              for name in hit),
            fact("tokens of an answer, as clients got them", facts.output, "", mean("output")),
            fact("requests", facts.offered, "/s", rate("ended")),
        ),
    )  # fmt: skip


def prefill(facts: Facts) -> Verdict:
    """Prompts take longer to compute everywhere, tokens do not, beyond what waits for prompts."""
    if facts.changed:
        return "engines have other prompts than usual, or more of them"
    slower = [m for m in facts.serving if m.prefill.rose(PREFILL, 0.0)]
    felt = [m for m in slower if m.engine.more >= PREFILL_S]
    if not felt or 2 * len(slower) <= len(facts.serving):
        return "most engines compute prompts as fast as usual"
    times = median([m.prefill.ratio for m in slower])
    decode = median([decoding(facts, m.name).ratio for m in slower])
    if times < 1.5 * decode:
        return "tokens take as much longer as prompts: it is not prefill alone"
    names = tuple(m.name for m in slower)
    evidence: list[Evidence] = []
    for m in slower:
        evidence += [
            _per_prompt_token(m),
            fact(f"first token of {m.name}", m.engine, "s",
                 f"{rate('e_first_sum', replica=m.name)} / {rate('e_first_n', replica=m.name)}"),
        ]  # fmt: skip
    return Finding(
        "slow-prefill", "Prompts take longer to compute",
        f"A token of a prompt takes {times:.1f} times as long as usual, on {listed(names)}, while"
        " prompts are what they were.",
        phase="prefill", replicas=names, evidence=tuple(evidence),
    )  # fmt: skip


def late(facts: Facts) -> Verdict:
    """The prompts of some take far longer than those of their peers; tokens need not."""
    found = _late(facts)
    if not found:
        return "no replica is slower than its peers"
    names = tuple(m.name for m in found)
    evidence = [_per_prompt_token(m) for m in found]
    others = [m.prefill.now for m in facts.serving if m not in found and m.prefill.now > 0]
    usual = [m.prefill.usual for m in facts.serving if m.prefill.usual > 0]
    times = max(m.prefill.now for m in found) / median(others or usual)
    if all(m.new for m in found) and not all(m.new for m in facts.serving):
        how = f"take {times:.1f} times as long per token of a prompt as older ones"
        return rollout(names, evidence, how, "prefill")
    return Finding(
        "slow-replica", "A replica is slower than its peers",
        f"{listed(names)} {verb(names, 'takes', 'take')} {times:.1f} times as long per token of a"
        " prompt as the others.",
        phase="prefill", replicas=names, evidence=tuple(evidence),
    )  # fmt: skip


def adapters(facts: Facts) -> Verdict:
    """More adapters are asked for than fit into a batch."""
    lens = facts.lens
    hit = []
    for m in facts.serving:
        waiting = lens.level("e_lora_waiting", m.name)
        places = lens.last("e_lora_places", m.name)
        while_waiting = [
            lens.total(step, "e_lora", m.name)
            for step in steps(lens.focus)
            if lens.total(step, "e_lora_waiting", m.name) >= 1
        ]
        full = bool(while_waiting) and median(while_waiting) >= places - 0.5
        if waiting.rose(2.0, 0.5, blank=True) and full:
            hit.append((m.name, waiting))
    if not hit:
        return "every LoRA adapter that is asked for has a place"
    names = tuple(name for name, _ in hit)
    evidence: list[Evidence] = []
    for name, waiting in hit:
        evidence += [
            fact(f"adapters that wait at {name}", waiting, "",
                 rate("e_lora_waiting", replica=name)),
            fact(f"adapters in the batch of {name}", lens.level("e_lora", name), "",
                 rate("e_lora", replica=name)),
        ]  # fmt: skip
    return Finding(
        "lora-thrash", "More LoRA adapters are asked for than fit",
        f"At {listed(names)} requests wait for a place of their adapter:"
        f" {max(waiting.now for _, waiting in hit):.0f} adapters wait at worst.",
        phase="engine queue", replicas=names, evidence=tuple(evidence),
    )  # fmt: skip


def narrow(facts: Facts) -> Verdict:
    """Requests wait at engines that run fewer than they could, and have room for more."""
    most = max((m.running.high for m in facts.serving if known(m.running.high)), default=0.0)
    hit = {m.name: ceiling for m in facts.serving if (ceiling := _ceiling(facts, m)) < most}
    if not hit:
        return "engines at which requests wait run as many as they ever did, or have no room"
    found = [m for m in facts.serving if m.name in hit]
    evidence: list[Evidence] = []
    for m in found:
        evidence += [
            fact(f"requests in the batch of {m.name}", m.running, "",
                 rate("e_running", replica=m.name)),
            fact(f"requests that wait at {m.name}", m.queued, "",
                 rate("e_waiting", replica=m.name)),
            fact(f"KV cache of {m.name}", m.kv, "share", rate("e_kv", replica=m.name)),
        ]  # fmt: skip
    return Finding(
        "narrow-batches", "Engines run fewer requests at once than they could",
        f"At {listed([*hit])} requests wait while never more than {max(hit.values()):.0f} run, and"
        " the KV cache has room.",
        phase="engine queue", replicas=tuple(hit), evidence=tuple(evidence),
    )  # fmt: skip


def undiscovered(facts: Facts) -> Verdict:
    """Replicas have left that nobody found unwell, and those that stayed have too much to do."""
    lens = facts.lens
    replicas = lens.level("replicas", facts.model)
    now = lens.last("replicas", facts.model)
    lost = replicas.usual - now
    if not lost >= max(0.9, LOST * replicas.usual):
        return "as many replicas serve as usual"
    coming = [name for name in lens.names("r_coming") if lens.last("r_coming", name) >= 1]
    away = [name for name in lens.names("away") if lens.last("away", name) >= 1]
    if coming or away:
        return "replicas are on their way, or set aside by their supervisor"
    gone = tuple(name for name in lens.names("r_ready") if _left(facts, name))
    if len(gone) < lost - 0.5:
        return "replicas that are missing were found unwell"
    each = lens.seen(lambda span: _per_replica(facts, span))
    if not facts.symptoms and not each.rose(CROWDED, 1.0):
        return "fewer replicas serve, and nobody feels it"
    return Finding(
        "discovery-loss", "Replicas are not in the fleet any more, though they were well",
        f"{listed(gone)} left without a failed probe; {now:.0f} of {replicas.usual:.0f} replicas"
        " serve.",
        phase="queue", replicas=gone,
        evidence=(
            fact("replicas that serve", replicas, "", rate("replicas")),
            fact("requests at each of them", each, "",
                 f"{rate('active')} / {rate('replicas')}"),
            *(fact(f"failed health checks of {name}", lens.level("r_unwell", name), "/s",
                rate("r_unwell", replica=name)) for name in gone),
        ),
    )  # fmt: skip


def decoding(facts: Facts, name: str) -> Seen:
    """Seconds for a token of a running request, without the time in which prompts are computed."""
    lens = facts.lens

    def measure(span: Span) -> float:
        pace = lens.ratio(span, "e_running", "e_made", name)
        each = lens.ratio(span, "e_prefill_sum", "e_ended", name)
        stalled = lens.total(span, "e_first_n", name) * each
        return pace * (1.0 - min(STALLED, stalled)) if known(stalled) else pace

    return lens.seen(measure)


# --- below -------------------------------------------------------------------------------------


def _ceiling(facts: Facts, m: Machine) -> float:
    """
    How many requests it runs at most, when it runs always as many while others wait, and its cache
    has room; else infinite. A limit shows as a number that does not move.
    """
    lens = facts.lens
    if not m.queued.rose(2.0, QUEUED, blank=True) or not m.kv.now < ROOMY:
        return math.inf
    found = [
        lens.total(step, "e_running", m.name)
        for step in steps(lens.focus)
        if lens.total(step, "e_waiting", m.name) >= 1
    ]
    if len(found) < LEAST_STEPS:
        return math.inf
    most = max(found)
    still = sum(value >= most - max(0.5, STILL * most) for value in found)
    return most if still >= MOSTLY * len(found) else math.inf


def _per_prompt_token(m: Machine) -> Evidence:
    return fact(
        f"seconds for a token of a prompt at {m.name}", m.prefill, "s",
        f"{rate('e_prefill_sum', replica=m.name)} / ({rate('e_prompt', replica=m.name)}"
        f" - {rate('e_hits', replica=m.name)})",
    )  # fmt: skip


def _late(facts: Facts) -> list[Machine]:
    """
    Replicas whose prompts take far longer than those of their peers, each by its own usual; one
    that has joined lately by that of older ones.
    """
    if facts.changed or len(facts.serving) < 2:
        return []
    ratios = {m.name: m.prefill.ratio for m in facts.serving}
    least = PREFILL_ONE * max(1.0, median(sorted(ratios.values())[: (len(ratios) + 1) // 2]))
    found = [
        m for m in facts.serving
        if m.prefill.rose(PREFILL_ONE, 0.0) and m.engine.more >= 2 * PREFILL_S
        and ratios[m.name] >= least
    ]  # fmt: skip
    old = [m for m in facts.serving if m.prefill.usual > 0 and known(m.engine.usual)]
    if not old:
        return found
    usual = median([m.prefill.usual for m in old])
    begun = median([m.engine.usual for m in old]) + 2 * PREFILL_S
    for m in facts.serving:
        first = facts.lens.total(facts.lens.focus, "e_first_n", m.name) * facts.lens.focus.seconds
        far = m.prefill.now >= PREFILL_FAR * usual and first >= FEW  # routing spares what is slow
        slow = far or (m.prefill.now >= PREFILL_NEW * usual and first >= ENOUGH)
        if m.new and slow and m not in found and m.engine.now >= begun:
            found.append(m)
    return found


def _answers(facts: Facts, name: str, whole: Seen, new: tuple[float, float]) -> Seen:
    """
    Tokens of a replica's answers beside those that all usually have: one that has just joined has
    ended only short ones, and has no usual of its own.
    """
    own = facts.lens.quotient("e_made", "e_ended", name)
    own = _without(facts, own, ("e_made", "e_ended", name), new)
    return whole._replace(now=own.now, error=max(own.error, whole.error))


def _newcomers(facts: Facts, short: float) -> tuple[float, float]:
    """
    Tokens and answers per second of tenants whom nobody knew, and whose answers have fewer tokens:
    who asks for a word each second, to see whether we are there, cuts no answers of others.
    """
    lens, made, ended = facts.lens, 0.0, 0.0
    for tenant in lens.names("t_ended"):
        answers = lens.seen(partial(_ended, lens, tenant))
        tokens = lens.total(lens.focus, "t_tokens", tenant, "output")
        if answers.usual <= 0 < tokens < short * answers.now:
            made, ended = made + tokens, ended + answers.now
    return made, ended


def _ended(lens: Lens, tenant: str, span: Span) -> float:
    """A tenant's answers per second; before it came there were none."""
    ended = lens.total(span, "t_ended", tenant, "completed")
    return ended if known(ended) else 0.0


def _without(
    facts: Facts, seen: Seen, of: tuple[str, str, str | None], new: tuple[float, float]
) -> Seen:
    """The mean of one series over another, if all that is new is in it and set aside."""
    lens, (above, below, label) = facts.lens, of
    if not new[1]:
        return seen
    answers = lens.total(lens.focus, below, label) - new[1]
    tokens = lens.total(lens.focus, above, label) - new[0]
    enough = answers * lens.focus.seconds >= ENOUGH
    return seen._replace(now=tokens / answers if enough else NAN)


def _left(facts: Facts, name: str) -> bool:
    """Whether it was ready, is not in the fleet now, and nobody found it unwell."""
    lens = facts.lens
    was, now = lens.level("r_ready", name).usual, lens.last("r_ready", name)
    if not was >= 0.5 or now >= 0.5:
        return False
    bad = [lens.total(lens.focus, "r_unwell", name), lens.total(lens.focus, "r_moves", name)]
    return not any(value > 0 for value in bad)


def _per_replica(facts: Facts, span: Span) -> float:
    replicas = facts.lens.total(span, "replicas", facts.model)
    return facts.lens.total(span, "active", facts.model, None) / replicas if replicas > 0 else NAN
