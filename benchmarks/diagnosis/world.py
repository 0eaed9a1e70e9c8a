"""
A gateway and its fleet in simulated time, with faults: the routing core and the metrics are the
gateway's own, the engines are the simulation's, and every 5 s the gateway's own recorder takes the
same reading that it takes in production.

Left out: HTTP, and what it costs. What a fault does to a request is done here, request by request.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from heapq import heappop, heappush
from random import Random
from typing import Any

from benchmarks.diagnosis.asks import EPOCH_S, Ask
from benchmarks.diagnosis.board import PATIENCE_S, Board
from benchmarks.diagnosis.fleet import Node
from headrace.diagnose.history import STEP_S, History
from headrace.diagnose.snapshot import Snapshot
from headrace.engines.sim.cost import Preset
from headrace.routing.lane import Ask as Query
from headrace.routing.queue import AGAIN_S
from headrace.simulate.engine import Engine, Job
from headrace.simulate.ours import Ours, _cut
from headrace.simulate.trace import Request

STUCK_S = 7.0  # as `health.stuck_s`
EJECTED_S = 30.0
ATTEMPTS = 3
FAILURES = 5  # in a row, that eject a replica


class Core(Ours):
    """Headrace's routing, which is told where a request was tried already, and what it predicts."""

    def again(self, job: Job, tried: set[int], now_s: float) -> None:
        """Offer a request that failed elsewhere."""
        request = job.request
        query = Query(
            float(request.prompt_tokens), _cut(request.blocks, self._parts), self._grain,
            loud=request.streamed, number=hash((request.number, 0x9E3779B9)),
            tried={f"replica-{number}" for number in tried},
        )  # fmt: skip
        query.owner = job
        self._granted += self._pool.offer(query, now_s)

    def abandon(self) -> list[Job]:
        """Those that waited for room when the last replica left."""
        owners = [query.owner for query in self._pool.abandon()]
        return [owner for owner in owners if isinstance(owner, Job)]

    def believed(self, job: Job) -> float:
        """Prompt tokens that were believed to be cached where it went."""
        lease = self._leases.get(job.request.number)
        return lease.predicted.cached if lease is not None else 0.0


