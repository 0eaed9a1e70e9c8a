"""
How parts of a world break: adapters, clocks, tenants, discovery, guards, single replicas. Which of
them the benchmark runs, and what should be said of them, is scenarios.py's.
"""

from dataclasses import replace

from benchmarks.diagnosis.fleet import Node
from benchmarks.diagnosis.world import World
from headrace.simulate.trace import Request


def adapters(world: World, severity: int) -> None:
    """More LoRA adapters are asked for than fit into a batch."""
    world.adapters = (16, 30, 60)[severity]


def clock(world: World, severity: int) -> None:
    """The gateway's clock is wrong, and tokens of some callers are not valid yet, or any more."""
    for node in world.nodes:
        node.skew_s = (20.0, -90.0, 600.0)[severity]
    world.refuse["rejected_unauthorized"] = ((0.0, 0.2, 0.6)[severity], "")


def tenant_errors(world: World, severity: int) -> None:
    world.refuse["rejected_invalid"] = ((0.5, 0.8, 1.0)[severity], "tenant-5")


def tenant_limit(world: World, severity: int) -> None:
    world.refuse["rejected_quota"] = ((0.5, 0.8, 1.0)[severity], "tenant-4")


def empty_one(world: World, severity: int) -> None:
    """It answers with an end right after the first token."""
    _any(world).empty = (0.6, 0.9, 1.0)[severity]


def empty_all(world: World, severity: int) -> None:
    for node in world.nodes:
        node.empty = (0.6, 0.9, 1.0)[severity]


def undiscovered(world: World, severity: int) -> None:
    """The source of replicas does not tell most of them any more; they are well."""
    kept = (2, 1, 1)[severity]
    for node in [each for each in world.nodes if each.ready][kept:]:
        world.leave(node)


def guard(world: World, severity: int) -> None:
    world.guard_s = (0.12, 0.4, 1.5)[severity]


def classifier(world: World, severity: int) -> None:
    world.class_s = (0.1, 0.25, 0.5)[severity]


def prefill_one(world: World, severity: int) -> None:
    _any(world).prefill_slow = (6.0, 10.0, 20.0)[severity]


def creeping(world: World, severity: int) -> None:
    """A replica that heats up: slower with every second."""
    node = _any(world)

    def warmer() -> None:
        node.slow = min(8.0, node.slow + (0.08, 0.12, 0.2)[severity])
        world.at(world.now_s + 1.0, warmer)

    warmer()


def stuttering(world: World, severity: int) -> None:
    """A replica that stops for a moment again and again: a neighbour on its GPU."""
    node = _any(world)

    def turn() -> None:
        node.slow = 1.0 if node.slow > 1 else (3.0, 5.0, 10.0)[severity]
        world.at(world.now_s + 2.0, turn)

    turn()


def flapping(world: World, severity: int) -> None:
    """A process that dies, is started again, and dies."""
    node = _any(world)

    def die() -> None:
        world.crash(node)
        world.at(world.now_s + 8.0, live)

    def live() -> None:
        node.down = False
        world.wake(node)
        world.at(world.now_s + (16.0, 10.0, 5.0)[severity], die)

    die()


def cut(world: World, severity: int) -> None:
    """Streams break off behind their first token: an out-of-memory of some requests."""
    for node in world.nodes:
        node.cut = (0.08, 0.3, 0.7)[severity]


def tenant_prompts(world: World, severity: int) -> None:
    """One of seven tenants begins to send whole books."""
    factor = (4.0, 8.0, 16.0)[severity]
    fresh = iter(range(1 << 58, 1 << 59))

    def longer(request: Request) -> Request:
        if request.session % 7 != 3:
            return request
        tokens = min(100_000, int(request.prompt_tokens * factor))
        more = tokens // world.block_tokens - len(request.blocks)
        blocks = (*request.blocks, *(next(fresh) for _ in range(more)))
        return replace(request, prompt_tokens=tokens, blocks=blocks)

    world.reshape = longer


def unread(world: World, severity: int) -> None:
    """Engines' metrics cannot be read any more."""
    for node in world.nodes[: (1, 2, 4)[severity]]:
        node.unread = True


def _any(world: World) -> Node:
    return world.nodes[world.random.randrange(len(world.nodes))]
