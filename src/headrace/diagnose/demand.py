"""
The rows of the decision table about what is asked for: more, longer, again and again, refused.
What a single tenant asks for is tenants.py's. Pure.
"""

from headrace.diagnose.facts import (
    FAILED,
    GONE,
    LATE,
    LIMITED,
    SHARE,
    SLOW,
    UNKNOWN_CALLER,
    WRONG,
    Facts,
)
from headrace.diagnose.finding import Finding, Verdict, fact, listed, mean, rate
from headrace.diagnose.lens import NAN, Span
from headrace.diagnose.snapshot import known
from headrace.diagnose.tenants import MORE, lasting, source, wordy

# Times as many requests run as their pace explains: by Little's law they have more tokens to make.
CROWD = 1.08
LONGER = 1.35  # times the usual prompt or answer
SEVERAL = 30.0  # requests, of which a mean is no chance where sizes have long tails
PLAINLY = 1.6  # the same while nobody feels it
IDLE = 0.7  # of what replicas could hold: there is room
STORM = 0.12  # of requests given up, failed or refused, that come again


def storm(facts: Facts) -> Verdict:
    """More requests because others were not answered."""
    lost = facts.share((*GONE, *FAILED, *LATE))
    refused = facts.lens.level("retries_refused")
    attempts = facts.lens.seen(
        lambda span: facts.lens.ratio(span, "attempts", "queue_n", facts.model)
    )
    more = facts.offered.rose(1.15, 0.3)
    if not lost.rose(2.0, STORM, blank=True) or not (more or refused.rose(2.0, 0.2)):
        return "not more requests come because others fail"
    if facts.lens.level("replicas", facts.model).now < 0.5:
        return "no replica serves: that comes first"
    if (
        facts.first.ratio < SLOW
        and not facts.late
        and not facts.share((*FAILED, *LATE)).rose(2.0, STORM, blank=True)
    ):
        return "answers are on time: clients do not leave because they wait"
    return Finding(
        "retry-storm", "Requests that got no answer come again",
        f"{lost.now:.0%} of requests end without an answer, and {facts.offered.ratio:.1f} times as"
        " many come as usual.",
        phase="queue",
        evidence=(
            fact("requests", facts.offered, "/s", rate("ended")),
            fact("ended without an answer", lost, "share", rate("ended", outcome="client_gone")),
            fact("attempts of a request", attempts, "", rate("attempts")),
            fact("retries refused by the budget", refused, "/s", rate("retries_refused")),
        ),
    )  # fmt: skip


def prompts(facts: Facts) -> Verdict:
    """Prompts have become longer."""
    if facts.lens.level("replicas", facts.model).now < 0.5:
        return "no replica serves: what still ends says nothing of prompts"
    lens = facts.lens
    come = lens.quotient("e_prompt", "e_first_n", None)  # known before the first of them ends
    longer = facts.prompt.rose(LONGER, 100.0)
    sooner = come.rose(LONGER, 100.0) and facts.prompt.ratio > 1.0
    if not longer and not (sooner and facts.symptoms):
        return _wordy(facts)
    many = lens.total(lens.focus, "input_n", facts.model) * lens.focus.seconds >= SEVERAL
    if not facts.symptoms and not (many and facts.prompt.rose(PLAINLY, 100.0)):
        return "prompts are a little longer, and nobody feels it"
    return Finding(
        "long-prompts", "Prompts have become longer",
        f"A prompt has {facts.prompt.now:,.0f} tokens, {facts.prompt.ratio:.1f} times the usual."
        if longer else f"Prompts that begin have {come.ratio:.1f} times the usual tokens.",
        phase="prefill",
        evidence=(
            fact("prompt tokens of a request", facts.prompt, "", mean("input")),
            fact("prompt tokens of a request that begins", come, "",
                 f"{rate('e_prompt')} / {rate('e_first_n')}"),
            fact("requests", facts.offered, "/s", rate("ended")),
            fact("time to first token", facts.first, "s", mean("ttft")),
        ),
    )  # fmt: skip


