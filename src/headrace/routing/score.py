"""
What a request costs the fleet at each replica, in milliseconds, and the pick of the least. Pure.

    J = wait + KV wait + prefill + kappa prefill + lambda output (step + decodes (kv tokens + ds))
        + warm-up + stickiness

The first three are what the request itself waits for its first token; kappa charges for the delay
of everyone who comes next, lambda for the slowdown of those who decode already.
"""

from collections.abc import Sequence

from msgspec import Struct

from headrace.routing.cost import Rates
from headrace.routing.index import Depths
from headrace.routing.lane import Ask, Lane
from headrace.routing.terms import Terms

# An engine that is short of KV keeps a request waiting for at most so many residences.
LONGEST_KV_WAIT = 1.5


class Outlook(Struct):
    """
    The weights of the terms, and what is expected of an answer: tokens, ms of decoding. What is
    expected follows what is seen.
    """

    kappa: float = 3.0
    lam: float = 0.02
    sticky_ms: float = 20.0
    output: float = 200.0
    residence_ms: float = 5000.0


def score(
    ask: Ask,
    lanes: Sequence[Lane],
    depths: Depths,
    now: float,
    outlook: Outlook,
    home: Lane | None = None,
) -> list[Terms]:
    """
    The terms of each lane, in their order. ``depths`` are the blocks that are cached, by slot;
    ``home`` is the lane that the request's session is used to, if it has one.

    Lanes of one kind with nothing in flight that hold as much of the prompt cost the same: of a
    large fleet most are weighed by one look at the first of them, and share its terms.
    """
    sticky_ms, residence_ms = outlook.sticky_ms, outlook.residence_ms
    tokens, grain = ask.tokens, ask.grain
    output = min(ask.max_tokens or outlook.output, outlook.output)
    last: Rates | None = None
    a = b = att = usual = pace = uncached = alone = each = read = 0.0
    found: list[Terms] = []
    alike: dict[int, Terms] = {}  # by blocks cached: those of idle lanes of this kind
    for lane in lanes:
        if lane.quiet:
            lane.hush(now)
        depth = depths.get(lane.slot, 0)
        if lane.rates is not last:  # most replicas are of one kind
            last, alike = lane.rates, {}
            _, a, b, att, _, _ = last
            uncached = last.prefill_ms(tokens, 0.0)
            # A prompt is as much in the way on a slow replica as on a fast one: both kinds are full
            # of their own. Otherwise everybody waits for the fast ones while the others idle.
            usual = usual or uncached
            pace = outlook.kappa * (usual / uncached)
            alone, each, read = _slowdown(last, tokens, outlook.lam * output)
        idle = lane is not home and not (
            lane.inflight or lane.decodes or lane.kv_used or lane.ahead_ms or lane.drag
        )
        if idle and depth in alike:
            found.append(alike[depth])
            continue
        cached, prefill = 0.0, uncached
        if depth:
            # The last token is always computed.
            cached = min(depth * grain, max(tokens - 1.0, 0.0))
            new = tokens - cached
            prefill = a + new * (b + att * (cached + new / 2))
        wait = lane.wait_ms(now) if lane.pending or lane.ahead_ms else 0.0
        slowdown = alone + each * lane.decodes + read * lane.decode_tokens
        kv_wait = 0.0
        room = lane.kv_tokens
        if room and lane.kv_used + lane.decodes * output / 2 + tokens > room:
            kv_wait = _kv_wait(ask, lane, output, residence_ms)
        warm_up = lane.drag * (wait + prefill) if lane.drag else 0.0
        sticky = sticky_ms if home is not None and lane is not home else 0.0
        externality = pace * prefill
        cost = wait + kv_wait + prefill + externality + slowdown + warm_up + sticky
        found.append((
            cost, wait, kv_wait, prefill, externality, slowdown, warm_up, sticky, cached,
            lane.inflight,
        ))  # fmt: skip
        if idle:
            alike[depth] = found[-1]
    return found


def _slowdown(rates: Rates, tokens: float, weight: float) -> tuple[float, float, float]:
    """Of an answer alone, for each that decodes beside it, and for each token that these read."""
    w, _, _, _, ds, kv = rates
    return weight * w, weight * (2 * ds + kv * tokens), weight * kv


def _kv_wait(ask: Ask, lane: Lane, output: float, residence_ms: float) -> float:
    used = lane.kv_used + lane.decodes * output / 2
    deficit = used + lane.kv_need(ask) - lane.kv_tokens
    if deficit <= 0 or lane.kv_used <= 0:
        return 0.0
    return residence_ms * min(LONGEST_KV_WAIT, deficit / used)
