"""
Who shares a pool, and who of them has to leave room for the others. Pure: ``now`` (s) is told.

What was sent to an engine cannot be taken back: a flood that fills all replicas delays whoever
comes next, however fair the line is. So classes below the usual one, and tenants that have more
than their share in flight while others are about, are held to a part of each replica. Whoever is
alone in a pool has all of it.
"""

from collections.abc import Iterable, Sequence
from math import ceil, inf
from typing import NamedTuple

from headrace.routing.flow import Flow, Group
from headrace.routing.lane import Ask, Lane
from headrace.routing.line import Shut
from headrace.routing.reservation import PATIENCE, PATIENCE_S
from headrace.routing.score import Outlook
from headrace.routing.steps import Answers, fewest, hastened, lane_ms, mean, step_ms
from headrace.routing.terms import PREFILL, Terms

# Who was seen within this time (s) may come again any moment; that costs others 1 to 3 % of a full
# fleet's tokens, and they are only held to it while it is full.
MEMORY_S = 600.0
# The share of a replica's KV cache and of its gate that those may fill who have to leave room, and
# where there are too few replicas to keep one open. Found in simulation (docs/queue.md).
MOST_KV, MOST_GATE = 0.96, 3 / 8
FEW_KV, FEW_GATE = 0.93, 1 / 4
# Of those that are kept more open than others the gate, and the share of the whole fleet's requests
# per second that all of these together may lose by running fewer answers, so that steps are short;
# of one replica no more than half.
OPEN_GATE, LOSS, LOSS_MOST = 1 / 8, 0.02, 0.5
# How fast the usual prefill of those who leave room follows what is seen.
FOLLOW = 0.02
# That part of the replicas is kept more open at least and at most, and one of three.
OPEN, MOST, OPEN_LEAST = 1 / 8, 3 / 4, 3
# A prompt that is larger than this share of what may be filled needs no more than that to be free.
LARGE = 0.5


class Room(NamedTuple):
    """The first ``kept`` replicas are kept more open: no more than these answers run there."""

    kept: int = 0
    answers: Answers = Answers()


