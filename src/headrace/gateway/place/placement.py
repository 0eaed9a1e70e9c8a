"""
Where the fleet meets the routing core: a lane for each replica, a pool for each model, and futures
for the requests that wait. What is decided, and why, is routing/queue.py's.
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence

from headrace.config.routing import Routing
from headrace.fleet.load import LoadView
from headrace.fleet.registry import Fleet, Replica
from headrace.fleet.states import ROUTABLE, State, Transition
from headrace.gateway.clocks import now
from headrace.routing.blocks import BLOCK, Density
from headrace.routing.decision import ONLY
from headrace.routing.index import Index
from headrace.routing.lane import USUAL_KV, Ask, Lane, Lease
from headrace.routing.ledger import Ledger
from headrace.routing.queue import Pool
from headrace.routing.settings import Settings
from headrace.routing.terms import COST
from headrace.telemetry.records import Weighed
from headrace.types import Usage

# How often lanes are told what the fleet has learned of their replicas.
SYNC_S = 0.5


class Place:
    """One request's place at a replica. ``first`` and ``end`` may be called any number of times."""

    __slots__ = ("_placement", "_pool", "lease")

    def __init__(self, placement: "Placement", pool: "Seats", lease: Lease) -> None:
        self._placement = placement
        self._pool = pool
        self.lease = lease

    def first(self, moment: float) -> None:
        """The first byte of its answer is there."""
        granted = self._pool.pool.first_token(self.lease, moment)
        if granted:
            self._placement.wake(granted)

    def end(self, usage: Usage | None) -> None:
        """It has ended; ``usage`` are the tokens that the engine reported, if it answered."""
        lease = self.lease
        if lease.lane is None:
            return
        if usage is not None and not usage.prompt:
            usage = None
        if usage is not None and lease.ask.size:
            self._pool.density.learn(lease.ask.size, usage.prompt)
        if lease.tag and lease.lane.ledger is not None:
            lease.lane.ledger.end(lease.tag, usage.prompt if usage is not None else 0, now())
        granted = self._pool.pool.end(lease, now(), usage)
        if granted:
            self._placement.wake(granted)

    def weighed(self, started_at: float) -> Weighed | None:
        """The decision in few words; None where there was nothing to decide."""
        lease = self.lease
        decision = lease.decision
        if decision is None or decision.reason == ONLY:
            return None
        predicted, names = lease.predicted, decision.names
        queued = (lease.taken_at - started_at) * 1000
        ttft = int((queued + predicted.wait_ms + predicted.prefill_ms) * 10) / 10
        queued = int(queued * 10) / 10
        if not decision.terms:
            return Weighed(decision.policy, len(names), ttft, int(predicted.cached), queued)
        gap, other = 0.0, decision.runner_up
        terms = decision.terms[decision.chosen]
        if other is not None:
            gap = decision.terms[other][COST] - terms[COST]
        cost, wait, kv_wait, prefill, externality, slowdown, warm_up, sticky, _, _ = terms
        return Weighed(
            decision.policy, len(names), ttft, int(predicted.cached), queued,
            int(cost * 10) / 10, int(gap * 10) / 10, "" if other is None else names[other],
            int(wait * 10) / 10, int(kv_wait * 10) / 10, int(prefill * 10) / 10,
            int(externality * 10) / 10, int(slowdown * 10) / 10, int(warm_up * 10) / 10,
            int(sticky * 10) / 10,
        )  # fmt: skip


class Seats:
    """One model's pool, and how its prompts' bytes become tokens."""

    __slots__ = ("asked", "density", "pool", "took_s")

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.density = Density()
        self.asked, self.took_s = 0, 0.0  # how often a place was looked for, and the time it took