class World:
    """One run. Faults change its attributes, or those of its nodes, at their time."""

    def __init__(
        self, requests: Iterable[tuple[Request, str]], preset: Preset, replicas: int,
        block_tokens: int, seed: int,
    ) -> None:  # fmt: skip
        self.random = Random(f"world {seed}")
        self.now_s = 0.0
        self.block_tokens = block_tokens
        self.preset = preset
        self.nodes: list[Node] = []
        self.live: dict[int, Engine] = {}
        self.asks: dict[int, Ask] = {}  # by request number; those that run
        self.held: list[Ask] = []  # of them, those that wait for a first replica
        self.history = History()
        self.board = Board(self)
        # what is wrong beside the replicas
        self.late_s = 0.0  # the event loop's delay
        self.gate_s = 0.0  # what a request waits for the shared state
        self.state_s = 0.0008
        self.state_up = True
        self.guard_s = 0.004  # what a guard looks at a prompt
        self.class_s = 0.0006  # what the classifier does
        self.adapters = 0  # LoRA adapters that are asked for; 0: none
        self.ledger_lag_s = 0.0
        self.ledger_up = True
        self.refuse: dict[str, tuple[float, str]] = {}  # outcome -> share, tenant or ""
        self.insist = 0  # how often a request that was refused is sent again
        self.longest_s: float | None = None  # a stream, before something cuts it
        self.scattered = 0.0  # share of requests that go to any replica
        self.pinned = 0.0  # share of requests that all go to the first replica
        self.patience_s: float | None = None
        self.impatient = 0.0  # share of clients with that patience
        self.resend = 0  # how often they ask again
        self.readers, self.reading_s = 0.0, 20.0  # share of clients that read slowly, and how long
        self.reshape: Callable[[Request], Request] | None = None
        self.stuck_detection = True
        self._numbers = 10_000_000
        self.events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = 0
        self._policy = Core()
        self._policy.begin(self.live, block_tokens, seed)
        for _ in range(replicas):
            self.join(preset)
        for request, tenant in requests:
            self.at(request.arrival_s, self.arrive, request, tenant)
        self.at(0.01, self._tick)
        self.at(AGAIN_S, self._pump)
        self.at(1.0, self._watch)

    # --- for scenarios ----------------------------------------------------------------------

    def at(self, at_s: float, call: Callable[..., None], *arguments: Any) -> None:
        """Call it then."""
        self._order += 1
        heappush(self.events, (at_s, self._order, call, arguments))

    def run(self, until_s: float) -> None:
        """Let the time pass."""
        events = self.events
        while events and events[0][0] <= until_s:
            self.now_s, _, call, arguments = heappop(events)
            call(*arguments)
        self.now_s = until_s

    def snapshot(self) -> Snapshot:
        """What the gateway knows now."""
        return self.history.snapshot()

    def join(self, preset: Preset, *, slow: float = 1.0) -> Node:
        """A replica is ready."""
        number = len(self.nodes)
        node = Node(number, f"gpu-{number}", preset, self.block_tokens)
        node.slow, node.moved_s = slow, self.now_s
        self.nodes.append(node)
        self.board.born(node)
        self._seat(node)
        return node

    def start(self, preset: Preset, after_s: float) -> Node:
        """A replica begins to start, and is ready after so long."""
        node = self.join(preset)
        self.unseat(node, offer=True)
        node.starting = True
        self.board.moved(node, "starting")
        self.at(self.now_s + after_s, self._started, node)
        return node

    def leave(self, node: Node) -> None:
        """A replica is drained, and gone when its last request has ended."""
        if node.ready:
            self.unseat(node, offer=False)
        self.board.moved(node, "draining")

    def eject(self, node: Node, cause: str, for_s: float = EJECTED_S) -> None:
        """The keeper takes it out for some time."""
        if not node.ready or sum(each.ready for each in self.nodes) <= len(self.nodes) // 2:
            return
        self.board.ejected(node, cause)
        self.unseat(node, offer=cause in {"stuck", "health"})
        self.at(self.now_s + for_s, self._returned, node)

    def crash(self, node: Node) -> None:
        """Its process is gone, and with it all that it was doing."""
        node.down = True
        for ask in [each for each in self.asks.values() if each.node is node]:
            node.abort(ask.job)
            if ask.first_s < 0:
                self._failed(ask, node)
            else:
                node.inflight -= 1
                node.failures += 1
                self._policy.ended(ask.job, self.now_s)
                self._close(ask, "upstream_failed_midstream")

    def arrive(self, request: Request, tenant: str, again: int = 0) -> None:
        """A client asks."""
        if self.reshape is not None:
            request = self.reshape(request)
        ask = Ask(Job(request), tenant, self.now_s, again=again)
        if self.impatient and self.random.random() < self.impatient:
            ask.patience_s = self.patience_s
        if self.readers and self.random.random() < self.readers:
            ask.reading_s = self.reading_s
        for outcome, (share, whose) in self.refuse.items():
            if whose in {"", tenant} and self.random.random() < share:
                self.board.record(ask, outcome, now_s=self.now_s)
                if again < self.insist:
                    once_more = replace(request, number=self.number())
                    self.at(self.now_s + 0.2, self.arrive, once_more, tenant, again + 1)
                return
        self.asks[request.number] = ask
        if ask.patience_s is not None:
            self.at(self.now_s + ask.patience_s, self._give_up, ask)
        if self.adapters:
            ask.adapter = self.random.randrange(self.adapters)
        class_s = min(self.class_s, PATIENCE_S)
        gates_s = self.gate_s + self.guard_s + class_s + self._lag()
        self.at(self.now_s + gates_s, self._offer, ask)

    def number(self) -> int:
        """For a request that no trace has."""
        self._numbers += 1
        return self._numbers

    # --- a request's way --------------------------------------------------------------------

    def _lag(self) -> float:
        return self.random.random() * 2 * self.late_s if self.late_s else 0.0

    def _offer(self, ask: Ask) -> None:
        if ask.over:
            return
        if self.live:
            self._policy.offer(ask.job, self.now_s)
            self._dispatch()
        else:
            self.held.append(ask)  # as the gateway holds requests of a model without replicas

    def _dispatch(self) -> None:
        for job, number in self._policy.due(self.now_s):
            ask = self.asks.get(job.request.number)
            if ask is None or ask.over:
                self._policy.ended(job, self.now_s)
            else:
                ask.believed = self._policy.believed(job)
                self._place(ask, self._diverted(number))

    def _diverted(self, number: int) -> int:
        """Where a request really goes, when something overrules the router."""
        if self.pinned and 0 in self.live and self.random.random() < self.pinned:
            return 0
        if self.scattered and self.random.random() < self.scattered:
            return self.random.choice([*self.live])
        return number

    def _place(self, ask: Ask, number: int) -> None:
        node = self.nodes[number]
        ask.job.replica = number
        ask.node, ask.placed_s = node, self.now_s
        ask.attempts += 1
        ask.tried.add(number)
        node.sent += 1
        node.inflight += 1
        if node.inflight == 1:
            node.moved_s = self.now_s
        self.at(self.now_s + node.way(self.random), self._reach, ask, node, ask.attempts)

    def _reach(self, ask: Ask, node: Node, attempt: int) -> None:
        if ask.over or ask.attempts != attempt:
            return
        full = node.most and len(node.engine.jobs) >= node.most
        if node.down or full or self.random.random() < node.errors:
            self._failed(ask, node)
            return
        ask.at_engine_s = self.now_s
        if node.empty and self.random.random() < node.empty:
            ask.job.request = replace(ask.job.request, output_tokens=1)
        node.take(ask.job, ask.adapter)
        if not node.engine.busy:
            self._iterate(node)

    def _failed(self, ask: Ask, node: Node) -> None:
        node.inflight -= 1
        node.failures += 1
        self._policy.ended(ask.job, self.now_s)
        self._dispatch()  # before a replica may go that somebody has just got a place at
        self.board.streak(node, good=False)
        if self.board.streaks[node.number] >= FAILURES and node.ready:
            self.eject(node, "failures", 10.0)
        others = self.live.keys() - ask.tried
        if ask.attempts < ATTEMPTS and others and self.board.withdraw():
            ask.job.reset()
            ask.node, ask.placed_s = None, -1.0
            self._policy.again(ask.job, ask.tried, self.now_s)
            self._dispatch()
            return
        outcome = "upstream_failed_connect" if node.down else "upstream_failed_500"
        self._close(ask, outcome)
        self._dispatch()

    def wake(self, node: Node) -> None:
        """Go on with what it has."""
        self._iterate(node)

    def _iterate(self, node: Node) -> None:
        seconds = node.plan()
        if seconds:
            node.steps.append((self.now_s + seconds, seconds))
            node.engine.ready_s = self.now_s + seconds
            self.at(self.now_s + seconds, self._iterated, node)
        elif node.hung:
            node.engine.busy = False

    def _iterated(self, node: Node) -> None:
        if node.hung:
            self.at(self.now_s + 0.5, self._iterated, node)
            return
        if node.down:
            return
        node.moved_s = self.now_s
        first, ended = node.engine.finish()
        self._iterate(node)
        for job in first:
            ask = self.asks.get(job.request.number)
            if ask is not None and job.first_s < 0:
                job.first_s = self.now_s
                self._told_first(ask, node)
        for job in ended:
            ask = self.asks.get(job.request.number)
            if ask is not None and not ask.over:
                way = node.way(self.random) + self._lag()
                job.end_s = self.now_s
                self._told_end(ask, node)
                self.at(self.now_s + way, self._end, ask, node)

    def _told_first(self, ask: Ask, node: Node) -> None:
        """What the engine counts at a first token."""
        job, request = ask.job, ask.job.request
        node.firsts += 1
        node.first_s += self.now_s - ask.at_engine_s
        node.queries += request.prompt_tokens
        node.hits += max(0, job.cached)
        node.prompts += request.prompt_tokens
        if request.streamed:
            self.at(self.now_s + node.way(self.random) + self._lag(), self._first, ask)

    def _told_end(self, ask: Ask, node: Node) -> None:
        job = ask.job
        node.release(job)
        if not node.engine.busy:
            self._iterate(node)
        node.finished += 1
        waited = max(0.0, job.first_s - ask.at_engine_s)
        computed = max(1, job.request.prompt_tokens - max(0, job.cached))
        alone_s = node.engine.preset.prefill_ms(computed) / 1000 * node.slow * node.prefill_slow
        prefill = min(waited, alone_s)
        node.queue_s += waited - prefill
        node.prefill_s += prefill
        node.decode_s += self.now_s - job.first_s

    def _first(self, ask: Ask) -> None:
        if ask.over or ask.node is None:
            return
        ask.first_s = self.now_s
        self._policy.first(ask.job, self.now_s)
        if ask.node.cut and self.random.random() < ask.node.cut:
            self.at(self.now_s + self.random.random(), self._cut, ask, ask.node)
        if self.longest_s is not None:
            self.at(self.now_s + self.longest_s, self._cut, ask, ask.node)
        self._dispatch()

    def _cut(self, ask: Ask, node: Node) -> None:
        """Its stream breaks off, when most of the answer is still to come."""
        if ask.over or ask.node is not node or ask.job.end_s > 0:
            return
        node.abort(ask.job)
        node.inflight -= 1
        node.failures += 1
        self._policy.ended(ask.job, self.now_s)
        self._close(ask, "upstream_failed_midstream")
        self._dispatch()

    def _end(self, ask: Ask, node: Node) -> None:
        if ask.over or ask.node is not node:
            return
        node.inflight -= 1
        self.board.streak(node, good=True)
        self._policy.ended(ask.job, self.now_s)
        if ask.reading_s:  # all is made, but the client has not read it
            self.board.choked += 1
            node.inflight += 1
            self.at(self.now_s + ask.reading_s, self._read, ask, node)
        else:
            self._close(ask, "completed")
        self._dispatch()

    def _read(self, ask: Ask, node: Node) -> None:
        self.board.choked -= 1
        node.inflight -= 1
        self._close(ask, "completed")

    def _give_up(self, ask: Ask) -> None:
        """Its client waits no longer for a first byte; it may ask again."""
        if ask.over or ask.first_s >= 0:
            return
        node = ask.node
        if node is not None:
            node.inflight -= 1
            node.abort(ask.job)
            self._policy.ended(ask.job, self.now_s)
        self._close(ask, "client_gone")
        if ask.again < self.resend:
            request = ask.job.request
            again = Request(
                self.number(), self.now_s, request.prompt_tokens, request.output_tokens,
                request.blocks, request.session, request.streamed,
            )  # fmt: skip
            self.at(self.now_s + 0.2, self.arrive, again, ask.tenant, ask.again + 1)
        self._dispatch()

    def _close(self, ask: Ask, outcome: str) -> None:
        ask.over = True
        self.asks.pop(ask.job.request.number, None)
        self.board.record(ask, outcome, now_s=self.now_s)

    # --- the fleet --------------------------------------------------------------------------

    def _seat(self, node: Node) -> None:
        node.ready, node.starting = True, False
        self.live[node.number] = node.engine
        self._policy.joined(node.number, self.now_s)
        self.board.moved(node, "ready")
        held, self.held = self.held, []
        for ask in held:
            self._offer(ask)
        self._dispatch()

    def unseat(self, node: Node, *, offer: bool) -> None:
        node.ready = False
        del self.live[node.number]
        mine = [ask for ask in self.asks.values() if ask.node is node]
        self._policy.left(node.number, self.now_s)
        for ask in mine if offer else ():
            if ask.first_s < 0:  # given up, and answered by another
                node.inflight -= 1
                node.abort(ask.job)
                ask.job.reset()
                ask.node = None
                ask.attempts += 1
                ask.placed_s = -1.0
                self._offer(ask)
        if not self.live:
            self.held += [self.asks[job.request.number] for job in self._policy.abandon()]
        self._dispatch()

    def _started(self, node: Node) -> None:
        if node.starting:
            self._seat(node)

    def _returned(self, node: Node) -> None:
        if node.down or node.hung:
            self.at(self.now_s + 10.0, self._returned, node)
            return
        node.moved_s = self.now_s
        self._seat(node)

    # --- time -------------------------------------------------------------------------------

    def _pump(self) -> None:
        self._policy.tick(self.now_s)
        self._dispatch()
        self.at(self.now_s + AGAIN_S, self._pump)

    def _watch(self) -> None:
        """What the keeper does once a second or so: read, probe, look for the stuck."""
        for node in self.nodes:
            node.read(self.now_s)
            node.unwell = node.unwell + 1 if node.down else 0
            if node.down:
                self.board.check_failed(node)
            if node.unwell >= 3 and node.ready:
                self.eject(node, "health")
            still = self.now_s - node.moved_s if node.inflight else 0.0
            if self.stuck_detection and node.ready and still > STUCK_S and node.hung:
                self.eject(node, "stuck")
        self.at(self.now_s + 1.0, self._watch)

    def _tick(self) -> None:
        self.board.flush()
        self.history.add(EPOCH_S + self.now_s, self.board.reading())
        self.at(self.now_s + STEP_S, self._tick)
