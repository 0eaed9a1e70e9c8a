"""
What is held out: written before the table was last changed, and run only for the score, when it
was changed no more. Whoever has looked at their results moves them to setbacks.py, and writes new
ones. Which names are right is scenarios.py's.
"""

from dataclasses import replace

from benchmarks.diagnosis.world import World
from headrace.simulate.trace import Request


def wearing_out(world: World, severity: int) -> None:
    """The cooling of the room fails: all GPUs get a little slower every second."""
    step = (1.012, 1.018, 1.03)[severity]

    def warmer() -> None:
        for node in world.nodes:
            node.slow = min(6.0, node.slow * step)
        world.at(world.now_s + 1.0, warmer)

    warmer()


def far_half(world: World, severity: int) -> None:
    """Half of the replicas were moved to another zone, and answers come from far away."""
    for node in world.nodes[: max(1, len(world.nodes) // 2)]:
        node.latency_s += (0.06, 0.12, 0.3)[severity]


def chatty_tools(world: World, severity: int) -> None:
    """Tools come to give more and more, which all becomes part of prompts."""
    most, since_s = (2.2, 3.0, 5.0)[severity], world.now_s
    fresh = iter(range(1 << 46, 1 << 47))

    def longer(request: Request) -> Request:
        part = min(1.0, (world.now_s - since_s) / 30.0)
        longest = min(60_000.0, request.prompt_tokens * (1.0 + (most - 1.0) * part))
        count = max(0, int(longest - request.prompt_tokens) // world.block_tokens)
        more = request.prompt_tokens + count * world.block_tokens
        blocks = (*request.blocks, *(next(fresh) for _ in range(count)))
        return replace(request, prompt_tokens=more, blocks=blocks)

    world.reshape = longer
