"""
The central queue of one model: who goes where, and who waits for what. Pure: ``now`` (s) is told.

A request is bound to a replica as late as possible: while all replicas have enough to prefill it
waits here, where any of them can still get it (late binding). It also waits when the replica that
is best for it is full and every other would cost it more than that wait.
"""

from collections.abc import Callable, Sequence
from math import inf

from headrace.routing.crowd import Crowd
from headrace.routing.decision import HOLDER, LOWEST, ONLY, RESERVED, Decision, shortest_ms
from headrace.routing.drain import Drain
from headrace.routing.index import NOWHERE, Depths, Index
from headrace.routing.lane import Ask, Lane, Lease, Taken
from headrace.routing.lessons import Lessons
from headrace.routing.line import OUTPUT, Line, Shut
from headrace.routing.policies import BLIND, LOWEST_COST, POLICIES, View
from headrace.routing.reservation import Reservations
from headrace.routing.score import score
from headrace.routing.sessions import Sessions
from headrace.routing.settings import MODES, USUAL, Settings
from headrace.routing.terms import CACHED, COST, PREFILL, SLOWDOWN, TIE_MS, WAIT, Terms, pick
from headrace.types import Usage

# How many requests of a tenant are tried when there is room, from the front of its queue.
LOOK = 8
# With a KV gate: the share of the cache that is filled at most.
FULL = 0.95
# When nothing else is due, waiting requests are looked at again after this time.
AGAIN_S = 0.05

Order = Callable[[Ask], float]


