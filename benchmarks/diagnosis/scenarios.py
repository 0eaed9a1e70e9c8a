"""
What goes wrong in the benchmark, each at three severities. Fleets in which nothing does are
controls.py's, and how single parts break is faults.py's where it takes more than a line.

A scenario changes a world at its onset. ``held`` scenarios are those that nobody looked at while
the table was made: they are for the final score only. On ``held`` workloads one severity is run.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import NamedTuple

from benchmarks.diagnosis import faults, mishaps, sealed, setbacks, troubles
from benchmarks.diagnosis.world import World
from headrace.engines.sim.presets import PRESETS
from headrace.simulate.synthetic import GENERATORS
from headrace.simulate.trace import Request

ONSET_S = 300.0
FOUND_S = 60.0  # within so long of its onset a fault must be named
END_S = ONSET_S + FOUND_S


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests of a kind, on a fleet of which they fill about half."""

    name: str
    kind: str
    preset: str
    replicas: int
    rate: float
    held: bool = False

    def world(self, seed: int, shape: "Shape | None" = None) -> World:
        """The fleet with its requests."""
        trace = GENERATORS[self.kind](self.rate, int(1.5 * self.rate * (END_S + 20)), seed)
        requests = [each for each in trace.requests if each.arrival_s < END_S + 5]
        if shape is not None:
            requests = shape(requests, Random(f"shape {seed}"))
        pairs = [(each, f"tenant-{each.session % 7}") for each in requests]
        return World(pairs, PRESETS[self.preset], self.replicas, trace.block_tokens, seed)


Shape = Callable[[list[Request], Random], list[Request]]

WORKLOADS = (
    Workload("chat", "chat", "l40s-8b", 4, 6.5),
    Workload("documents", "b2b", "h100-8b", 4, 7.0),
    Workload("agents", "agents", "a100-8b", 4, 6.0),
    Workload("chat, large fleet", "chat", "a100-8b", 8, 22.0, held=True),
    Workload("agents, slow GPUs", "agents", "l40s-8b", 6, 4.0, held=True),
)


class Scenario(NamedTuple):
    """``inject`` sets the fault off; ``severity`` is 0, 1 or 2. ``expected`` are right names."""

    name: str
    expected: tuple[str, ...]
    inject: Callable[[World, int], None]
    held: bool = False
    phase: str = ""  # that must be named, where the name alone says too little


def _one(world: World) -> int:
    return world.random.randrange(len(world.nodes))


def _slow_replica(world: World, severity: int) -> None:
    world.nodes[_one(world)].slow = (1.7, 2.5, 5.0)[severity]


def _stuck(world: World, severity: int) -> None:
    for node in world.nodes[: (1, 1, 2)[severity]]:
        node.hung = True
    world.stuck_detection = severity != 1


def _kv(world: World, severity: int) -> None:
    """Something else takes the cache's memory."""
    coming = [args[0] for _, _, call, args in world.events if call == world.arrive]
    coming += [ask.job.request for ask in world.asks.values()]
    largest = max(each.prompt_tokens + each.output_tokens for each in coming)
    for node in world.nodes:
        part = int(node.engine.used * (0.8, 0.6, 0.45)[severity])
        node.engine.capacity = max(part, largest + world.block_tokens)
        node.engine.idle.clear()


def _cache(world: World, severity: int) -> None:
    share = (0.5, 0.8, 1.0)[severity]
    random = world.random
    fresh = iter(range(1 << 50, 1 << 51))

    def salted(request: Request) -> Request:
        if random.random() >= share:
            return request
        return replace(request, blocks=tuple(next(fresh) for _ in request.blocks))

    world.reshape = salted