def answers(facts: Facts) -> Verdict:
    """Answers have become longer; those that run show it before the first of them ends."""
    # While replicas do nothing, only the longest answers still end: they are no longer than usual.
    longer = facts.output.rose(LONGER, 30.0) and facts.crowd >= IDLE
    lens = facts.lens
    flow = lens.seen(lambda span: _flow(facts, span))
    more = facts.offered.rose(1.2, 0.2)
    ended = lens.total(lens.focus, "ended", facts.model, "completed") * lens.focus.seconds
    sooner = flow.rose(LONGER, 30.0) and not more and facts.crowd >= CROWD and ended >= SEVERAL
    if not longer and not sooner:
        return _lasting(facts)
    return Finding(
        "long-outputs", "Answers have become longer",
        f"An answer has {facts.output.now:,.0f} tokens, {facts.output.ratio:.1f} times the usual."
        if longer else "Requests run longer and make more tokens, and fewer of them end.",
        phase="decode",
        evidence=(
            fact("tokens of an answer", facts.output, "", mean("output")),
            fact("tokens that engines make for each that ends", flow, "",
                 f"{rate('e_made')} / {rate('ended', outcome='completed')}"),
            fact("requests that run", facts.active, "", rate("active")),
            fact("requests", facts.offered, "/s", rate("ended")),
        ),
    )  # fmt: skip


def starting(facts: Facts) -> Verdict:
    """Requests wait for a replica that is on its way, or that nobody starts."""
    lens = facts.lens
    coming = [name for name in lens.names("r_coming") if lens.last("r_coming", name) >= 1]
    away = [
        name for name in lens.names("away")
        if lens.last("away", name, "starting") >= 1 or lens.last("away", name, "off") >= 1
    ]  # fmt: skip
    replicas = lens.level("replicas", facts.model)
    none = replicas.now < 0.5
    if not coming and not away and not none:
        return "no replica is on its way"
    if not facts.waiting.now >= 1 and not facts.symptoms:
        return "nobody waits for the replicas that are on their way"
    names = (*coming, *away)
    return Finding(
        "cold-start", "Requests wait for replicas that are still starting",
        f"{facts.waiting.now:.0f} requests wait; {listed(names) if names else 'no replica'}"
        f" {'is' if len(names) < 2 else 'are'} on the way.",
        phase="queue", replicas=names,
        evidence=(
            fact("requests without a place", facts.waiting, "", rate("waiting")),
            fact("requests that wait for a first replica", lens.level("held", facts.model), "",
                 rate("held")),
            fact("replicas that serve", replicas, "", rate("replicas")),
            fact("requests", facts.offered, "/s", rate("ended")),
        ),
    )  # fmt: skip


def saturated(facts: Facts) -> Verdict:
    """More is asked for than the fleet can do, by everybody."""
    lens = facts.lens
    replicas = lens.level("replicas", facts.model)
    more = facts.demand.rose(MORE, 0.0) or facts.offered.rose(1.2, 0.2)
    fewer = replicas.now < replicas.usual - 0.3
    busy = facts.waiting.now >= 1 or facts.usual_of("queued") >= 1 or facts.usual_of("kv") > IDLE
    crowded = facts.active.rose(1.5, 3.0)
    if not more and not fewer:
        return "no more is asked for than usual, of as many replicas"
    if facts.weak:
        return "engines are slower than their work explains: that comes first"
    if not busy and not (crowded and facts.plain):
        return "replicas have room"
    cause = "there are fewer replicas" if fewer and not more else "more is asked for"
    return Finding(
        "capacity", "The fleet is full",
        f"{cause.capitalize()} than usual, and {facts.waiting.now:.0f} requests wait for a place.",
        phase="queue",
        evidence=(
            fact("requests", facts.offered, "/s", rate("ended")),
            fact("tokens asked for", facts.demand, "/s", f"{rate('tokens', kind='input')}"),
            fact("requests without a place", facts.waiting, "", rate("waiting")),
            fact("requests that run", facts.active, "", rate("active")),
            fact("replicas that serve", replicas, "", rate("replicas")),
        ),
    )  # fmt: skip


def tight(facts: Facts) -> Verdict:
    """Limits refuse what the fleet has room for."""
    limits = facts.share(LIMITED)
    if not limits.rose(2.0, SHARE, blank=True):
        return "limits refuse no more than usual"
    room = not facts.waiting.now >= 2
    names = facts.reasons(LIMITED, facts.model)
    tenants = source(facts, LIMITED)
    return Finding(
        "admission-tight", "Limits refuse requests",
        f"{limits.now:.0%} of requests are refused by limits"
        + (f" ({listed(names)})" if names else "")
        + (", while replicas have room." if room else "."),
        phase="gateway", tenants=tenants,
        evidence=(
            fact("refused by limits", limits, "share",
                 f"{rate('ended', outcome=names[0] if names else '')} / {rate('ended')}"),
            fact("requests without a place", facts.waiting, "", rate("waiting")),
            fact("requests that run", facts.active, "", rate("active")),
        ),
    )  # fmt: skip


def strangers(facts: Facts) -> Verdict:
    """Requests without a known caller."""
    return _refusals(
        facts, UNKNOWN_CALLER, "auth-failures", "Callers are not known",
        "are refused, since nobody knows the caller or it may not do this",
    )  # fmt: skip