class Placement:
    """Follows the fleet, and places requests on it."""

    def __init__(
        self, config: Routing, fleet: Fleet, view: Callable[[Replica], LoadView | None]
    ) -> None:
        """``view`` gives what a replica last said about itself."""
        self._config = config
        self.groups = fleet.groups
        self._view = view
        self.index = Index(config.index_bytes)
        self._tags = f"hr-{os.urandom(6).hex()}-"  # of this gateway, at engines with KV events
        settings = Settings(
            config.policy, config.order, config.kappa, config.slowdown, config.sticky_ms,
            config.seed,
        )  # fmt: skip
        self.models = {model: Seats(Pool(self.index, settings)) for model in fleet.groups}
        self.ledgers: dict[Replica, Ledger] = {}  # of those that publish KV events
        self._lanes: dict[Replica, Lane] = {}
        self._replicas: dict[Lane, Replica] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._synced_at = 0.0
        # Where prompts went since the other gateways were told; None: there are none (peers.py).
        self.sent: list[tuple[str, Sequence[int]]] | None = None
        self._exact: set[Replica] = set()  # whose lanes were told that their ledgers are exact
        fleet.watch(self._moved)

    @property
    def lanes(self) -> Collection[Lane]:
        """The replicas as routing sees them."""
        return self._lanes.values()

    @property
    def waiting(self) -> int:
        """Requests that wait for room, over all models."""
        return sum(seats.pool.waiting for seats in self.models.values())

    def queued(self, model: str) -> int:
        """Requests that wait for room at a replica of this model (``fleet.floor.Places``)."""
        seats = self.models.get(model)
        return seats.pool.waiting if seats is not None else 0

    def promised(self, replica: Replica) -> int:
        """Requests that have a place there, those included that do not know of it yet."""
        lane = self._lanes.get(replica)
        return lane.own if lane is not None else 0

    # --- requests ---------------------------------------------------------------------------

    def place(self, lease: Lease, model: str) -> tuple[Replica, Place]:
        """The replica of a lease that was granted, and what to tell of it."""
        lane = lease.lane
        if lane is None:
            raise LookupError("This lease has ended.")
        if lane.ledger is not None:
            lease.tag = lane.ledger.expect(lease.ask)
        if self.sent is not None and lease.ask.blocks:
            self.sent.append((lane.name, lease.ask.blocks))
        return self._replicas[lane], Place(self, self.models[model], lease)

    def bind(self, ask: Ask, model: str, holder: Replica) -> Lease:
        """Place a request at the one replica that can answer it."""
        return self.models[model].pool.bind(ask, self._lanes[holder], now())

    def offer(self, ask: Ask, model: str) -> "Lease | asyncio.Future[Lease | None]":
        """
        A lease at once, or the future of one; its result is None when the last replica has left
        meanwhile. A future that nobody waits for any more must be given to ``withdraw``; whether it
        may wait at all is usher.py's.
        """
        seats, moment = self.models[model], now()
        pool = seats.pool
        granted = pool.offer(ask, moment)
        seats.took_s += now() - moment
        seats.asked += 1
        if len(granted) == 1 and granted[0].ask is ask:
            return granted[0]
        mine = next((lease for lease in granted if lease.ask is ask), None)
        self.wake(lease for lease in granted if lease is not mine)
        if mine is not None:
            return mine
        ask.owner = future = asyncio.get_running_loop().create_future()
        self._look_later()
        return future

    def withdraw(self, ask: Ask, model: str) -> None:
        """Whoever waited has gone; what was granted in the same moment goes back."""
        pool, future = self.models[model].pool, ask.owner
        if pool.withdraw(ask) or not isinstance(future, asyncio.Future):
            return
        if not future.done() or future.cancelled() or future.exception() is not None:
            return
        if future.result() is not None:
            self.wake(pool.end(future.result(), now()))

    def wake(self, granted: Iterable[Lease]) -> None:
        """Let the requests that were granted a place go on."""
        todo = deque(granted)
        while todo:
            lease = todo.popleft()
            future = lease.ask.owner
            if isinstance(future, asyncio.Future) and not future.done():
                future.set_result(lease)
            elif lease.pool is not None:  # its client went in this very moment
                todo.extend(lease.pool.end(lease, now()))

    def held(self) -> dict[str, float]:
        """How many blocks each replica is believed to have cached, by name."""
        return {
            lane.name: float(self.index.held(lane.slot)) for lane in tuple(self._lanes.values())
        }

    # --- the fleet --------------------------------------------------------------------------

    def sync(self, moment: float) -> None:
        """Tell lanes what the fleet has learned of their replicas since (a sweep)."""
        if moment < self._synced_at + SYNC_S:
            return
        self._synced_at = moment
        for replica, lane in self._lanes.items():
            self._tell(replica, lane)
        for replica, ledger in self.ledgers.items():
            ledger.settle(moment)
            if ledger.exact is not (replica in self._exact):
                self._exact ^= {replica}
                self._resize(replica, self._lanes[replica])
        if len(self._replicas) > len(self._lanes):
            for lane in [each for each in self._replicas if each.closed and not each.own]:
                del self._replicas[lane]

    def _tell(self, replica: Replica, lane: Lane) -> None:
        lane.penalty = replica.penalty
        lane.drag = 1 / replica.weight - 1
        view = self._view(replica)
        if view is None or not view.blocks or not view.block_size:
            return
        if replica in self.ledgers:
            self.ledgers[replica].capacity = view.blocks
        kv_tokens = float(view.blocks * view.block_size)
        if kv_tokens != lane.kv_tokens:
            lane.kv_tokens = kv_tokens
            self._resize(replica, lane)
        lane.heard(view.kv_usage, now())

    def _resize(self, replica: Replica, lane: Lane) -> None:
        seats = [self.models[model] for model in replica.serves if model in self.models]
        if seats:
            seats[0].pool.lessons.resize(lane, BLOCK / seats[0].density.bytes_per_token)

    def _moved(self, replica: Replica, step: Transition) -> None:
        """Seat and unseat (``Watcher``)."""
        joins, stays = step.after in ROUTABLE, step.before in ROUTABLE
        lane = self._lanes.get(replica)
        if joins and lane is None:
            lane = self._open(replica)
        if lane is not None:
            self._tell(replica, lane)
        if joins is not stays:
            if lane is not None and not joins:  # who knows whether its engine was started anew
                self.index.clear(lane.slot)
                if replica in self.ledgers:
                    self.ledgers[replica].lose()
            self._seat(replica)
        if step.after is State.GONE and lane is not None:
            lane.closed = True
            self.index.close(lane.slot)
            del self._lanes[replica]
            self.ledgers.pop(replica, None)
            self._exact.discard(replica)
            # Its last leases may just have been granted: sync forgets it when they have ended.

    def _open(self, replica: Replica) -> Lane:
        slot = self.index.open(USUAL_KV * 4 // BLOCK)
        lane = Lane(replica.name, slot, gate=self._config.gate_tokens)
        if replica.backend.kv_events:
            lane.ledger = self.ledgers[replica] = Ledger(self.index, slot, self._tags)
        self._lanes[replica] = lane
        self._replicas[lane] = replica
        return lane

    def _seat(self, replica: Replica) -> None:
        for model in replica.serves:
            seats = self.models.get(model)
            if seats is None:
                continue
            replicas = self.groups[model].replicas
            pool = seats.pool
            lanes = [self._lanes[each] if each in self._lanes else self._open(each)
                     for each in replicas]  # fmt: skip
            self.wake(pool.seat(lanes, now()))
            if not lanes:
                _let_go(pool)

    # --- below ------------------------------------------------------------------------------

    def _look_later(self) -> None:
        """While requests wait, look again when something is due."""
        if self._timer is not None:
            return
        moment = now()
        due = [at for seats in self.models.values() if (at := seats.pool.due(moment)) is not None]
        if due:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.001, min(due) - moment), self._look)

    def _look(self) -> None:
        self._timer = None
        moment = now()
        for seats in self.models.values():
            if seats.pool.line:
                self.wake(seats.pool.pump(moment))
        self._look_later()


def _let_go(pool: Pool) -> None:
    """Nobody serves the model any more: those who waited for room wait for a replica."""
    for ask in pool.abandon():
        if isinstance(ask.owner, asyncio.Future) and not ask.owner.done():
            ask.owner.set_result(None)