class Crowd:
    """
    The tenants and classes of one pool. ``tenant`` and ``rank`` are the only ones while ``flows``
    is empty: then there is nobody to leave room for. The ``outlook`` is the pool's.
    """

    def __init__(self, outlook: Outlook) -> None:
        self._outlook = outlook
        self.tenant: str | None = None
        self.rank = 0
        self.flows: dict[tuple[int, str], Flow] = {}
        self.usual_ms = inf  # prefill of a request that had to leave room; not known yet
        self._places: dict[Lane, int] = {}
        self._groups: dict[int, Group] = {}
        self._top = 0
        self._weight = 1.0  # of the only one
        self._tidy_at = 0.0

    def seat(self, lanes: Sequence[Lane]) -> None:
        """These lanes serve the pool from now on."""
        self._places = {lane: place for place, lane in enumerate(lanes)}

    def meet(self, ask: Ask, waiting: Iterable[Ask], now: float) -> None:
        """
        A request has come; called when it, or one before it, is another's than the first. Those
        that are ``waiting`` were alone until now.
        """
        if self.flows and now >= self._tidy_at:
            self._tidy_at = now + MEMORY_S / 10
            self._tidy(now)
        if self.tenant is None:
            self.tenant, self.rank, self._weight = ask.tenant, ask.rank, ask.weight
            return
        if not self.flows:
            if (ask.rank, ask.tenant) == (self.rank, self.tenant):
                return
            for each in waiting:
                each.flow = self._flow(each.rank, each.tenant, each.weight)
            self._flow(self.rank, self.tenant, self._weight).seen_at = now
        ask.flow = flow = self._flow(ask.rank, ask.tenant, ask.weight)
        flow.seen_at = now

    def surplus(self, ask: Ask) -> bool:
        """Whether the request has to leave room for others."""
        if ask.rank < 0 or ask.rank < self._top:
            return True
        flow = ask.flow
        if flow is None:
            return False
        return flow.tokens * flow.group.weight > flow.weight * flow.group.tokens

    def key(self, ask: Ask) -> Shut:
        """Who else has as little room: its class, or in the highest one its tenant."""
        return (ask.rank, ask.tenant) if ask.rank >= self._top else ask.rank

    def kept(self, ask: Ask) -> int:
        """
        How many replicas, from the first on, are kept more open for whoever a request has to leave
        room for: as large a part of them as these have of all that is in flight.
        """
        count = len(self._places)
        if count < OPEN_LEAST:
            return 0
        flow, total = ask.flow, sum(group.tokens for group in self._groups.values())
        if flow is None or total <= 0:
            return max(1, int(count * OPEN))
        if ask.rank >= self._top:
            others = flow.group.tokens - flow.tokens
        else:
            others = sum(group.tokens for rank, group in self._groups.items() if rank > ask.rank)
        return max(1, ceil(count * OPEN), min(ceil(count * others / total), int(count * MOST)))

    def keeps(self, lane: Lane, kept: int) -> bool:
        """Whether the lane is one of the first ``kept``."""
        return self._places.get(lane, kept) < kept

    def room(self, ask: Ask, now: float) -> Room:
        """What a request has to leave room for."""
        kept = self.kept(ask)
        if not kept:
            return Room()
        lanes = [*self._places]
        loss = min(LOSS_MOST, LOSS * len(lanes) / kept)
        prefill_ms = 0.0 if self.usual_ms == inf else self.usual_ms
        usual = mean(lanes[kept:], now)
        return Room(kept, fewest(lanes[0].rates, usual, prefill_ms, self._outlook.output, loss))

    def hasten(
        self, ask: Ask, lanes: Sequence[Lane], terms: list[Terms], now: float
    ) -> list[Terms]:
        """
        The terms by which a request chooses; for its own first token if others leave room. Where
        no replica is kept open a full cache is as likely to be its own, and counts as ever.
        """
        if self.surplus(ask):
            return terms
        tokens = ask.tokens if len(self._places) >= OPEN_LEAST else inf
        return hastened(tokens, terms, lanes, now)

    def sent(self, ask: Ask, prefill_ms: float) -> None:
        """A request goes to a replica: learn what is usual among those that leave room."""
        if self.surplus(ask):
            usual_ms = self.usual_ms
            self.usual_ms = (
                prefill_ms if usual_ms == inf else usual_ms + FOLLOW * (prefill_ms - usual_ms)
            )

    def left(
        self,
        ask: Ask,
        lanes: Sequence[Lane],
        among: Iterable[int],
        terms: Sequence[Terms],
        now: float,
    ) -> list[int]:
        """
        Which of the lanes, by place, a request that has to leave room for others may use. Without
        terms its prefill is not known, and counts for nothing.
        """
        room, tokens = self.room(ask, now), ask.tokens
        return [
            index
            for index in among
            if self.leaves(lanes[index], tokens, room, now)
            and (
                not self.keeps(lanes[index], room.kept)
                or self.short(lanes[index], ask, terms[index][PREFILL] if terms else 0.0, now)
            )
        ]

    def spare(self, ask: Ask, lanes: Sequence[Lane], now: float) -> bool | None:
        """
        Whether a request that has to leave room, and waits, would find some; None where there is
        none for any like it. Who has waited for long needs room for itself, or smaller ones would
        take it bit by bit; others look for any.
        """
        patient = now - ask.arrived_at < max(PATIENCE_S, PATIENCE * ask.shortest_ms / 1000)
        tokens, room = 0.0 if patient else ask.tokens, self.room(ask, now)
        found = None
        for lane in lanes:
            if self.leaves(lane, tokens, room, now):
                found = False
                if not self.keeps(lane, room.kept) or self.short(lane, ask, ask.shortest_ms, now):
                    return True
        return found

    def short(self, lane: Lane, ask: Ask, prefill_ms: float, now: float) -> bool:
        """
        Whether what is to be prefilled at a replica that is kept open stays as short as a usual
        prompt: long ones go elsewhere, so that nobody waits behind them there. One that was tried
        elsewhere goes wherever it can.
        """
        return (
            not lane.inflight or bool(ask.tried) or lane.wait_ms(now) + prefill_ms <= self.usual_ms
        )

    def leaves(self, lane: Lane, tokens: float, room: Room, now: float) -> bool:
        """Whether a request of so many tokens leaves enough room there for others."""
        if not lane.inflight:
            return True
        kv, gate = (MOST_KV, MOST_GATE) if room.kept else (FEW_KV, FEW_GATE)
        if self.keeps(lane, room.kept):
            gate = OPEN_GATE
            if lane_ms(lane, now) > step_ms(lane.rates, room.answers):
                return False
        if lane.unprefilled >= lane.gate * gate:
            return False
        most = lane.kv_tokens * kv
        return not most or lane.filled(now) + min(tokens, most * LARGE) <= most

    # --- below -----------------------------------------------------------------------------

    def _flow(self, rank: int, tenant: str, weight: float) -> Flow:
        flow = self.flows.get((rank, tenant))
        if flow is None:
            group = self._groups.get(rank)
            if group is None:
                group = self._groups[rank] = Group()
                self._top = max(self._groups)
            flow = self.flows[rank, tenant] = Flow(group)
        flow.group.weight += weight - flow.weight
        flow.weight = weight
        return flow

    def _tidy(self, now: float) -> None:
        """Forget who was not seen for long and has nothing in flight."""
        for key, flow in tuple(self.flows.items()):
            if flow.seen_at + MEMORY_S < now and not flow.requests:
                flow.group.weight -= flow.weight
                del self.flows[key]
        ranks = {rank for rank, _ in self.flows}
        self._groups = {rank: group for rank, group in self._groups.items() if rank in ranks}
        self._top = max(ranks, default=0)
        if len(self.flows) < 2:
            self.rank, self.tenant = next(iter(self.flows), (0, None))
            self.flows.clear()
            self._groups.clear()
            self._top = self.rank
