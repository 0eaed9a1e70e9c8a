"""
What gives way while a model's queue is long: background is refused, answers are made shorter, a
smaller model answers. Steps begin and end by the predicted wait, with room between the two, so that
they do not flap. Who waits, and how long, is usher.py's and the routing core's.
"""

from collections.abc import Callable, Sequence
from math import ceil
from typing import NamedTuple

import msgspec

from headrace.config.pressure import Pressure as Config
from headrace.config.pressure import Step
from headrace.config.rules import Limit
from headrace.errors import Overloaded
from headrace.gateway import clocks
from headrace.gateway.body import scan
from headrace.gateway.body.edits import Edits
from headrace.gateway.exchange import Exchange
from headrace.gateway.gate import Gate
from headrace.gateway.place.placement import Placement
from headrace.gateway.place.usher import Usher
from headrace.gateway.rules.steer import Steer
from headrace.routing.lane import Ask
from headrace.routing.queue import Pool
from headrace.telemetry.metrics import Metrics
from headrace.telemetry.pressure import PressureMetrics

# The wait is looked at again after so long (s): no request more often than a person could notice.
LOOK_S = 0.1
SHED, CLAMPED, FELL_BACK = "shed", "clamped", "fell_back"
# What a newcomer is taken for: only who is before it matters.
PROBE = 1.0

Event = Callable[..., None]


class _State:
    """One step for one model: whether it has begun, and when."""

    __slots__ = ("at", "begun", "edits", "looked_at", "step", "wait_s")

    def __init__(self, step: Step) -> None:
        self.step = step
        self.begun = False
        self.at = self.looked_at = -LOOK_S
        self.wait_s = 0.0
        limit = step.max_tokens
        self.edits = Edits({"max_tokens": Limit(max=limit)}) if limit is not None else None


class Felt(NamedTuple):
    """A step of a model as it is now."""

    model: str
    step: str
    begun: bool
    wait_s: float


