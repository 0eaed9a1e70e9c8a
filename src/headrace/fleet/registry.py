"""
The replicas, who serves which model, their states, and what each has in flight. No I/O beyond
owning the pools; what moves a replica from state to state is health.py's.

In-flight tokens are counted by leases: taken when a replica is chosen, released exactly once.
A replica that was removed keeps its own counters, so that its last leases never touch a
successor at the same address. Groups hold routable replicas only, and change with the states:
a request looks at no state.
"""

import math
import ssl
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import urlsplit

from headrace.config.backends import Backend
from headrace.config.hold import Hold as HoldConfig
from headrace.errors import ConfigError
from headrace.fleet.hold import Hold
from headrace.fleet.states import FOLLOWS, ROUTABLE, State, Transition
from headrace.upstream import trust
from headrace.upstream.pool import Address, Pool

NEVER = math.inf
HISTORY = 20  # transitions that are remembered of each replica
DRAINED = "it was drained, and its deadline has passed"

Watcher = Callable[["Replica", Transition], None]


class Replica:
    """One running engine, and what this gateway has sent to it and not finished."""

    def __init__(self, backend: Backend, connect_s: float) -> None:
        parts = urlsplit(backend.url)
        tls = _tls(backend) if parts.scheme == "https" else None
        port = parts.port or (443 if tls else 80)
        key = backend.key()
        self.backend = backend
        self.name = backend.name
        self.serves = dict(backend.serves)
        self.address = Address(parts.hostname or "", port, tls, parts.path.encode("ascii"))
        self.pool = Pool(self.address, connect_s)
        auth = f"authorization: Bearer {key}\r\n" if key else ""
        self.head = f"host: {parts.netloc}\r\naccept-encoding: identity\r\n{auth}".encode("latin-1")
        self.header = f"x-headrace-replica: {backend.name}\r\n".encode("latin-1", "replace")
        self.inflight_requests = 0
        self.inflight_tokens = 0
        self.penalty = 0  # tokens that its load seems higher to routing: slow start
        self.weight = 1.0  # the share of a full load that it should have
        self.sent = 0  # requests leased, ever
        self.failures = 0  # of them, those that failed by its fault
        self.abandoned = 0  # of them, those whose client left
        self.refused = 0  # of them, those whose answer says nothing about its health
        self.probed = backend.probe  # whether its /health is asked
        self.cache = "approximate"  # how its cache is known, or exact: by its KV events
        self.running = 0.0  # requests that its engine said it runs, ours and those of others
        self.on_failure: Callable[[Replica, str], None] | None = None
        self.state = State.STARTING
        self.reason = ""
        self.since = datetime.now(UTC)
        self.history: deque[Transition] = deque(maxlen=HISTORY)
        self.drain_at = NEVER  # monotonic; when a draining replica's requests are ended

    @property
    def answered(self) -> int:
        """Requests that this replica answered well."""
        judged = self.failures + self.abandoned + self.refused
        return self.sent - self.inflight_requests - judged

    @property
    def works(self) -> bool:
        """Whether it has more to do than the request that asks."""
        return self.inflight_requests > 1 or self.running > 0

    def lease(self, tokens: int) -> "Lease":
        """Count a request of this many tokens as in flight until the lease is released."""
        self.sent += 1
        self.inflight_requests += 1
        self.inflight_tokens += tokens
        return Lease(self, tokens)

    def failed(self, kind: str) -> None:
        """A request failed by this replica's fault; ``kind`` says how, in a few words."""
        self.failures += 1
        if self.on_failure is not None:
            self.on_failure(self, kind)


class Lease:
    """
    One request's share of a replica. ``release`` may be called any number of times.

    What the request shows of the replica is told before that, and only the first word counts.
    """

    __slots__ = ("_judged", "_tokens", "replica")

    def __init__(self, replica: Replica, tokens: int) -> None:
        self.replica: Replica | None = replica
        self._tokens = tokens
        self._judged = False

    def fail(self, kind: str) -> None:
        """The replica failed it; ``kind`` says how, in a few words."""
        replica = self._judge()
        if replica is not None:
            replica.failed(kind)

    def refuse(self) -> None:
        """The replica's front end turned it away: its engine may be well, or hang."""
        replica = self._judge()
        if replica is not None:
            replica.refused += 1

    def abandon(self) -> None:
        """Its client left."""
        replica = self._judge()
        if replica is not None:
            replica.abandoned += 1

    def _judge(self) -> Replica | None:
        """The replica, for the first word about it."""
        replica = None if self._judged else self.replica
        self._judged = True
        return replica

    def release(self) -> None:
        """Give the share back; never awaits, so that no cancellation can lose it."""
        replica, self.replica = self.replica, None
        if replica is not None:
            replica.inflight_requests -= 1
            replica.inflight_tokens -= self._tokens


class Group:
    """
    The routable replicas that serve one model; ``names`` are parallel to them.
    """

    def __init__(self, hold: Hold) -> None:
        self.replicas: list[Replica] = []
        self.names: list[str] = []
        self.hold = hold

    async def ready(self, size: int = 0) -> None:
        """
        Wait until at least one replica serves the model; ``size`` bytes wait with the request.

        Raises:
            Overloaded: too many wait already.

        """
        while not self.replicas:
            await self.hold.wait(size)

    def seat(self, replicas: list[Replica]) -> None:
        """Replace the members."""
        self.replicas = replicas
        self.names = [replica.name for replica in replicas]
        if replicas:
            self.hold.release()


