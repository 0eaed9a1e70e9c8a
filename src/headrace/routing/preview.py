"""Where a pool would send a request now, without sending it. Pure; the real thing is queue.py's."""

from headrace.routing.decision import LOWEST, ONLY, Decision
from headrace.routing.index import NOWHERE
from headrace.routing.lane import Ask
from headrace.routing.policies import BLIND, POLICIES, View, lowest_cost
from headrace.routing.queue import Pool
from headrace.routing.terms import pick


def preview(pool: Pool, ask: Ask, now: float) -> Decision | None:
    """
    The decision about a request that came now (s, monotonic); None where it would wait.

    The pool must have a lane, and nothing in it changes. Those who wait already are not counted:
    they go first.
    """
    lanes, name = pool.lanes, ask.policy or pool.settings.policy
    names = tuple(lane.name for lane in lanes)
    number = ask.number or -(pool.turn + 1)
    free = lanes[0].unprefilled < lanes[0].gate or name in BLIND
    if len(lanes) == 1 and not pool.line and free:
        return Decision(name, ONLY, names, 0, ask.tokens)
    policy = POLICIES[name]
    if policy is not lowest_cost:
        depths = pool.index.match(ask.blocks) if ask.blocks else NOWHERE
        seed, outlook = pool.settings.seed, pool.lessons.outlook
        chosen = policy(View(ask, lanes, depths, pool.turn + 1, seed, outlook, now))
        return Decision(name, name, names, chosen, ask.tokens, number)
    terms, seeds = tuple(pool.weigh(ask, lanes, now)[1]), tuple(lane.seed for lane in lanes)
    open_ = tuple(pool.open_to(ask, lanes, now, terms))
    if not open_ or pool.line:
        return None
    chosen = pick(terms, seeds, number, open_)
    return Decision(name, LOWEST, names, chosen, ask.tokens, number, seeds, terms, open_)