class Pressure:
    """All steps of a gateway. ``gates`` is empty where none is configured."""

    def __init__(
        self, config: Config, placement: Placement, usher: Usher, steer: Steer, event: Event
    ) -> None:
        self._placement = placement
        self._usher = usher
        self._steer = steer
        self._event = event
        self._ranks = {bound.name: bound.rank for bound in usher.bounds.classes}
        self._steps = {
            model: [
                _State(each) for each in config.steps if not each.models or model in each.models
            ]
            for model in placement.groups
        }
        self.count: Callable[[str, str], None] = _nobody
        self.gates: tuple[Gate, ...] = (self.feel,) if config.steps else ()

    def measure(self, metrics: Metrics) -> None:
        """Let what it does be counted, and how it stands be seen, in these metrics."""
        steps = {each.step.name for states in self._steps.values() for each in states}
        actions = SHED, CLAMPED, FELL_BACK
        self.count = PressureMetrics(metrics.registry, sorted(steps), actions, self.seen).count

    async def feel(self, exchange: Exchange, body: bytes) -> bytes:
        """
        What has begun for the request's model, done to it (``Gate``).

        Raises:
            Overloaded: its class gives way now.

        """
        for state in self._steps.get(exchange.served, ()):
            if self._begun(state, exchange.served) and self._concerns(state.step, exchange):
                body = self._act(state, exchange, body)
        return body

    def seen(self) -> Sequence[Felt]:
        """How all steps stand now."""
        return [
            Felt(model, each.step.name, self._begun(each, model), each.wait_s)
            for model, states in self._steps.items()
            for each in states
        ]

    # --- below -----------------------------------------------------------------------------

    def _begun(self, state: _State, model: str) -> bool:
        """Whether a step has begun; looks at the queue now and then."""
        now = clocks.now()
        if now < state.looked_at + LOOK_S:
            return state.begun
        state.looked_at = now
        step = state.step
        state.wait_s = self._wait_s(model, self._ranks[step.watch], now)
        if not state.begun and state.wait_s > step.above_s:
            state.begun, state.at = True, now
            self._tell("pressure_began", state, model)
        elif state.begun and state.wait_s < step.end_s and now >= state.at + step.hold_s:
            state.begun = False
            self._tell("pressure_ended", state, model)
        return state.begun

    def _wait_s(self, model: str, rank: int, now: float) -> float:
        """
        How long a newcomer of the rank would wait, behind all of its class; where the rate is not
        known yet, how long the first of them has waited.
        """
        pool = self._placement.models[model].pool
        if not pool.line:
            return 0.0
        wait_s = pool.drain.longest_s(rank, now)
        return wait_s if wait_s is not None else _oldest_s(pool, rank, now)

    def _concerns(self, step: Step, exchange: Exchange) -> bool:
        """
        Whether a request is of these classes, and not of a tenant that would not have to wait: the
        flood of another is no reason to give it less.
        """
        rank, caller = self._usher.rank(exchange), exchange.caller
        if step.classes and self._usher.name(rank) not in step.classes:
            return False
        if step.shed or not caller.tenant:
            return True
        pool = self._placement.models[exchange.served].pool
        probe = Ask(PROBE, [], 1.0, rank=rank, tenant=caller.tenant, weight=caller.weight)
        wait_s = pool.drain.wait_s(probe, clocks.now())
        return wait_s is None or wait_s >= step.end_s

    def _act(self, state: _State, exchange: Exchange, body: bytes) -> bytes:
        step = state.step
        if step.shed:
            self._note(exchange, state, SHED)
            self._usher.shed(self._usher.name(self._usher.rank(exchange)), "pressure")
            raise Overloaded(
                f"`{exchange.served}` is too busy for requests of this class now.",
                code="shed",
                outcome="rejected_shed",
                retry_after_s=max(1, ceil(max(state.wait_s, step.hold_s))),
            )
        if state.edits is not None and exchange.endpoint.kind == "json":
            body = self._clamped(state, state.edits, exchange, body)
        if step.fallback is not None:
            self._fall_back(state, step.fallback, exchange)
        return body

    def _clamped(self, state: _State, edits: Edits, exchange: Exchange, body: bytes) -> bytes:
        edited = edits.apply(body, exchange.endpoint.path)
        if edited is not body:
            limit = scan.read(edited).limit
            exchange.facts = msgspec.structs.replace(exchange.facts, max_tokens=limit)
            exchange.put(b"x-headrace-max-tokens: %d\r\n" % limit)
            self._note(exchange, state, CLAMPED)
        return edited

    def _fall_back(self, state: _State, fallback: str, exchange: Exchange) -> None:
        """Let the other model answer, unless it has no replica, or a longer queue."""
        group = self._placement.groups.get(fallback)
        if exchange.facts.sticky or group is None or not group.replicas:
            return
        rank = self._usher.rank(exchange)
        if self._wait_s(fallback, rank, clocks.now()) >= state.wait_s:
            return
        plan = exchange.plan
        if plan is not None and plan.targets:
            others = tuple(target for target in plan.targets if target != fallback)
            exchange.plan = msgspec.structs.replace(plan, targets=(fallback, *others))
        self._steer.aim(exchange, fallback)
        self._note(exchange, state, FELL_BACK)

    def _note(self, exchange: Exchange, state: _State, action: str) -> None:
        self.count(state.step.name, action)
        detail = f"step {state.step.name}, {state.wait_s:.1f} s expected"
        exchange.note("pressure", action, detail)

    def _tell(self, event: str, state: _State, model: str) -> None:
        wait_s = round(state.wait_s, 3)
        self._event(event, step=state.step.name, model=model, wait_s=wait_s)


def _nobody(_step: str, _action: str) -> None:
    """Where nobody counts."""


def _oldest_s(pool: Pool, rank: int, now: float) -> float:
    waits = (now - ask.arrived_at for ask in pool.reserved.oldest if ask.rank >= rank)
    return max(next(waits, 0.0), 0.0)
