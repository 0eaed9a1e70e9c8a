"""
Eight faults that were held out from the table of November 2026, and were looked at since. Which
names are right is scenarios.py's.
"""

from dataclasses import replace

from benchmarks.diagnosis.troubles import sometimes
from benchmarks.diagnosis.world import World
from headrace.simulate.trace import Request

UNTIL_S = 65.0  # what comes on top goes on for so long


def drained(world: World, severity: int) -> None:
    """An autoscaler that looks at the wrong number takes replicas away."""
    ready = [node for node in world.nodes if node.ready]
    for node in ready[: max(1, int(len(ready) * (0.5, 0.65, 0.75)[severity]))]:
        world.leave(node)


def batch_job(world: World, severity: int) -> None:
    """A tenant whom nobody knew sends all that it has of a night's work, in its own words."""
    coming, random = [args[0] for _, _, args in _arrivals(world)], world.random
    rate = len(coming) / 60.0 * (1.5, 2.5, 4.0)[severity]
    fresh = iter(range(1 << 44, 1 << 45))
    at_s = world.now_s
    while (at_s := at_s + random.expovariate(rate)) < world.now_s + UNTIL_S:
        like = random.choice(coming)
        blocks = tuple(next(fresh) for _ in like.blocks)
        request = replace(like, number=world.number(), arrival_s=at_s, blocks=blocks)
        world.at(at_s, world.arrive, request, "night-job")


def stuttering_hosts(world: World, severity: int) -> None:
    """Something on every host takes the GPUs for moments: all engines stand nearly still."""
    slow = (4.0, 7.0, 12.0)[severity]

    def turn(on: object) -> None:
        for node in world.nodes:
            node.slow = slow if on else 1.0

    sometimes(world, 0.35, turn)


def region(world: World, severity: int) -> None:
    """Another region is down, and what its tenants ask comes here."""
    coming, random = _arrivals(world), world.random
    copies = (1.2, 2.0, 3.5)[severity]
    fresh = iter(range(1 << 45, 1 << 46))
    for at_s, _, (request, tenant) in coming:
        for copy in range(int(copies) + (random.random() < copies % 1.0)):
            again_s = max(world.now_s, at_s + random.uniform(-1.0, 1.0))
            blocks = tuple(next(fresh) for _ in request.blocks)
            other = replace(request, number=world.number(), arrival_s=again_s, blocks=blocks)
            world.at(again_s, world.arrive, other, f"{tenant}-there-{copy}")


def filling_line(world: World, severity: int) -> None:
    """The line to all replicas fills up: every second it takes a little longer."""
    step_s = (0.004, 0.01, 0.03)[severity]

    def longer() -> None:
        for node in world.nodes:
            node.latency_s += step_s
        world.at(world.now_s + 1.0, longer)

    longer()


def instructions(world: World, severity: int) -> None:
    """Some applications begin all prompts with pages of instructions, which are always the same."""
    tokens, applications = (2000, 4000, 8000)[severity], (3, 5, 7)[severity]
    first, count = 1 << 47, tokens // world.block_tokens

    def longer(request: Request) -> Request:
        application = request.session % 7
        if application >= applications:
            return request
        begin = first + application * count
        blocks = (*range(begin, begin + count), *request.blocks)
        more = request.prompt_tokens + count * world.block_tokens
        return replace(request, prompt_tokens=more, blocks=blocks)

    world.reshape = longer


def slow_prompts(world: World, severity: int) -> None:
    """New replicas compute prompts without a kernel that they need: tokens are as fast."""
    for node in world.nodes[: (1, 1, 2)[severity]]:
        world.leave(node)
        world.join(world.preset).prefill_slow = (5.0, 8.0, 16.0)[severity]


def impatient_tenant(world: World, severity: int) -> None:
    """A release of one application gives its requests up after a moment, and asks no more."""
    share = (0.5, 0.8, 1.0)[severity]
    world.patience_s = 0.03

    def released(request: Request) -> Request:
        world.impatient = share if request.session % 7 == 2 else 0.0
        return request

    world.reshape = released


# --- below --------------------------------------------------------------------------------------


def _arrivals(world: World) -> list[tuple[float, int, tuple[Request, str]]]:
    """Requests that are still to come: when, in which order, what and whose."""
    return [
        (at_s, order, (args[0], args[1]))
        for at_s, order, call, args in world.events
        if call == world.arrive
    ]
