"""
What engines that come and go know of the fleet, and what the fleet knows of those that are away.

Which of them run, and when, is decided by the engines (engines/shift.py); here nothing is decided.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import Protocol

from headrace.fleet.hold import Hold
from headrace.fleet.registry import Fleet, Replica
from headrace.fleet.states import ROUTABLE, State, Transition
from headrace.telemetry.engines import EngineMetrics, Place


class Why(StrEnum):
    """Why a replica of ours is not in the fleet."""

    OFF = "off"  # nobody calls; it starts when somebody does
    STARTING = "starting"  # its engine loads
    STOPPING = "stopping"
    DIED = "died"  # and is started again in a moment
    FAILED = "failed"  # too often


@dataclass(frozen=True, slots=True)
class Away:
    """A supervised replica that is not in the fleet; ``since`` is UTC."""

    name: str
    models: tuple[str, ...]
    state: Why
    reason: str
    since: datetime


class Places(Protocol):
    """Who gives requests their replicas: a request may have one, and not have been sent yet."""

    def queued(self, model: str) -> int: ...

    def promised(self, replica: Replica) -> int: ...


Moved = Callable[[str, str], None]
Wanted = Callable[[str], None]


class Floor:
    """One gateway's. All methods are plain calls: what they see holds until the caller awaits."""

    def __init__(self, fleet: Fleet, metrics: EngineMetrics, places: Places | None = None) -> None:
        self._fleet = fleet
        self._places = places
        self._metrics = metrics
        self._moved: list[Moved] = []
        self._wanted: list[Wanted] = []
        self._away: dict[str, Away] = {}
        fleet.watch(self._on_move)
        metrics.watch(lambda: [Place(each.name, each.state) for each in self.away])
        for model, group in fleet.groups.items():
            group.hold.wanted = partial(self._on_wanted, model)

    @property
    def away(self) -> tuple[Away, ...]:
        """Our replicas that are not in the fleet."""
        return tuple(self._away.values())

    @property
    def on_demand(self) -> list[str]:
        """Models that nobody serves now, and for which a replica starts or wakes when asked."""
        ours = {model for each in self._away.values() if each.state is Why.OFF
                for model in each.models}  # fmt: skip
        ours.update(
            model
            for replica in self._fleet.replicas.values()
            if replica.state is State.SLEEPING
            for model in replica.serves
        )
        return [m for m, group in self._fleet.groups.items() if m in ours and not group.replicas]

    def listen(self, wanted: Wanted, moved: Moved) -> None:
        """
        Hear that a model has begun to be ``wanted``, and the state that a replica has ``moved`` to.
        """
        self._wanted.append(wanted)
        self._moved.append(moved)

    # --- what is seen ------------------------------------------------------------------------

    def waiting(self, models: Iterable[str]) -> int:
        """Requests that wait for a replica of these models."""
        return sum(hold.requests for hold in self._holds(models))

    def queued(self, models: Iterable[str]) -> int:
        """Requests that wait for room, since the replicas that serve these models are full."""
        places = self._places
        return sum(map(places.queued, models)) if places is not None else 0

    def state(self, name: str) -> str:
        """A replica's state; empty when the fleet does not have it."""
        replica = self._fleet.replicas.get(name)
        return replica.state.value if replica is not None else ""

    def traffic(self, name: str) -> tuple[int, int] | None:
        """Requests sent to a replica ever, and those that it has now; None when it gets none."""
        replica = self._fleet.replicas.get(name)
        if replica is None or replica.state not in ROUTABLE:
            return None
        return replica.sent, self._load(replica)

    # --- what is done ------------------------------------------------------------------------

    def rest(self, name: str, reason: str) -> bool:
        """
        Let a replica sleep: no request goes there from now on. False when it has one, or may not.
        """
        replica = self._fleet.replicas.get(name)
        if replica is None or self._load(replica):
            return False
        return self._fleet.move(replica, State.SLEEPING, reason)

    def rise(self, name: str, reason: str) -> None:
        """A sleeping replica is awake: it is warmed, and joins."""
        replica = self._fleet.replicas.get(name)
        if replica is not None:
            self._fleet.move(replica, State.WARMING, reason)

    def leave(self, name: str, reason: str) -> bool:
        """Take a replica out unless it has a request; False when it has."""
        replica = self._fleet.replicas.get(name)
        if replica is not None and self._load(replica):
            return False
        self._fleet.remove(name, reason)
        return True

    # --- what is told ------------------------------------------------------------------------

    def tell(self, name: str, models: tuple[str, ...], why: str, reason: str) -> None:
        """A replica is not in the fleet, and ``why`` (a ``Why``); until it is added."""
        away = Away(name, models, Why(why), reason, datetime.now(UTC))
        self._away[name] = away
        if away.state in {Why.DIED, Why.FAILED}:
            for hold in self._holds(models):
                hold.trouble = reason

    def refuse(self, models: Iterable[str], reason: str, retry_after_s: float) -> None:
        """
        An engine cannot be started: end the wait for its models, now and for so long. Where another
        replica may come, requests go on waiting for that one.
        """
        for model in models:
            group = self._fleet.groups.get(model)
            if group is None:
                continue
            self._metrics.failed(model)
            if not self._may_come(model):
                why = f"No replica of `{model}` can be started: {reason}"
                group.hold.refuse(why, retry_after_s)

    def started(self, model: str, kind: str, seconds: float) -> None:
        """A replica that was wanted is ready (``kind``: start or wake)."""
        self._metrics.cold_start(model, kind, seconds)

    def rested(self, model: str, kind: str) -> None:
        """An idle replica is at rest (``kind``: stop or sleep)."""
        self._metrics.rested(model, kind)

    # --- below -------------------------------------------------------------------------------

    def _load(self, replica: Replica) -> int:
        """Requests that it has, and those that are on their way to it."""
        promised = self._places.promised(replica) if self._places is not None else 0
        return max(replica.inflight_requests, promised)

    def _may_come(self, model: str) -> bool:
        """Whether there is a replica that is not gone, or an engine that has not failed."""
        return any(
            model in replica.serves and replica.state is not State.GONE
            for replica in self._fleet.replicas.values()
        ) or any(model in away.models and away.state is not Why.FAILED for away in self.away)

    def _holds(self, models: Iterable[str]) -> list[Hold]:
        groups = self._fleet.groups
        return [groups[model].hold for model in models if model in groups]

    def _on_wanted(self, model: str, wanted: bool) -> None:
        if wanted:
            for listener in self._wanted:
                listener(model)

    def _on_move(self, replica: Replica, step: Transition) -> None:
        if step.before is None:
            self._away.pop(step.replica, None)
        elif step.before is State.WARMING and step.after is State.STARTING:
            for hold in self._holds(replica.serves):
                hold.trouble = f"{step.replica}: {step.reason}"
        for listener in self._moved:
            listener(step.replica, step.after.value)
