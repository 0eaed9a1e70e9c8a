"""
The decision table: causes in the order in which they are looked for, and ``diagnose``, which walks
it. docs/diagnosis.md is held to this table. Pure: no clock, no I/O.

The order is that of causes. What is broken by itself comes before what is only full: a stuck
replica fills the others, a slow state makes everybody wait. Then what is asked for, then what the
fleet does with it. A row is looked at when users feel something; those that are ``always`` looked
at are wrong whether or not somebody feels it yet.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from headrace.diagnose import (
    aside,
    caches,
    demand,
    engines,
    inner,
    machines,
    network,
    place,
    tenants,
)
from headrace.diagnose.facts import Facts
from headrace.diagnose.finding import Cleared, Diagnosis, Finding, Verdict
from headrace.diagnose.lens import Lens, focus_s
from headrace.diagnose.snapshot import Snapshot

MANY = 12  # stretches that must be known to be the usual of the past


class Row(NamedTuple):
    """One cause: how it is told, what to do first, and whether it needs no symptom."""

    name: str
    when: str
    test: Callable[[Facts], Verdict]
    advice: str
    always: bool = False


def _rollout(facts: Facts) -> Verdict:
    """The findings about replicas tell by themselves when all of them are new."""
    for test in (machines.failing, machines.slow, caches.unwarmed):
        verdict = test(facts)
        if isinstance(verdict, Finding) and verdict.name == "bad-rollout":
            return verdict
    return "replicas that joined lately are as good as the others"


TABLE = (
    Row("replica-down", "it fails its health checks",
        machines.gone,
        "Look at its process and its node; start it again, or remove it from the fleet.",
        always=True),
    Row("stuck-replica",
        "it has requests and no byte, token or counter of it moves for 5 s, or it is set"
        " aside for that",
        aside.stuck,
        "Restart its engine: `headrace fleet drain` it, look at its GPU (Xid, ECC, NCCL)"
        " before it returns.",
        always=True),
    Row("gateway-saturated", "its event loop is 20 ms late on average, three times the usual",
        inner.busy,
        "Add gateways, or give this one a core of its own; look for what else runs in it.",
        always=True),
    Row("state-slow",
        "operations of the shared state take 5 ms more and 2.5 times the usual, fail, or it"
        " is down",
        inner.state,
        "Look at Redis: its CPU, its slow log, and the way to it.", always=True),
    Row("guard-slow", "a look of a guard takes 50 ms more and 2.5 times the usual",
        inner.guards,
        "Look at what the guard asks: its endpoint, its workers; or let it look beside.",
        always=True),
    Row("classifier-slow",
        "a judgement takes 30 ms more and 2.5 times the usual, or 10 % more of requests are not"
        " judged",
        inner.classifier,
        "Look at the embeddings endpoint; requests go on with the default class meanwhile.",
        always=True),
    Row("clock-skew", "a clock has moved by 5 s against ours, or ours against all",
        inner.clock,
        "Look at NTP on that machine (`chronyc tracking`); then at refused tokens.", always=True),
    Row("bad-rollout",
        "all replicas that fail or are slow joined after the usual was taken, and older ones"
        " are well; or caches of those that joined stay 0.7 times as useful as usual",
        _rollout,
        "Roll back; compare versions and flags of the new replicas with the old ones.",
        always=True),
    Row("upstream-errors",
        "a replica fails 3 % more of its requests than usual, twice as many, and more than chance"
        " explains, or is set aside for it",
        aside.failing,
        "Read the engine's log for the first error; drain the replica if it is one.",
        always=True),
    Row("network-latency",
        "probes of a replica take 30 ms more and twice as long, its first bytes too, its"
        " engine does not; or one probe is late and first bytes come 60 ms later than engines say",
        network.far,
        "Measure the way to it (ping, MTU, retransmits, DNS, a proxy between).",
        always=True),
    Row("slow-replica",
        "its time per token is 1.35 times that of its peers, each by what its work explains, five"
        " times as far as chance takes any of them, and its clients felt it; or a"
        " token of a prompt takes twice as long there alone",
        machines.slow,
        "Drain it and look at its GPU: clocks, temperature, power cap, a neighbour on the"
        " same GPU.",
        always=True),
    Row("empty-answers",
        "answers of a replica have 0.55 times the usual tokens, or all of them 0.65 times, without"
        " those of new tenants who ask for less",
        engines.empty,
        "Ask the replica directly; look at its chat template, its stop tokens, its weights.",
        always=True),
    Row("slow-clients", "a tenth of running requests have clients that do not read",
        inner.readers,
        "Look at the clients' network and code; answers wait in their sockets, engines are"
        " not the cause.",
        always=True),
    Row("unknown-model", "3 % more of requests name a model that is not declared",
        demand.nameless,
        "Declare the model or an alias for it, or tell the clients.", always=True),
    Row("auth-failures", "3 % more of requests have no known caller",
        demand.strangers,
        "See whether a key was revoked or has expired, or an issuer's keys changed.",
        always=True),
    Row("tenant-errors",
        "a fifth more of one tenant's requests are wrong, and 90 % of such requests are its own",
        tenants.errors,
        "Tell the tenant; its log lines name the error.", always=True),
    Row("bad-requests", "3 % more of requests are refused for what is in them",
        demand.wrong,
        "Look at the error in the log; a client has changed, or an engine refuses a"
        " parameter.",
        always=True),
    Row("traffic-drop", "less than a tenth of the usual requests come",
        demand.vanished,
        "Look before the gateway: clients, DNS, load balancer, edge, certificates.",
        always=True),
    Row("tenant-limited",
        "limits refuse a fifth more of one tenant's requests, and of nobody else's",
        tenants.limited,
        "See what the tenant does (`headrace limits show`); raise its limit, or leave it.",
        always=True),
    Row("admission-tight", "limits refuse 3 % more of requests",
        demand.tight,
        "Raise the limit that refuses, or tell the tenant; `headrace limits show` names it.",
        always=True),
    Row("lora-thrash", "adapters wait while a batch has as many as it may",
        engines.adapters,
        "Raise --max-loras, or send each adapter to replicas of its own."),
    Row("narrow-batches",
        "requests wait at engines that always run the same number, fewer than they did, with room"
        " in the KV cache",
        engines.narrow,
        "Compare --max-num-seqs with what it was, and raise it."),
    Row("discovery-loss",
        "three tenths of replicas have left without a failed probe, and it is felt",
        engines.undiscovered,
        "Look at what tells of replicas: DNS records, the selector of pods, the file.",
        always=True),
    Row("retry-storm", "12 % more of requests end without an answer, and more come than usual",
        demand.storm,
        "Break the loop: fewer retries with backoff at the client, shed early; then the"
        " cause below."),
    Row("noisy-tenant",
        "demand is 1.25 times the usual, and one tenant brings half of what came on top, and more"
        " than tenants do by chance",
        tenants.noisy,
        "Limit the tenant, give it a lower class or weight; see `headrace usage --by"
        " tenant`."),
    Row("hot-spot",
        "one replica is sent 1.8 times its usual part, and has three times the requests of the"
        " others",
        machines.uneven,
        "See what pins requests: sessions, stored responses, one prefix that all share."),
    Row("long-prompts",
        "prompts have 1.35 times the usual tokens and it is felt, or 1.6 times; or those of one"
        " tenant have twice as many, and it is felt",
        demand.prompts,
        "See who sends them; cap prompt sizes, or send them to replicas of their own by a"
        " rule.",
        always=True),
    Row("long-outputs",
        "answers have 1.35 times the usual tokens, or more tokens are made while fewer"
        " requests end, or those of one tenant run 1.5 times as long as those of others",
        demand.answers,
        "See who asks for them; cap max_tokens, or send them elsewhere by a rule.",
        always=True),
    Row("cold-start", "requests wait while replicas start, or while there is none",
        demand.starting,
        "Wait for them, or keep one more warm: minimum replicas, sleep instead of stop."),
    Row("kv-exhausted",
        "caches are full or preempt, with no more demand, or a request takes 1.7 times as much of"
        " them",
        caches.full, "Give engines more KV memory, fewer sequences, or shorter contexts."),
    Row("cache-loss",
        "caches find three quarters or less of what they found, beyond what new prompts explain",
        caches.forgetful,
        "See what changed at the beginning of prompts, in routing, or in replicas' memory.",
        always=True),
    Row("slow-prefill",
        "on most engines a token of a prompt takes 1.8 times as long, and 1.5 times as much more"
        " as a token of an answer",
        engines.prefill,
        "Look at flags of prefill (chunk size, attention backend, prefix caching) and GPU clocks.",
        always=True),
    Row("slow-fleet",
        "most engines take 1.3 times as long per token with no more demand, or 1.35 times as long"
        " as their work explains",
        machines.slowed, "Look for what they share: power cap, driver, engine version, a flag.",
        always=True),
    Row("capacity",
        "more is asked for than usual or fewer replicas serve, and requests wait or crowd",
        demand.saturated, "Add replicas; until then shed the lowest class."),
    Row("client-aborts", "3 % more of clients hang up while answers are on time",
        demand.aborted,
        "Ask the clients: a time-out of theirs, a page that is left, a proxy between."),
    Row("ledger-slow", "the ledger is 15 s behind, or away",
        inner.ledger, "Look at its database; rows are kept on this disk meanwhile.", always=True),
    Row("stale-load-view", "an engine's metrics are 15 s old, three times the usual",
        inner.blind,
        "See whether its /metrics answers; routing goes on without it.", always=True),
)  # fmt: skip

LAST = {
    "unknown": "The evidence says in which phase and where; look there first.",
    "nothing": "",
    "no-data": "Ask again in some minutes, or set `diagnosis.prometheus`.",
}
RUNBOOK = "docs/runbooks/{}.md"
NAMES = (*(row.name for row in TABLE), *LAST)


def diagnose(
    snapshot: Snapshot,
    since_s: float,
    model: str | None = None,
    serves: Mapping[str, Sequence[str]] | None = None,
) -> Diagnosis:
    """
    What is wrong with a model, or with all together, in the last ``since_s`` of a snapshot.

    ``serves`` says which models each replica has; without it every replica counts for the model.
    """
    replicas = None
    if model is not None and serves:
        replicas = [name for name, models in serves.items() if model in models]
    lens = Lens(snapshot, since_s)
    found = now = _look(lens, model, replicas)
    if now.finding.name == "no-data":
        return now
    while found.healthy:
        lens = lens.before(lens.end_s - focus_s(lens.focus.grid))
        if len(lens.bases) < MANY or lens.end_s <= snapshot.at_s - since_s:
            return now
        found = _look(lens, model, replicas)
    return found


# --- below -------------------------------------------------------------------------------------


def _look(lens: Lens, model: str | None, replicas: Iterable[str] | None) -> Diagnosis:
    if lens.blind:
        text = "Too little is known yet: two minutes of history are needed."
        return _told(lens, model, _finding("no-data", "Too little is known", text), healthy=True)
    facts = Facts(lens, model, replicas)
    matched: list[Finding] = []
    cleared: list[Cleared] = []
    for row in TABLE:
        if not row.always and not facts.symptoms:
            continue
        verdict = row.test(facts)
        if isinstance(verdict, Finding):
            matched.append(_complete(verdict, row))
        else:
            cleared.append(Cleared(row.name, verdict))
    if matched:
        first, *also = matched
    elif facts.plain:
        first, also = (
            replace(
                place.unknown(facts), advice=LAST["unknown"], runbook=RUNBOOK.format("unknown")
            ),
            [],
        )
    else:
        return _well(lens, model, tuple(cleared))
    return replace(
        _told(lens, model, first, healthy=False),
        symptoms=facts.symptoms, also=tuple(also), ruled_out=tuple(cleared),
    )  # fmt: skip


def _complete(finding: Finding, row: Row) -> Finding:
    return replace(finding, advice=row.advice, runbook=RUNBOOK.format(finding.name))


def _well(lens: Lens, model: str | None, cleared: tuple[Cleared, ...] = ()) -> Diagnosis:
    finding = _finding("nothing", "Nothing is wrong", "Everything is as usual.")
    return replace(_told(lens, model, finding, healthy=True), ruled_out=cleared)


def _finding(name: str, title: str, summary: str) -> Finding:
    return Finding(name, title, summary, advice=LAST[name])


def _told(lens: Lens, model: str | None, finding: Finding, *, healthy: bool) -> Diagnosis:
    begin_s = lens.end_s - focus_s(lens.focus.grid)
    return Diagnosis(model or "", lens.snapshot.at_s, begin_s, lens.end_s, healthy, finding)
