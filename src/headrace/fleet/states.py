"""
The states of a replica and which may follow which. What causes a transition is decided elsewhere.

    starting → warming → ready ⇄ degraded
                  ↑         ↓        ↓
                  └────── ejected ←──┘
    ready, degraded → sleeping → warming
    any of them → draining → gone
"""

from datetime import datetime
from enum import StrEnum

from msgspec import Struct


class State(StrEnum):
    """What a replica is fit for."""

    STARTING = "starting"  # not yet seen healthy
    WARMING = "warming"  # healthy, answers its first token
    READY = "ready"
    DEGRADED = "degraded"  # routable, but something is wrong with it
    EJECTED = "ejected"  # failed; it comes back when it proves itself
    SLEEPING = "sleeping"  # nobody called; its engine has given up the GPU's memory until woken
    DRAINING = "draining"  # told to go; finishes what it has
    GONE = "gone"


ROUTABLE = frozenset({State.READY, State.DEGRADED})

# A draining replica may be taken back; one that is gone returns as a new incarnation only.
FOLLOWS: dict[State, frozenset[State]] = {
    State.STARTING: frozenset({State.WARMING, State.READY, State.DRAINING, State.GONE}),
    State.WARMING: frozenset(
        {State.READY, State.STARTING, State.EJECTED, State.DRAINING, State.GONE}
    ),
    State.READY: frozenset(
        {State.DEGRADED, State.EJECTED, State.SLEEPING, State.DRAINING, State.GONE}
    ),
    State.DEGRADED: frozenset(
        {State.READY, State.EJECTED, State.SLEEPING, State.DRAINING, State.GONE}
    ),
    State.EJECTED: frozenset({State.WARMING, State.DRAINING, State.GONE}),
    State.SLEEPING: frozenset({State.WARMING, State.DRAINING, State.GONE}),
    State.DRAINING: frozenset({State.READY, State.STARTING, State.EJECTED, State.GONE}),
    State.GONE: frozenset(),
}


class Transition(Struct, frozen=True, gc=False):
    """One step of a replica's life; ``before`` is None for its birth, ``at`` is UTC."""

    replica: str
    before: State | None
    after: State
    reason: str
    at: datetime