class Pool:
    """
    The queue of one model and the lanes that serve it.

    ``offer``, ``pump``, ``first_token`` and ``end`` return the leases that are granted by them, in
    order. A request is in the queue until it is granted or withdrawn, and at a lane until ``end``.
    """

    def __init__(self, index: Index, settings: Settings = USUAL) -> None:
        self.index = index
        self.settings = settings
        self.mode = MODES[settings.order]
        self._blind = settings.policy in BLIND  # nobody has asked for more than counts yet
        self.lanes: tuple[Lane, ...] = ()
        self.line = Line()
        self.drain = Drain(self.line)
        self.lessons = Lessons(index, settings.kappa, settings.lam, settings.sticky_ms)
        self.crowd = Crowd(self.lessons.outlook)
        # The seam of admission: what comes first has the smaller number (ms).
        self.order: Order = self._order
        self.reserved = Reservations(self._candidates, self.weigh)
        self._names: tuple[str, ...] = ()
        self._seeds: tuple[int, ...] = ()
        self.turn = 0
        self.sessions = Sessions()

    # --- members ----------------------------------------------------------------------------

    def seat(self, lanes: Sequence[Lane], now: float) -> list[Lease]:
        """From now on these lanes serve the model. Leases at others stay what they are."""
        for lane in self.lanes:
            lane.pools.remove(self)
        self.lanes = tuple(lanes)
        for lane in self.lanes:
            lane.pools.append(self)
        self._names = tuple(lane.name for lane in lanes)
        self._seeds = tuple(lane.seed for lane in lanes)
        self.crowd.seat(self.lanes)
        self.reserved.seat(self.lanes)
        return self.pump(now)

    # --- requests ---------------------------------------------------------------------------

    def offer(self, ask: Ask, now: float) -> list[Lease]:
        """
        A request has come, or comes back to be tried elsewhere (``ask.tried``). It is granted at
        once if that is best, else it waits. The pool must have a lane.
        """
        ask.arrived_at = now
        self.turn += 1
        if not ask.number:
            ask.number = -self.turn
        crowd = self.crowd
        if crowd.flows or ask.tenant != crowd.tenant or ask.rank != crowd.rank:
            crowd.meet(ask, self.line, now)
        lanes = self._candidates(ask)
        name = ask.policy or self.settings.policy
        if name not in BLIND:
            self._blind = False
        only = lanes[0] if len(lanes) == 1 else None
        if only is not None and not self.line and (self._blind or self.open_to(ask, lanes, now)):
            decision = Decision(name, ONLY, self._names_of(lanes), 0, ask.tokens)
            return [self._take(ask, only, NOWHERE, decision, now)]
        if name != LOWEST_COST:
            return [self._at_once(ask, name, lanes, now)]
        if not self.line:
            lease = self._try(ask, now, wait=True)
            if lease is not None:
                return [lease]
            self._enqueue(ask)
            return []
        ask.shortest_ms = shortest_ms(self.weigh(ask, lanes, now)[1])
        self._enqueue(ask)
        return self.pump(now)

    def bind(self, ask: Ask, lane: Lane, now: float) -> Lease:
        """A request that only one lane can answer goes there, whatever it costs."""
        ask.arrived_at = now
        decision = Decision(self.settings.policy, HOLDER, (lane.name,), 0, ask.tokens)
        return self._take(ask, lane, self.index.match(ask.blocks), decision, now)

    def withdraw(self, ask: Ask) -> bool:
        """The client has gone, or its time is over. False when it was not waiting."""
        if ask.place is None:
            return False
        self._dequeue(ask)
        return True

    def pump(self, now: float) -> list[Lease]:
        """Send on what can go: called when a replica has room, and when time has passed."""
        granted: list[Lease] = []
        if not self.line:
            return granted
        for lane in self.lanes:
            if lane.quiet:
                lane.hush(now)
        if self.mode.kv_gate:  # the other orders let nobody wait for ever by themselves
            self.reserved.reserve(len(self.lanes), now)
        for ask in tuple(self.reserved.lanes):
            lease = self._try(ask, now, wait=False)
            if lease is not None:
                self._grant(lease, granted)
        self._let(now, granted)
        return granted

    def first_token(self, lease: Lease, now: float) -> list[Lease]:
        """The first token of an answer has come: its prefill is over, and there is room."""
        lane = lease.lane
        if lane is None or lease.counted:
            return []
        lane.first(lease, now)
        self.lessons.first(lane, self.lanes)
        return _pump(lane, now)

    def end(self, lease: Lease, now: float, usage: Usage | None = None) -> list[Lease]:
        """
        A request has ended, however it did; only the first call counts. ``usage`` are the tokens
        that the engine reported, if it answered.
        """
        lane = lease.lane
        if lane is None:
            return []
        if lane.quiet:
            lane.hush(now)
        lane.end(lease)
        if lease.held and lease.ask.flow is not None:
            lease.ask.flow.give(lease.held)
        if lease.counted:
            return []
        self.lessons.ended(lane, lease, usage, now)
        if lease.account is not None:
            had = usage.prompt + OUTPUT * usage.completion if usage is not None else 0.0
            lease.account.had += (had - lease.charged) / lease.ask.weight
        return _pump(lane, now)

    def abandon(self) -> list[Ask]:
        """Nobody serves the model any more: give up all that wait, in order."""
        asks = list(self.line)
        for ask in asks:
            self._dequeue(ask)
        return asks

    def due(self, now: float) -> float | None:
        """When to pump if nothing happens until then; None while nobody waits."""
        if not self.line:
            return None
        quiet = [lane.quiet[0][0] for lane in self.lanes if lane.quiet]
        return max(now, min([now + AGAIN_S, *quiet]))

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self.line)

    # --- choosing ---------------------------------------------------------------------------

    def _candidates(self, ask: Ask) -> tuple[Lane, ...]:
        """The lanes that were not tried yet; all, when all were."""
        tried = ask.tried
        if not tried:
            return self.lanes
        return tuple(lane for lane in self.lanes if lane.name not in tried) or self.lanes

    def weigh(self, ask: Ask, lanes: Sequence[Lane], now: float) -> tuple[Depths, list[Terms]]:
        """What the request would cost at each lane, and how much of it is cached there."""
        depths = self.index.match(ask.blocks) if ask.blocks else NOWHERE
        home = self.sessions.home(ask.session, lanes) if ask.session else None
        terms = score(ask, lanes, depths, now, self.lessons.outlook, home)
        return depths, terms if ask.flow is None else self.crowd.hasten(ask, lanes, terms, now)

    def _try(self, ask: Ask, now: float, *, wait: bool) -> Lease | None:
        """
        The lease of the best lane that has room; None to wait: for a lane that has none, if that is
        the sooner (and ``wait`` allows it).
        """
        lanes = self._candidates(ask)
        depths, terms = self.weigh(ask, lanes, now)
        if self.mode.kv_gate or ask.flow is not None or ask.rank < 0:
            open_ = self.open_to(ask, lanes, now, terms)
        else:  # the same, where nothing is reserved, no KV is counted, and nobody else is about
            open_ = [index for index, lane in enumerate(lanes) if lane.unprefilled < lane.gate]
        full = len(open_) < len(lanes)
        if full and (not open_ or (wait and self._waits(ask, lanes, terms, open_))):
            if ask.place is None:
                ask.shortest_ms = shortest_ms(terms)
            return None
        seeds = self._seeds_of(lanes)
        chosen = pick(terms, seeds, ask.number, open_)
        decision = Decision(
            self.settings.policy,
            RESERVED if ask in self.reserved.lanes else LOWEST,
            self._names_of(lanes),
            chosen,
            ask.tokens,
            ask.number,
            seeds,
            tuple(terms),
            tuple(open_),
            (now - ask.arrived_at) * 1000,
        )
        return self._take(ask, lanes[chosen], depths, decision, now)

    def _waits(
        self, ask: Ask, lanes: Sequence[Lane], terms: Sequence[Terms], open_: Sequence[int]
    ) -> bool:
        """Whether a full lane is the sooner one; for a faster kind of GPU others wait already."""
        costs = [each[COST] - each[SLOWDOWN] for each in terms]
        if self.crowd.surplus(ask):  # what is kept for others is nothing to wait for
            kept = self.crowd.kept(ask)
            for index, lane in enumerate(lanes):
                if index not in open_ and self.crowd.keeps(lane, kept):
                    costs[index] = inf
        soonest, among_open = min(costs), min([costs[index] for index in open_])  # noqa: C419
        if soonest + TIE_MS >= among_open:
            return False
        first, other = lanes[costs.index(soonest)], lanes[costs.index(among_open)]
        if first.rates is not other.rates:
            better = sum(cost < among_open for cost in costs)
            for waiting in self.line:
                if waiting is ask:
                    break
                soonest += waiting.shortest_ms / better
        return soonest + TIE_MS < among_open

    def open_to(
        self, ask: Ask, lanes: Sequence[Lane], now: float, terms: Sequence[Terms] = ()
    ) -> list[int]:
        """The places of the lanes that have room for the request, less what is for others."""
        found = [index for index, lane in enumerate(lanes) if self._takes(lane, ask)]
        if not found or not self.crowd.surplus(ask):
            return found
        return self.crowd.left(ask, lanes, found, terms, now)

    def _takes(self, lane: Lane, ask: Ask) -> bool:
        """Whether the lane has room, and not for somebody else."""
        if lane.unprefilled >= lane.gate:
            return False
        if lane.reserved is not None and lane.reserved is not ask:
            return False
        if self.reserved.lanes.get(ask, lane) is not lane:
            return False  # it has its place: elsewhere it would only be far from its prefix
        if not self.mode.kv_gate or not lane.kv_tokens or not lane.inflight:
            return True
        used = lane.kv_used + lane.decodes * self.lessons.outlook.output / 2
        room = lane.kv_tokens * FULL
        return used + ask.tokens <= room or used + lane.kv_need(ask) <= room

    def _at_once(self, ask: Ask, name: str, lanes: tuple[Lane, ...], now: float) -> Lease:
        """The choice of a policy that never lets anybody wait."""
        depths = self.index.match(ask.blocks) if ask.blocks else NOWHERE
        seed, outlook = self.settings.seed, self.lessons.outlook
        chosen = POLICIES[name](View(ask, lanes, depths, self.turn, seed, outlook, now))
        decision = Decision(name, name, self._names_of(lanes), chosen, ask.tokens, ask.number)
        return self._take(ask, lanes[chosen], depths, decision, now)

    def _take(self, ask: Ask, lane: Lane, depths: Depths, decision: Decision, now: float) -> Lease:
        if self._blind:
            lease = lane.count(ask, now)
            lease.decision, lease.pool = decision, self
            return lease
        depth = depths.get(lane.slot, 0) if depths else 0
        if decision.terms:
            terms = decision.terms[decision.chosen]
            predicted = Taken(terms[CACHED], terms[PREFILL], terms[WAIT])
        else:
            cached = min(depth * ask.grain, max(ask.tokens - 1.0, 0.0))
            predicted = Taken(cached, lane.rates.prefill_ms(ask.tokens, cached), lane.wait_ms(now))
        lease = lane.take(ask, predicted, now)
        if ask.flow is not None:
            lease.held = ask.tokens + OUTPUT * self._output(ask)
            self.crowd.sent(ask, predicted.prefill_ms)
            ask.flow.take(lease.held)
        lease.decision = decision
        lease.pool = self
        lease.depth = depth
        if ask.blocks:
            lease.stamp = self.index.hold(lane.slot, ask.blocks, depth)
        if ask.session:
            self.sessions.pin(ask.session, lane.name, self._names)
        return lease

    # --- the queue --------------------------------------------------------------------------

    def _order(self, ask: Ask) -> float:
        """The cheapest prefill first, and those that wait the sooner the longer they do (ms)."""
        age_ms = self.mode.age_ms
        if age_ms is None:
            return ask.arrived_at * 1000
        return ask.shortest_ms + age_ms * ask.arrived_at

    def _let(self, now: float, granted: list[Lease]) -> None:
        """Let go whose turn it is, as long as there is room; none hides another tenant's."""
        passed: set[Ask] = set()
        shut: set[Shut] = set()
        looks: dict[Shut, int] = {}
        while len(shut) < LOOK and any(lane.unprefilled < lane.gate for lane in self.lanes):
            turn = self.line.first(now, passed, shut)
            if turn is None:
                break
            room = self._spare(turn, now)
            if room is None:
                shut.add(self.crowd.key(turn))
                continue
            lease = self._try(turn, now, wait=True) if room else None
            if lease is not None:
                self._grant(lease, granted)
                continue
            passed.add(turn)
            whose = turn.rank, turn.tenant
            looks[whose] = looks.get(whose, 0) + 1
            if looks[whose] >= LOOK:
                shut.add(whose)

    def _spare(self, ask: Ask, now: float) -> bool | None:
        """Whether one that waits may find room; None where nobody like it does."""
        if self.crowd.surplus(ask):
            room = self.crowd.spare(ask, self._candidates(ask), now)
            return room and ask not in self.reserved.lanes
        return ask not in self.reserved.lanes

    def _enqueue(self, ask: Ask) -> None:
        self.turn += 1
        ask.charge = ask.tokens + OUTPUT * self._output(ask)
        self.drain.come(ask, ask.arrived_at)
        ask.place = self.order(ask), self.turn
        self.line.add(ask)
        self.reserved.oldest[ask] = None

    def _dequeue(self, ask: Ask) -> None:
        if ask.place is not None:
            self.line.remove(ask)
            ask.place = None
        self.reserved.drop(ask)

    def _grant(self, lease: Lease, granted: list[Lease]) -> None:
        ask = lease.ask
        self.line.granted(ask)
        self.drain.left(ask, lease.taken_at)
        lease.charged = ask.charge
        lease.account = self.line.charge(ask, lease.charged)
        self._dequeue(ask)
        granted.append(lease)

    def _output(self, ask: Ask) -> float:
        """Tokens that its answer is expected to have."""
        output = self.lessons.outlook.output
        return min(ask.max_tokens, output) if ask.max_tokens else output

    # --- names ------------------------------------------------------------------------------

    def _names_of(self, lanes: tuple[Lane, ...]) -> tuple[str, ...]:
        return self._names if lanes is self.lanes else tuple(lane.name for lane in lanes)

    def _seeds_of(self, lanes: tuple[Lane, ...]) -> tuple[int, ...]:
        return self._seeds if lanes is self.lanes else tuple(lane.seed for lane in lanes)


def _pump(lane: Lane, now: float) -> list[Lease]:
    """Whoever may have waited for room at the lane."""
    granted: list[Lease] = []
    for pool in lane.pools:
        if pool.line:
            granted += pool.pump(now)
    return granted