def nameless(facts: Facts) -> Verdict:
    """Requests for a model that is not there."""
    return _refusals(
        facts, ("rejected_model",), "unknown-model", "A model is asked for that is not there",
        "ask for a model that is not declared",
    )  # fmt: skip


def wrong(facts: Facts) -> Verdict:
    """Requests that are refused for what is in them."""
    return _refusals(
        facts, WRONG, "bad-requests", "Requests are wrong",
        "are refused for what is in them, by the gateway or by an engine",
    )  # fmt: skip


def aborted(facts: Facts) -> Verdict:
    """Clients hang up although answers are as fast as usual."""
    left = facts.share(GONE)
    if not left.rose(2.0, SHARE, blank=True):
        return "clients hang up no more than usual"
    if facts.late:
        return "clients hang up because answers are slow"
    tenants = source(facts, GONE)
    return Finding(
        "client-aborts", "Clients hang up on answers that are on time",
        f"{left.now:.0%} of requests are given up by their clients.",
        phase="client", tenants=tenants,
        evidence=(
            fact("given up", left, "share", rate("ended", outcome="client_gone")),
            fact("time to first token", facts.first, "s", mean("ttft")),
        ),
    )  # fmt: skip


def vanished(facts: Facts) -> Verdict:
    """Requests do not come any more."""
    offered = facts.offered
    lens = facts.lens
    if not offered.usual * lens.focus.seconds >= 10 or not offered.fell(0.1, 0.2):
        return "requests come"
    return Finding(
        "traffic-drop", "Requests do not come any more",
        f"{offered.now:.1f} requests come per second, usually {offered.usual:.1f}: look before the"
        " gateway (clients, DNS, load balancer, edge).",
        phase="client",
        evidence=(
            fact("requests", offered, "/s", rate("ended")),
            fact("client connections", lens.level("connections"), "", rate("connections")),
        ),
    )  # fmt: skip


# --- below -------------------------------------------------------------------------------------


def _refusals(
    facts: Facts, outcomes: tuple[str, ...], name: str, title: str, words: str
) -> Verdict:
    share = facts.share(outcomes, None)
    if not share.rose(2.0, SHARE, blank=True):
        return f"not more requests than usual {words}"
    tenants = source(facts, outcomes)
    reasons = facts.reasons(outcomes, None)
    return Finding(
        name, title, f"{share.now:.0%} of requests {words}.", phase="gateway", tenants=tenants,
        evidence=(
            fact("refused", share, "share",
                 f"{rate('ended', outcome=reasons[0] if reasons else '')} / {rate('ended')}"),
        ),
    )  # fmt: skip


def _wordy(facts: Facts) -> Verdict:
    found = wordy(facts) if facts.symptoms else None
    if found is None:
        return "prompts are as long as usual"
    tenant, seen = found
    return Finding(
        "long-prompts", "Prompts of one tenant have become longer",
        f"A prompt of {tenant} has {seen.now:,.0f} tokens, {seen.ratio:.1f} times the usual; those"
        " of others have not.",
        phase="prefill", tenants=(tenant,),
        evidence=(
            fact(f"prompt tokens of a request of {tenant}", seen, "",
                 f"{rate('t_tokens', tenant=tenant, kind='input')}"
                 f" / {rate('t_ended', tenant=tenant)}"),
            fact("prompt tokens of a request", facts.prompt, "", mean("input")),
            fact("time to first token", facts.first, "s", mean("ttft")),
        ),
    )  # fmt: skip


def _lasting(facts: Facts) -> Verdict:
    found = lasting(facts)
    if found is None or facts.late:
        return "answers are as long as usual"
    tenant, stay, runs = found
    return Finding(
        "long-outputs", "Answers of one tenant have become longer",
        f"Requests of {tenant} run {stay.ratio:.1f} times as long as usual, those of others do not,"
        " and first tokens are on time.",
        phase="decode", tenants=(tenant,),
        evidence=(
            fact(f"requests of {tenant} that run", runs, "", rate("t_active", tenant=tenant)),
            fact("seconds that each of them runs", stay, "s",
                 f"{rate('t_active', tenant=tenant)} / {rate('t_ended', tenant=tenant)}"),
            fact("time to first token", facts.first, "s", mean("ttft")),
        ),
    )  # fmt: skip


def _flow(facts: Facts, span: Span) -> float:
    """
    Tokens that engines make for each request that ends: longer answers show here before the first
    of them has ended.
    """
    made = [facts.lens.total(span, "e_made", m.name) for m in facts.machines]
    ended = facts.lens.total(span, "ended", facts.model, "completed")
    found = [value for value in made if known(value)]
    return sum(found) / ended if found and ended > 0 else NAN