class Fleet:
    """All replicas by name, and a group for each declared model."""

    def __init__(
        self,
        models: list[str],
        connect_s: float,
        *,
        trust: bool = True,
        hold: HoldConfig = HoldConfig(),  # noqa: B008 - frozen
    ) -> None:
        self.replicas: dict[str, Replica] = {}
        bounds = hold.max_requests, hold.max_bytes
        self.groups = {model: Group(Hold(*bounds)) for model in models}
        self._connect_s = connect_s
        self._trust = trust
        self._leaving: set[Replica] = set()
        self._watchers: list[Watcher] = []

    @property
    def inflight_requests(self) -> int:
        """Requests leased over all replicas, those that were removed but still answer included."""
        return sum(r.inflight_requests for r in self.present)

    @property
    def inflight_tokens(self) -> int:
        """Tokens leased over all replicas, likewise."""
        return sum(r.inflight_tokens for r in self.present)

    @property
    def present(self) -> tuple[Replica, ...]:
        """All replicas, those that were removed but still answer included."""
        return (*self.replicas.values(), *self._leaving)

    def watch(self, watcher: Watcher) -> None:
        """Call this at every transition, after the groups have changed."""
        self._watchers.append(watcher)

    def add(self, backend: Backend, *, trusted: bool | None = None) -> None:
        """
        A replica is there from now on; one of the same name is replaced.

        A ``trusted`` one is ready at once, any other when its probes are good; the default is what
        the fleet was made with.
        """
        self.remove(backend.name, "replaced")
        replica = self.replicas[backend.name] = Replica(backend, self._connect_s)
        self._step(replica, None, State.STARTING, "added")
        if self._trust if trusted is None else trusted:
            self.move(replica, State.READY, "trusted")

    def remove(self, name: str, reason: str = "removed") -> None:
        """Send a replica no new requests; those it is answering go on. Unknown names are fine."""
        replica = self.replicas.pop(name, None)
        if replica is None:
            return
        replica.pool.close()
        replica.drain_at = NEVER
        if replica.inflight_requests:
            self._leaving.add(replica)
            self.move(replica, State.DRAINING, reason)
        else:
            self.move(replica, State.GONE, reason)

    def drain(self, name: str, deadline_s: float, reason: str = "drained by hand") -> Replica:
        """
        Send a replica no new requests, and end those that it still has after ``deadline_s``.

        It is draining until its last request has ended, then gone, and stays listed so that it
        can be taken back. A second drain sets another deadline.

        Raises:
            KeyError: there is no such replica.

        """
        replica = self.replicas[name]
        if replica.state is not State.GONE:
            replica.drain_at = time.monotonic() + deadline_s
            self.move(replica, State.DRAINING, reason)
            self._settle(replica, time.monotonic())
        return replica

    def undrain(self, name: str) -> Replica:
        """
        Take a drained replica back: as it was while it drains, else as a new incarnation.

        Raises:
            KeyError: there is no such replica.

        """
        replica = self.replicas[name]
        if replica.state is State.DRAINING:
            replica.drain_at = NEVER
            before = next(
                step.before for step in reversed(replica.history) if step.after is State.DRAINING
            )
            back = State.READY if before in ROUTABLE else State.STARTING
            self.move(replica, State.EJECTED if before is State.EJECTED else back, "undrained")
        elif replica.state is State.GONE:
            self.add(replica.backend, trusted=False)
        return self.replicas[name]

    def move(self, replica: Replica, state: State, reason: str) -> bool:
        """
        Take a replica to another state; False, and nothing happens, where that may not follow.
        """
        before = replica.state
        if state not in FOLLOWS[before]:
            return False
        self._step(replica, before, state, reason)
        return True

    def sweep(self, now: float) -> None:
        """
        Close idle connections that have grown old, end what has drained for too long, and forget
        removed replicas that are done. ``now`` is the monotonic clock.
        """
        for replica in tuple(self.replicas.values()):
            replica.pool.sweep(now)
            if replica.state is State.DRAINING:
                self._settle(replica, now)
        if self._leaving:
            done = {r for r in self._leaving if not r.inflight_requests}
            self._leaving -= done
            for replica in done:
                self.move(replica, State.GONE, "its last request has ended")

    def close(self) -> None:
        """Close every connection."""
        for replica in self.present:
            replica.pool.abort()

    # --- below -----------------------------------------------------------------------------

    def _settle(self, replica: Replica, now: float) -> None:
        """See whether a draining replica is done, or must be."""
        if not replica.inflight_requests:
            self.move(replica, State.GONE, "its last request has ended")
        elif now >= replica.drain_at:
            count = replica.inflight_requests
            self.move(replica, State.GONE, f"its deadline has ended {count} running requests")
        else:
            return
        replica.pool.cut(DRAINED)

    def _step(self, replica: Replica, before: State | None, after: State, reason: str) -> None:
        step = Transition(replica.name, before, after, reason, datetime.now(UTC))
        replica.state, replica.reason, replica.since = after, reason, step.at
        replica.history.append(step)
        if (before in ROUTABLE) is not (after in ROUTABLE):
            if after not in ROUTABLE:
                replica.penalty, replica.weight = 0, 1.0
            self._reseat()
        for watcher in self._watchers:
            watcher(replica, step)

    def _reseat(self) -> None:
        routable = [replica for replica in self.replicas.values() if replica.state in ROUTABLE]
        for model, group in self.groups.items():
            group.seat([replica for replica in routable if model in replica.serves])


def _tls(backend: Backend) -> ssl.SSLContext:
    try:
        return trust.context(backend.tls_ca, verify=backend.tls_verify)
    except OSError as error:  # ssl's own errors are such, and tell nothing that people know
        why = "has no certificate in it" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigError(
            f"Backend {backend.name}: `tls_ca` {backend.tls_ca}: {why}; name a PEM file."
        ) from error
