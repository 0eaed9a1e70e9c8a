"""
How long a step of the answers that run takes, and how few of them may run where room is kept, by
what that costs in tokens. Pure. Who is to leave room is crowd.py's, the model of a step cost.py's.
"""

from collections.abc import Sequence
from typing import NamedTuple

from headrace.routing.cost import Rates
from headrace.routing.lane import Lane
from headrace.routing.terms import Terms

# A request that comes waits for the step that runs and for one of its own, with the answers in it.
STEPS = 2.0
# From this part of its cache on an engine may keep it waiting for answers to end; not where its
# prompt fills it no further than the other.
FULL, FITS = 0.97, 0.99


class Answers(NamedTuple):
    """So many answers that run, and the tokens that they read in a step."""

    number: float = 0.0
    tokens: float = 0.0


def step_ms(rates: Rates, answers: Answers) -> float:
    """A step in which these answers get a token each, and nothing is prefilled."""
    w, a, b, _, ds, kv = rates
    return max(w, a + b * answers.number) + ds * answers.number + kv * answers.tokens


def lane_ms(lane: Lane, now: float) -> float:
    """A step of what runs at a lane; as ``step_ms``, spelled out since it is asked of each one."""
    w, a, b, _, ds, kv = lane.rates
    count = lane.decodes
    computed = a + b * count
    read = lane.decode_tokens + lane.grown(now)
    return max(w, computed) + ds * count + kv * read


def mean(lanes: Sequence[Lane], now: float) -> Answers:
    """What runs at each of the lanes, one at least, on average."""
    count = tokens = 0.0
    for lane in lanes:
        if lane.decodes:
            count += lane.decodes
            tokens += lane.decode_tokens + lane.grown(now)
    return Answers(count / len(lanes), tokens / len(lanes))


def fewest(rates: Rates, usual: Answers, prefill_ms: float, output: float, loss: float) -> Answers:
    """
    The fewest answers by which a replica loses no more than that share of its requests per second
    (``loss``, 0 to 1) beside one where the ``usual`` ones run; each alike, and no more than those.

    A request takes ``prefill_ms + output step(n) / n`` of a replica's time where n answers run. A
    step has a part that does not depend on n, and of fewer answers each bears more of that.
    """
    if usual.number <= 0:
        return Answers()
    w, a, b, _, ds, kv = rates
    full = prefill_ms + output * step_ms(rates, usual) / usual.number
    spent = prefill_ms + output * (ds + kv * usual.tokens / usual.number)
    left = full / (1 - loss) - spent  # for the part that is shared, by the larger of its two forms
    if left <= output * b:
        return usual
    count = max(output * w / left, output * a / (left - output * b))
    share = min(1.0, count / usual.number)
    return Answers(usual.number * share, usual.tokens * share)


def hastened(
    tokens: float, terms: Sequence[Terms], lanes: Sequence[Lane], now: float
) -> list[Terms]:
    """
    The same terms for a request that others leave room for: what counts is its own first token. So
    the steps that it waits for are in its wait, and how much slower it makes the answers of others
    is not in its cost, unless the cache there is full. And where its prompt of so many ``tokens``
    fits now no engine keeps it waiting for answers to end, however much they will grow. Else it
    would line up at the replica that is kept open for it.
    """
    found: list[Terms] = []
    for each, lane in zip(terms, lanes, strict=True):
        cost, wait, kv_wait, prefill, externality, slowdown, warm_up, sticky, cached, inflight = (
            each
        )
        steps = STEPS * lane_ms(lane, now) if lane.decodes else 0.0
        room = lane.kv_tokens
        filled = lane.filled(now) if room else 0.0
        fits = filled + tokens - cached <= FITS * room
        if fits or filled <= FULL * room:
            cost, slowdown = cost - slowdown, 0.0
        if fits:
            cost, kv_wait = cost - kv_wait, 0.0
        found.append((
            cost + steps, wait + steps, kv_wait, prefill, externality, slowdown, warm_up, sticky,
            cached, inflight,
        ))  # fmt: skip
    return found
