"""
The ways to choose a replica, side by side. A new one is a function, a row and a test. Pure.

Only ``lowest_cost`` lets requests wait for a better replica (queue.py); all others send at once.
"""

from collections.abc import Callable, Sequence
from math import ceil

from msgspec import Struct

from headrace.routing.blocks import hash_of
from headrace.routing.index import Depths
from headrace.routing.lane import Ask, Lane
from headrace.routing.score import Outlook, score
from headrace.routing.terms import pick, rendezvous

# Of a prompt's blocks, the share that must be cached for ``prefix`` to prefer it over a low load.
HALF = 0.5
# A replica may have so many times the mean of requests before hashing goes on to the next one
# (consistent hashing with bounded loads, https://arxiv.org/abs/1608.01350).
BOUND = 1.25


class View(Struct, gc=False):
    """What a policy may look at; ``turn`` grows with each request, ``depths`` are by slot."""

    ask: Ask
    lanes: Sequence[Lane]
    depths: Depths
    turn: int
    seed: int
    outlook: Outlook
    now: float


Policy = Callable[[View], int]


def round_robin(view: View) -> int:
    """Each in turn."""
    return view.turn % len(view.lanes)


def random_(view: View) -> int:
    """Any, by a seed: the same run again chooses the same."""
    return rendezvous(view.turn, view.seed) % len(view.lanes)


def least_requests(view: View) -> int:
    """The fewest requests in flight."""
    return least([lane.inflight for lane in view.lanes], view.turn)


def least_tokens(view: View) -> int:
    """The fewest tokens in flight, with what slow starters seem to have on top."""
    return least([lane.tokens + lane.penalty for lane in view.lanes], view.turn)


def power_of_two(view: View) -> int:
    """Of two that chance names, the one with fewer requests."""
    count = len(view.lanes)
    if count == 1:
        return 0
    draw = rendezvous(view.turn, view.seed)
    one = draw % count
    other = (one + 1 + (draw >> 32) % (count - 1)) % count
    return one if view.lanes[one].inflight <= view.lanes[other].inflight else other


def consistent_hash(view: View) -> int:
    """The session's rendezvous, or that of the prompt's first block, unless it has too many."""
    ask, lanes = view.ask, view.lanes
    number = hash_of(ask.session) if ask.session else (ask.blocks[0] if ask.blocks else ask.number)
    most = ceil(BOUND * (sum(lane.inflight for lane in lanes) + 1) / len(lanes))
    free = [index for index, lane in enumerate(lanes) if lane.inflight < most]
    return max(free, key=lambda index: rendezvous(number, lanes[index].seed))


def prefix(view: View) -> int:
    """The one that has most of the prompt cached, if that is half of it, else the least loaded."""
    deepest = max(view.depths.values(), default=0)
    if not deepest or deepest < HALF * len(view.ask.blocks):
        return least_tokens(view)
    loads = [
        lane.tokens + lane.penalty if view.depths.get(lane.slot) == deepest else float("inf")
        for lane in view.lanes
    ]
    if min(loads) == float("inf"):  # whoever has it is no candidate
        return least_tokens(view)
    return least(loads, view.turn)


def lowest_cost(view: View) -> int:
    """The least predicted cost to the fleet, in milliseconds."""
    lanes = view.lanes
    terms = score(view.ask, lanes, view.depths, view.now, view.outlook)
    return pick(terms, [lane.seed for lane in lanes], view.ask.number, range(len(lanes)))


POLICIES: dict[str, Policy] = {
    policy.__name__.rstrip("_"): policy
    for policy in (
        round_robin,
        random_,
        least_requests,
        least_tokens,
        power_of_two,
        consistent_hash,
        prefix,
        lowest_cost,
    )
}

# The only one that may let a request wait.
LOWEST_COST = "lowest_cost"
# Those that choose without a look at the prompt: nobody needs to hash it for them.
BLIND = frozenset({"round_robin", "random", "least_requests", "least_tokens", "power_of_two"})


def least(loads: Sequence[float], turn: int) -> int:
    """
    The smallest load; among equals, the first at or after the turn.

    A turn that grows with each request walks over equals instead of sending a burst to one of them
    (https://github.com/llm-d/llm-d-router/issues/2515 shows the herd).
    """
    start = turn % len(loads)
    least = min(loads)
    if loads[start] == least:
        return start
    try:
        return list(loads).index(least, start)
    except ValueError:
        return list(loads).index(least)
