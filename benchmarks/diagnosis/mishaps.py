"""
What the first version of the table that met it was told nothing of: twelve faults that were held
out, and were looked at since. Which names are right is scenarios.py's.
"""

from dataclasses import replace

from benchmarks.diagnosis.fleet import Node
from benchmarks.diagnosis.troubles import sometimes
from benchmarks.diagnosis.world import World
from headrace.engines.sim.presets import PRESETS
from headrace.simulate.trace import Request

SMALLER = ("h100-8b", "a100-8b", "l40s-8b", "a10g-8b", "l4-8b")  # each is the next one's better


def smaller_gpu(world: World, severity: int) -> None:
    """Machines were given back, and what came for them has a smaller GPU."""
    count, steps = ((1, 1), (2, 1), (1, 2))[severity]
    better = SMALLER.index(world.preset.name)
    cost = PRESETS[SMALLER[min(better + steps, len(SMALLER) - 1)]].cost
    for node in world.nodes[:count]:
        world.leave(node)
        world.join(replace(world.preset, cost=cost))


def thinking(world: World, severity: int) -> None:
    """Some applications have begun to let the model think before it answers."""
    applications = (2, 4, 6)[severity]

    def longer(request: Request) -> Request:
        if request.session % 7 >= applications:
            return request
        return replace(request, output_tokens=min(6000, 3 * request.output_tokens + 300))

    world.reshape = longer


def passages(world: World, severity: int) -> None:
    """A search before the model gives more passages: other ones for each question, at its end."""
    more = (0.8, 1.6, 3.0)[severity]
    fresh = iter(range(1 << 49, 1 << 50))

    def longer(request: Request) -> Request:
        if request.session % 7 >= 5:
            return request
        tokens = min(60_000, int(request.prompt_tokens * (1.0 + more)))
        count = max(0, tokens // world.block_tokens - len(request.blocks))
        blocks = (*request.blocks, *(next(fresh) for _ in range(count)))
        return replace(request, prompt_tokens=tokens, blocks=blocks)

    world.reshape = longer


def endless_loop(world: World, severity: int) -> None:
    """A program of one tenant asks the same three questions again and again."""
    coming, random = _coming(world), world.random
    rate = len(coming) / 60.0 * (1.0, 2.0, 4.0)[severity]
    asked = random.sample(coming, 3)
    at_s, until_s = world.now_s, world.now_s + 65.0
    while (at_s := at_s + random.expovariate(rate)) < until_s:
        request = replace(random.choice(asked), number=world.number(), arrival_s=at_s)
        world.at(at_s, world.arrive, request, "tenant-5")


def dying(world: World, severity: int) -> None:
    """A replica answers with errors first, and then not at all."""
    node = _any(world)
    node.errors = (0.1, 0.3, 0.6)[severity]

    def hang() -> None:
        node.errors, node.hung = 0.0, True

    world.at(world.now_s + 15.0, hang)


def scattered(world: World, severity: int) -> None:
    """Something between the gateway and its replicas sends requests to any of them."""
    world.scattered = (0.5, 0.8, 1.0)[severity]


def stream_limit(world: World, severity: int) -> None:
    """A proxy before the engines ends streams that take longer than it allows."""
    answers = sorted(each.output_tokens for each in _coming(world))
    longest = answers[int((0.85, 0.6, 0.3)[severity] * len(answers))]
    world.longest_s = longest * world.preset.step_ms / 1000


def turned_away(world: World, severity: int) -> None:
    """Engines answer 503 when they have more than so many requests."""
    jobs = sum(len(node.engine.jobs) for node in world.nodes) / len(world.nodes)
    for node in world.nodes:
        node.most = max(1, int(jobs * (0.9, 0.7, 0.5)[severity]))


def small_chunks(world: World, severity: int) -> None:
    """A flag cuts prompts into very small chunks (--max-num-batched-tokens)."""
    for node in world.nodes:
        tokens = (160, 96, 64)[severity]
        node.engine.preset = replace(node.engine.preset, max_num_batched_tokens=tokens)


def sent_twice(world: World, severity: int) -> None:
    """A library of the clients sends every request more than once, to be sure."""
    for at_s, tenant, request in _arrivals(world):
        for copy in range((1, 2, 3)[severity]):
            again_s = at_s + 0.2 * (copy + 1)
            again = replace(request, number=world.number(), arrival_s=again_s)
            world.at(again_s, world.arrive, again, tenant)


def stuttering_guard(world: World, severity: int) -> None:
    """A guard's workers are restarted again and again."""

    def turn(on: object) -> None:
        world.guard_s = (0.3, 0.8, 2.0)[severity] if on else 0.004

    sometimes(world, 0.4, turn)


def busy_host(world: World, severity: int) -> None:
    """One engine shares its host's processors: it waits for them between two iterations."""
    node = _any(world)
    cost = node.engine.preset.cost
    slower = replace(cost, host=cost.host + (15.0, 30.0, 60.0)[severity])
    node.engine.preset = replace(node.engine.preset, cost=slower)


# --- below --------------------------------------------------------------------------------------


def _any(world: World) -> Node:
    return world.nodes[world.random.randrange(len(world.nodes))]


def _coming(world: World) -> list[Request]:
    return [request for _, _, request in _arrivals(world)]


def _arrivals(world: World) -> list[tuple[float, str, Request]]:
    """Requests that are still to come: when, whose, what."""
    return [
        (at_s, args[1], args[0]) for at_s, _, call, args in world.events if call == world.arrive
    ]