def _evictions(world: World, severity: int) -> None:
    for node in world.nodes[: max(1, len(world.nodes) * (2, 3, 4)[severity] // 4)]:
        node.forgetful = True


def _long_prompts(world: World, severity: int) -> None:
    factor = (1.8, 3.0, 5.0)[severity]
    fresh = iter(range(1 << 52, 1 << 53))

    def longer(request: Request) -> Request:
        tokens = min(60_000, int(request.prompt_tokens * factor))
        more = tokens // world.block_tokens - len(request.blocks)
        blocks = (*request.blocks, *(next(fresh) for _ in range(more)))
        return replace(request, prompt_tokens=tokens, blocks=blocks)

    world.reshape = longer


def _long_outputs(world: World, severity: int) -> None:
    factor = (1.8, 3.0, 5.0)[severity]
    world.reshape = lambda request: replace(
        request, output_tokens=max(2, int(request.output_tokens * factor))
    )


def _more(world: World, factor: float, tenant: str | None = None) -> None:
    """So many times the requests, copies of others' sizes with prompts of their own."""
    begin_s, until_s = world.now_s, END_S + 5
    sample = [args[0] for _, _, call, args in world.events if call == world.arrive]
    random = world.random
    fresh = iter(range(1 << 54, 1 << 55))
    rate = len(sample) / max(1.0, until_s - begin_s) * (factor - 1)
    at_s = begin_s
    while (at_s := at_s + random.expovariate(rate)) < until_s:
        like = random.choice(sample)
        begun = like.blocks[: len(like.blocks) // 3]  # they share a system prompt, and no more
        own = tuple(next(fresh) for _ in range(len(like.blocks) - len(begun)))
        request = replace(like, number=world.number(), arrival_s=at_s, blocks=(*begun, *own))
        world.at(at_s, world.arrive, request, tenant or f"tenant-{random.randrange(7)}")


def _capacity(world: World, severity: int) -> None:
    _more(world, (2.2, 3.0, 4.5)[severity])


def _noisy(world: World, severity: int) -> None:
    _more(world, (2.2, 3.0, 4.5)[severity], "tenant-3")


def _cold(world: World, severity: int) -> None:
    """Demand grows, and replicas are on their way."""
    _more(world, (2.5, 3.2, 4.0)[severity])
    for _ in range((1, 2, 2)[severity]):
        world.start(world.preset, 90.0)


def _zero(world: World, severity: int) -> None:
    """All replicas were stopped for idleness, and one is started for the requests that come."""
    for node in world.nodes:
        world.unseat(node, offer=True)
        world.board.moved(node, "gone")
    world.start(world.preset, (65.0, 80.0, 200.0)[severity])


def _storm(world: World, severity: int) -> None:
    """Clients have a short time-out and ask again, and a moment of slowness sets them off."""
    world.patience_s, world.impatient = (1.0, 0.8, 0.6)[severity], 1.0
    world.resend = (8, 8, 10)[severity]
    for node in world.nodes:
        node.slow = 20.0
    world.at(world.now_s + 15.0, _recover, world)


def _recover(world: World) -> None:
    for node in world.nodes:
        node.slow = 1.0


def _gateway(world: World, severity: int) -> None:
    world.late_s = (0.06, 0.2, 0.6)[severity]


def _network_one(world: World, severity: int) -> None:
    world.nodes[_one(world)].latency_s = (0.1, 0.3, 0.8)[severity]


def _network_all(world: World, severity: int) -> None:
    for node in world.nodes:
        node.latency_s = (0.08, 0.2, 0.5)[severity]


def _errors_one(world: World, severity: int) -> None:
    world.nodes[_one(world)].errors = (0.1, 0.3, 0.9)[severity]


def _errors_all(world: World, severity: int) -> None:
    for node in world.nodes:
        node.errors = (0.1, 0.3, 0.7)[severity]


def _tight(world: World, severity: int) -> None:
    world.refuse["rejected_rate"] = ((0.08, 0.3, 0.7)[severity], "")


def _state(world: World, severity: int) -> None:
    world.gate_s = world.state_s = (0.03, 0.15, 0.6)[severity]


def _ledger(world: World, severity: int) -> None:
    def fall_behind() -> None:
        world.ledger_lag_s += (0.7, 1.0, 1.0)[severity]
        world.at(world.now_s + 1.0, fall_behind)

    world.ledger_up = severity != 2
    fall_behind()


def _readers(world: World, severity: int) -> None:
    world.readers, world.reading_s = (0.25, 0.5, 0.9)[severity], 25.0


def _rollout(world: World, severity: int) -> None:
    """Some replicas are replaced, one after the other, by a slower version."""
    for index in range((1, 2, 2)[severity]):
        world.leave(world.nodes[index])
        world.join(world.preset, slow=(1.7, 2.5, 4.0)[severity])


def _rollout_errors(world: World, severity: int) -> None:
    for index in range((1, 1, 2)[severity]):
        world.leave(world.nodes[index])
        world.join(world.preset).errors = (0.15, 0.4, 0.8)[severity]


def _aborts(world: World, severity: int) -> None:
    world.patience_s, world.impatient = 0.02, (0.1, 0.3, 0.6)[severity]


def _model(world: World, severity: int) -> None:
    world.refuse["rejected_model"] = ((0.08, 0.3, 0.7)[severity], "")


def _auth(world: World, severity: int) -> None:
    world.refuse["rejected_unauthorized"] = ((0.5, 0.9, 1.0)[severity], "tenant-2")


def _bad(world: World, severity: int) -> None:
    world.refuse["rejected_upstream"] = ((0.08, 0.3, 0.7)[severity], "")


def _down(world: World, severity: int) -> None:
    for node in world.nodes[: (1, 1, 2)[severity]]:
        world.crash(node)


def _throttled(world: World, severity: int) -> None:
    for node in world.nodes:
        node.slow = (1.6, 2.2, 3.5)[severity]


def _drop(world: World, severity: int) -> None:
    share = (0.03, 0.01, 0.0)[severity]
    kept = [e for e in world.events if e[2] != world.arrive or world.random.random() < share]
    world.events[:] = sorted(kept)


def _state_down(world: World, severity: int) -> None:
    world.state_up = False
    world.gate_s = (0.0, 0.05, 0.3)[severity]


def _prefill(world: World, severity: int) -> None:
    """Only prompts take longer, everywhere; from ten times on a fleet does nothing else."""
    for node in world.nodes:
        node.prefill_slow = (2.5, 4.0, 7.0)[severity]


def _half(world: World, severity: int) -> None:
    for node in world.nodes[: len(world.nodes) // 2]:
        node.slow = (1.8, 2.5, 4.0)[severity]


def _jitter(world: World, severity: int) -> None:
    node = world.nodes[_one(world)]
    node.jitter_s = (0.4, 0.8, 2.0)[severity]


SCENARIOS = (
    Scenario("slow replica", ("slow-replica",), _slow_replica),
    Scenario("stuck GPU", ("stuck-replica",), _stuck),
    Scenario("KV cache shrunk", ("kv-exhausted",), _kv),
    Scenario("prefixes changed", ("cache-loss",), _cache),
    Scenario("long prompts", ("long-prompts",), _long_prompts),
    Scenario("long answers", ("long-outputs",), _long_outputs),
    Scenario("more demand", ("capacity",), _capacity),
    Scenario("noisy tenant", ("noisy-tenant",), _noisy),
    Scenario("scale-up too late", ("cold-start",), _cold),
    Scenario("retry storm", ("retry-storm",), _storm),
    Scenario("slow event loop", ("gateway-saturated",), _gateway),
    Scenario("network to one", ("network-latency",), _network_one),
    Scenario("errors of one", ("upstream-errors",), _errors_one),
    Scenario("errors of all", ("upstream-errors",), _errors_all),
    Scenario("limit too tight", ("admission-tight",), _tight),
    Scenario("slow Redis", ("state-slow",), _state),
    Scenario("slow ledger", ("ledger-slow",), _ledger),
    Scenario("slow readers", ("slow-clients",), _readers),
    Scenario("bad rollout, slow", ("bad-rollout",), _rollout),
    Scenario("client aborts", ("client-aborts",), _aborts),
    Scenario("unknown model", ("unknown-model",), _model),
    Scenario("replica down", ("replica-down",), _down),
    Scenario("all GPUs throttled", ("slow-fleet",), _throttled),
    Scenario("traffic gone", ("traffic-drop",), _drop),
    Scenario("bad rollout, errors", ("bad-rollout",), _rollout_errors),
    Scenario("network to all", ("network-latency",), _network_all),
    Scenario("network jitter to one", ("network-latency",), _jitter),
    Scenario("caches evicted", ("cache-loss",), _evictions),
    Scenario("a key revoked", ("auth-failures",), _auth),
    Scenario("engine refuses", ("bad-requests",), _bad),
    Scenario("Redis down", ("state-slow",), _state_down),
    Scenario("half of the fleet slow", ("slow-replica", "slow-fleet"), _half),
    Scenario("scaled to zero", ("cold-start",), _zero),
    Scenario("prefill slow everywhere", ("slow-prefill",), _prefill),
    Scenario("adapters thrash", ("lora-thrash",), faults.adapters),
    Scenario("clock of the gateway", ("clock-skew",), faults.clock),
    Scenario("requests of one tenant wrong", ("tenant-errors",), faults.tenant_errors),
    Scenario("limit of one tenant", ("tenant-limited",), faults.tenant_limit),
    Scenario("empty answers of one", ("empty-answers",), faults.empty_one),
    Scenario("replicas not discovered", ("discovery-loss",), faults.undiscovered),
    Scenario("slow guard", ("guard-slow",), faults.guard),
    Scenario("slow classifier", ("classifier-slow",), faults.classifier),
    Scenario("metrics unreadable", ("stale-load-view",), faults.unread),
    Scenario("prefill slow at one", ("slow-replica",), faults.prefill_one),
    Scenario("empty answers of all", ("empty-answers",), faults.empty_all),
    Scenario("slower and slower", ("slow-replica",), faults.creeping),
    Scenario("a replica comes and goes", ("replica-down", "upstream-errors"), faults.flapping),
    Scenario("answers cut off", ("upstream-errors",), faults.cut),
    Scenario("long prompts of one tenant", ("long-prompts", "noisy-tenant"), faults.tenant_prompts),
    Scenario("stop and go", ("slow-replica",), faults.stuttering),
    # --- held out once, then looked at
    Scenario("heat in steps", ("slow-replica",), troubles.heat),
    Scenario("collectives stall", ("slow-replica", "stuck-replica"), troubles.collectives),
    Scenario("batches cut by a flag", ("narrow-batches",), troubles.narrow),
    Scenario("drafts rejected", ("slow-fleet",), troubles.drafts),
    Scenario("a flood each minute", ("noisy-tenant", "capacity"), troubles.cron),
    Scenario("asked again at once", ("admission-tight", "retry-storm"), troubles.insisting),
    Scenario("the date on top", ("cache-loss",), troubles.dated),
    Scenario("another tokenizer", ("long-prompts", "cache-loss"), troubles.tokenizer),
    Scenario("lost packets to one", ("network-latency",), troubles.lossy_one),
    Scenario("pinned to one", ("hot-spot",), troubles.pinned),
    Scenario("a rack without power", ("replica-down",), troubles.rack),
    Scenario("memory taken bit by bit", ("kv-exhausted",), troubles.leak),
    Scenario("rollout without caches", ("bad-rollout", "cache-loss", "slow-replica"),
             troubles.rollout_forgetful),
    Scenario("clock of one", ("clock-skew",), troubles.clock_one),
    Scenario("signing keys changed", ("auth-failures",), troubles.signing_keys),
    Scenario("bodies too large", ("tenant-errors",), troubles.large_bodies),
    Scenario("an alias removed", ("unknown-model",), troubles.alias_removed),
    Scenario("a budget spent", ("tenant-limited",), troubles.budget_spent),
    Scenario("answers cut short", ("empty-answers",), troubles.short_answers),
    Scenario("books for one tenant", ("long-outputs", "noisy-tenant"), troubles.books),
    Scenario("prefill slow at half", ("slow-replica", "slow-prefill"), troubles.prefill_half),
    Scenario("Redis stutters", ("state-slow",), troubles.stuttering_state),
    Scenario("gateway pauses", ("gateway-saturated",), troubles.pauses),
    Scenario("another service answers", ("upstream-errors",), troubles.other_service),
    Scenario("lost packets to all", ("network-latency",), troubles.lossy_all),
    Scenario("two stuck", ("stuck-replica",), troubles.two_stuck),
    Scenario("decoding slow at one", ("slow-replica",), troubles.decode_one),
    Scenario("more every second", ("capacity",), troubles.growth),
    Scenario("a smaller GPU", ("bad-rollout", "slow-replica"), mishaps.smaller_gpu),
    Scenario("thinking switched on", ("long-outputs",), mishaps.thinking),
    Scenario("more passages", ("long-prompts",), mishaps.passages),
    Scenario("an endless loop", ("noisy-tenant",), mishaps.endless_loop),
    Scenario("errors, then silence", ("stuck-replica", "upstream-errors"), mishaps.dying),
    Scenario("sent to any replica", ("cache-loss",), mishaps.scattered),
    Scenario("streams limited in time", ("upstream-errors",), mishaps.stream_limit),
    Scenario("full engines answer 503", ("upstream-errors",), mishaps.turned_away),
    Scenario("chunks too small", ("slow-prefill", "slow-fleet"), mishaps.small_chunks),
    Scenario("each sent twice", ("capacity",), mishaps.sent_twice),
    Scenario("a guard stutters", ("guard-slow",), mishaps.stuttering_guard),
    Scenario("a busy host", ("slow-replica",), mishaps.busy_host),
    Scenario("half of the fleet drained", ("capacity", "discovery-loss"), setbacks.drained),
    Scenario("a night's work by day", ("noisy-tenant",), setbacks.batch_job),
    Scenario("all hosts stutter", ("slow-fleet",), setbacks.stuttering_hosts),
    Scenario("another region's traffic", ("capacity",), setbacks.region),
    Scenario("a line fills up", ("network-latency",), setbacks.filling_line),
    Scenario("longer instructions", ("long-prompts", "cache-loss"), setbacks.instructions),
    Scenario("rollout with slow prompts", ("bad-rollout", "slow-replica"), setbacks.slow_prompts),
    Scenario("one application gives up", ("client-aborts",), setbacks.impatient_tenant),
    # --- held out
    Scenario("a warm room", ("slow-fleet",), sealed.wearing_out, held=True),
    Scenario("half far away", ("network-latency",), sealed.far_half, held=True),
    Scenario("tools say more", ("long-prompts",), sealed.chatty_tools, held=True),
)  # fmt: skip
