"""
The instruments of the simulated gateway: the very classes that the real one exports its metrics
with, fed from the simulation, and read by the gateway's own recorder.
"""

from typing import TYPE_CHECKING

from benchmarks.diagnosis.asks import Ask, made, phases, tenants
from benchmarks.diagnosis.fleet import Node
from headrace.diagnose.series import METRICS, Key
from headrace.fleet.health import CAUSES
from headrace.fleet.states import State
from headrace.gateway.records.recorder import reading
from headrace.gateway.records.sight import engines
from headrace.telemetry.classes import ClassMetrics
from headrace.telemetry.fleet import FleetMetrics, Shown
from headrace.telemetry.guards import GuardMetrics
from headrace.telemetry.ledger import LedgerMetrics, LedgerSeen
from headrace.telemetry.live import LiveMetrics, Values
from headrace.telemetry.loop import LoopMetrics
from headrace.telemetry.metrics import Metrics
from headrace.telemetry.records import Record
from headrace.telemetry.state import StateMetrics

if TYPE_CHECKING:
    from benchmarks.diagnosis.world import World

CHAT = "/v1/chat/completions"
PATIENCE_S = 0.05  # with the classifier; then a request has the default class
BUDGET, BUDGET_MOST = 0.2, 10.0  # of retries, as the gateway's
TICKS = 50  # of the event loop's watchdog between two readings
CHECK_S = 0.002  # what a probe takes without any fault
BUSY = 0.1  # of a core, that a gateway without faults uses


class Board:
    """The metrics of a world."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.metrics = Metrics(["m"], [CHAT])
        registry = self.metrics.registry
        self._fleet = FleetMetrics(registry, State, CAUSES)
        self._fleet.watch(self._shown)
        self._loop = LoopMetrics(registry)
        self._state = StateMetrics(registry)
        self._guards = GuardMetrics(registry)
        self._guards.born("pii", ["prompt"])
        self._classes = ClassMetrics(registry)
        self._classes.born(["general"], "general")
        LiveMetrics(registry, self._live)
        LedgerMetrics(registry, self._ledger)
        self._records: list[Record] = []
        self._states: dict[int, str] = {}
        self._cpu_s = 0.0
        self._budget = BUDGET_MOST
        self.refused = 0
        self.streaks: dict[int, int] = {}
        self.choked = 0

    # --- events -----------------------------------------------------------------------------

    def born(self, node: Node) -> None:
        self._fleet.born(node.name)
        self.streaks[node.number] = 0

    def moved(self, node: Node, state: str) -> None:
        self._states[node.number] = state
        self._fleet.moved(node.name, state)

    def ejected(self, node: Node, cause: str) -> None:
        self._fleet.ejected(node.name, cause)
        self.moved(node, "ejected")

    def check_failed(self, node: Node) -> None:
        self._fleet.check_failed(node.name)

    def streak(self, node: Node, *, good: bool) -> None:
        """Count failures in a row."""
        self.streaks[node.number] = 0 if good else self.streaks[node.number] + 1

    def withdraw(self) -> bool:
        """Take a retry, if there is one."""
        if self._budget < 1:
            self.refused += 1
            return False
        self._budget -= 1
        return True

    def record(self, ask: Ask, outcome: str, now_s: float) -> None:
        """A request has ended."""
        self._budget = min(BUDGET_MOST, self._budget + BUDGET)
        self._records.append(made(ask, outcome, now_s))

    def flush(self) -> None:
        """What the log's thread and the watchdog do between two readings."""
        world = self._world
        self.metrics.observe(self._records)
        self._records.clear()
        for _ in range(TICKS):
            self._loop.late(0.0004 + world.random.random() * 2 * world.late_s)
        for _ in range(20):
            if world.state_up:
                self._state.took("use", world.state_s * (0.5 + world.random.random()))
            else:
                self._state.failed("use")
        self._state.up("redis", world.state_up)
        for _ in range(20):
            self._guards.took("pii", "prompt", world.guard_s * (0.5 + world.random.random()))
            class_s = world.class_s * (0.5 + world.random.random())
            self._classes.took(min(class_s, PATIENCE_S))
            self._classes.judged("general", "late" if class_s > PATIENCE_S else "meaning")
        self._cpu_s += 5.0 * min(1.0, BUSY + 10 * world.late_s)

    def reading(self) -> dict[Key, float]:
        """What the gateway's recorder reads; the process' CPU is not the gateway's here."""
        found = reading(self.metrics.columns(METRICS))
        found["cpu", ()] = self._cpu_s
        return found

    # --- values of now ----------------------------------------------------------------------

    def _shown(self) -> list[Shown]:
        now_s = self._world.now_s
        return [
            Shown(node.name, self._states[node.number], now_s - node.view_at_s)
            for node in self._world.nodes
        ]

    def _live(self) -> dict[str, Values]:
        world = self._world
        nodes = world.nodes
        still: dict[tuple[str, ...], float] = {
            (n.name,): world.now_s - n.moved_s if n.inflight and (n.engine.jobs or n.hung) else 0.0
            for n in nodes
        }
        waiting = float(sum(ask.placed_s < 0 for ask in world.asks.values()))
        return {
            "headrace_replica_inflight_requests": {(n.name,): float(n.inflight) for n in nodes},
            "headrace_model_replicas": {("m",): float(len(world.live))},
            "headrace_waiting_requests": {("m",): waiting if world.live else 0.0},
            "headrace_held_requests": {("m",): 0.0 if world.live else waiting},
            "headrace_client_connections": {(): float(len(world.asks))},
            "headrace_active_requests": {k: float(v) for k, v in phases(world.asks).items()},
            "headrace_tenant_active_requests": tenants(world.asks),
            "headrace_slow_clients": {(): float(self.choked)},
            "headrace_retries_refused_total": {(): float(self.refused)},
            "headrace_replica_requests_total": {(n.name,): float(n.sent) for n in nodes},
            "headrace_replica_failures_total": {(n.name,): float(n.failures) for n in nodes},
            "headrace_replica_silent_seconds": still,
            "headrace_health_check_seconds": {
                (n.name,): CHECK_S + 2 * n.way(world.random) + world.late_s for n in nodes
            },
            "headrace_replica_clock_skew_seconds": {
                (n.name,): n.skew_s - world.random.random() * 1.5 for n in nodes
            },
            **engines({(n.name,): n.view for n in nodes if n.view_at_s >= 0}),
        }

    def _ledger(self) -> LedgerSeen:
        world = self._world
        return LedgerSeen(up=world.ledger_up, lag_s=world.ledger_lag_s)
